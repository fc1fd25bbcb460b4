"""The page: what it says of a good and of a bad set, that it is self-contained and safe, and that its code runs."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import safetensors.torch
import torch

from padray.config import Config
from padray.configuration import loading
from padray.data import whitening
from padray.data.whitening import Preprocessing
from padray.evaluation.summary import Row
from padray.networks.flat import Span
from padray.report import code, page, rendering, words
from padray.report.rendering import Picture
from padray.report.subject import Link, Subject
from padray.synthetic import set as synthetic
from padray.synthetic.set import Learned, SyntheticSet

HOSTILE = "<script>alert(1)</script>"


def row(architecture: str, source: str, mean: float, std: float = 0.01, n: int = 4) -> Row:
    six = mean, std, [mean] * n, mean, std, [mean] * n
    return Row(architecture, source, *six, n, 0, *six, "accuracy", 0.01, None, None, "tm1001")


def two(distilled: float, random: float, name: str = "convnet2w32", **parts: Any) -> list[Row]:
    return [row(name, "distilled", distilled, **parts), row(name, "random", random, **parts)]


def subject(rows: list[Row] | None = None, **parts: Any) -> Subject:
    config = loading.load("digits-ipc1", ("distill.selection.alpha=0.25", "data.path=/home/me/secret/digits")).config
    facts = {
        "class_names": ["zero", HOSTILE],
        "dataset": "digits",
        "shape": [1, 4, 4],
        "iterations": 3,
        "iteration": 2,
        "validation_accuracy": 0.8,
    }
    values = {"mean": torch.tensor([0.5]), "std": torch.tensor([0.25])}
    learned = Learned(torch.linspace(-1, 1, 32).view(2, 1, 4, 4), torch.eye(2), torch.tensor(0.02))
    history = [
        {
            "iteration": i,
            "loss": 0.5,
            "skipped": 0,
            "student_lr": 0.02,
            "layers": [0.5, 2.0],
            "validation_accuracy": 0.8 if i == 1 else None,
        }
        for i in range(3)
    ]
    given = {
        "name": HOSTILE,
        "overrides": ("distill.selection.alpha=0.25",),
        "config": config,
        "synthetic": SyntheticSet(learned, Preprocessing("normalize", values), facts),
        "rows": rows or two(0.876, 0.717),
        "history": history,
        "spans": (Span("a.weight", (8,), 0, 8), Span("b.weight", (8,), 8, 16)),
        "splits": {"train": 1000, "validation": 100, "test": 200},
        "experts": (0.9, 0.95),
        "set_key": "distilled/x/set-000003-abc.safetensors",
        "set_sha256": "ab" * 32,
        "set_size": 999,
        "chain": (Link("data", "datasets/digits-0", "0" * 64, {"device": "cpu"}),),
    }
    return Subject(**{**given, **parts})


def undrawn(told: Subject) -> str:
    """The page with empty pictures: drawing takes most of the time and has tests of its own."""
    with mock.patch.dict(rendering.DRAWINGS, {kind: lambda shown, theme: b"" for kind in rendering.DRAWINGS}):
        return page.render(told, rendering.pictures(told))


@pytest.fixture(scope="module")
def drawn() -> dict[str, Picture]:
    return rendering.pictures(subject())


@pytest.fixture(scope="module")
def html(drawn: dict[str, Picture]) -> str:
    return page.render(subject(), drawn)


class Links(HTMLParser):
    """Everything that a browser would fetch, and the tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]


def test_page_is_self_contained(html: str) -> None:
    found = Links(html)
    assert len(found.links) == 4 * 4 + 2  # four figures in two themes and two widths, and the two images
    for link in found.links:
        assert base64.b64decode(link.removeprefix("data:image/png;base64,"), validate=True).startswith(b"\x89PNG")
    assert "url(" not in html and "@import" not in html and "http" not in html
    assert not found.tags & {"script", "link", "iframe", "object"}


def test_hostile_names_are_text(html: str) -> None:
    assert "<script" not in html and "&lt;script&gt;" in html


def test_page_tells_no_absolute_path(html: str) -> None:
    assert "/home/me" not in html and "…/digits" in html


def test_page_is_the_same_bytes_again(html: str, drawn: dict[str, Picture]) -> None:
    assert page.render(subject(), drawn) == html


def test_page_holds_what_a_reader_looks_for(html: str) -> None:
    assert "87.6\xa0±\xa01.0\xa0% on the test split" in html
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "Trained on 2 synthetic images, a convnet2w32 reaches 87.6 ± 1.0 % on the test split" in text
    assert "on 2 random real images 71.7 ± 1.0 %." in text and "It beats its control by 15.9 points." in text
    assert (
        "FIEM, PAD’s filter, leaves the first 4 of 16 parameters (25.0 %) out of the loss: a.weight by its first 50.0 %"
        in text
    )
    assert "images 2 × 1 × 4 × 4, float32 128" in text and "together 148" in text
    assert (
        "The ceiling: the 2 experts it was matched with reach between 90.0 and 95.0 % on the validation split." in text
    )


def test_on_a_telephone_accuracies_stand_beside_what_they_are_of(html: str) -> None:
    style, body = html.split("</style>")
    wide, narrow = style.split("@media (max-width: 600px)")
    assert ".heading { display: none; }" in wide and ".heading { display: table-row; }" in narrow
    assert ".network { display: none; }" in narrow
    shown = re.findall(r"rowspan.*?>(.*?)<", body)
    assert shown == re.findall(r'class="heading"><th colspan="5">(.*?)</th>', body) and len(shown) == 1


def test_headline_tells_the_full_split_and_uses_the_right_article() -> None:
    rows = [*two(0.5, 0.4, "alexnet"), row("alexnet", "full", 0.9)]
    said = words.headline(rows, 1, 50_000)
    assert "Trained on 1 synthetic image, an alexnet reaches 50.0 ± 1.0 %" in said
    assert said.endswith("; on the 50,000 images of the training split 90.0 ± 1.0 %.")
    said = words.headline([*rows[:2], row("alexnet", "full", 0.9, 0.0, n=1)], 1, 50_000)
    assert said.endswith("; on the 50,000 images of the training split 90.0 % by one network."), (
        "one network has no spread"
    )


def test_what_all_stages_had_in_common_is_told_once() -> None:
    made = [{"device": "cpu", "compile": how} for how in ("auto", "off", "auto")]
    chain = [Link(stage, stage, "0" * 64, how) for stage, how in zip("abc", made, strict=True)]
    assert page._numerics(chain) == [("all stages", "device cpu"), ("a, c", "compile auto"), ("b", "compile off")]
    assert page._numerics(chain[:1]) == [("all stages", "compile auto, device cpu")]


def test_a_table_of_samples_has_no_images() -> None:
    values = {"mean": torch.zeros(3), "std": torch.ones(3)}
    learned = Learned(torch.zeros(2, 3, 1, 1), torch.eye(2), torch.tensor(0.02))
    facts = {**subject().synthetic.facts, "shape": [3, 1, 1]}
    table = SyntheticSet(learned, Preprocessing("normalize", values, content="table"), facts)
    config = loading.load("digits-ipc1", ("network={name: mlp, width: 8}",)).config
    own = subject(synthetic=table, experts=(0.9, 0.9), config=config)
    text = re.sub(r"<[^>]+>", " ", undrawn(own))
    assert "only seen samples in that space" in text and re.search(r"samples\s+2 × 3 × 1 × 1", text)
    assert "the 2 experts it was matched with reach 90.0\xa0% on" in text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (two(0.9, 0.8), "It beats its control by 10.0 points."),
        (two(0.7, 0.8), "The set does not beat its control: random real images are better by 10.0 points."),
        (
            two(0.805, 0.8),
            "The set does not clearly beat its control: the difference of +0.5 points is within two "
            "standard errors (± 1.4).",
        ),
        (
            two(0.795, 0.8),
            "The set does not clearly beat its control: the difference of −0.5 points is within two "
            "standard errors (± 1.4).",
        ),
        (
            two(1.0, 1.0, std=0.0),
            "The set does not beat its control: all networks reach the same on either.",
        ),
        (
            two(0.9, 0.8) + two(0.6, 0.7, "mlp") + two(0.8, 0.8, "vgg11"),
            "It beats its control by 10.0 points. It clearly beats it on no other network: mlp (−10.0), vgg11 (+0.0).",
        ),
        (
            two(0.9, 0.8, n=1, std=0.0),
            "The difference to the control is +10.0 points, but with one network its spread is not known.",
        ),
        (two(0.9, 0.8)[:1], "No control was run, so nothing says whether the set is better than real images."),
        (
            two(0.9, 0.8) + two(0.8, 0.7, "mlp"),
            "It beats its control by 10.0 points. It beats it on the other network too.",
        ),
        (
            two(0.9, 0.8) + two(0.6, 0.7, "mlp") + two(0.9, 0.7, "vgg11"),
            "It beats its control by 10.0 points. Of 2 other networks it clearly beats it on 1; not on mlp (−10.0).",
        ),
    ],
)
def test_verdict_is_plain(rows: list[dict[str, Any]], said: str) -> None:
    assert words.verdict(rows) == said


def test_protocol_says_where_the_controls_lr_comes_from() -> None:
    assert "best on the validation split" in words.protocol(Config(), True)
    assert "for want of a validation split" in words.protocol(Config(), False)


def test_protocol_is_named_with_what_is_set_otherwise() -> None:
    said = words.protocol(Config.model_validate({"evaluation": {"protocol": "idc", "epochs": 50}}), True)
    assert "trained by IDC’s protocol (idc), but for its number of epochs: 50 epochs of batches of 64 with SGD" in said
    assert "augmentation flip, then color, then one of crop, scale, rotate, CutMix of 50 % of the batches" in said


def test_training_twice_over_is_never_passed_over_in_silence() -> None:
    tree = {"evaluation": {"double_training": True}, "distill": {"ema_decay": 0.9}}
    assert "those are no accuracies of fresh networks" in words.protocol(Config.model_validate(tree), True)
    assert "twice" not in words.protocol(Config(), True)


@pytest.mark.parametrize("protocol", ["tm1001", "rded-kd"])
def test_protocol_says_which_iterate_the_set_is(protocol: str) -> None:
    """A paper's number beside it is that of the iterate which is best on the test split."""
    config = Config.model_validate({"evaluation": {"protocol": protocol}})
    assert words.protocol(config, True).endswith("The set is the iterate that did best on the validation split.")
    last = "The set is the last iterate, for none was judged; what papers print of trajectory matching is the iterate"
    assert last in words.protocol(config, False)
    unjudged = config.model_validate(config.model_dump() | {"distill": {"validation": {"seeds": 0}}})
    assert last in words.protocol(unjudged, True)


def test_a_learning_rate_that_stayed_is_not_said_to_be_learned(html: str, drawn: dict[str, Picture]) -> None:
    assert "learned with the images: it started at" in html
    fixed = loading.load("digits-ipc1", ("distill.lr_student_lr=0",)).config
    told = page.render(subject(config=fixed), drawn)
    assert "not learned: it is 0.02." in told and "it started at" not in told


def test_the_list_of_settings_has_those_that_take_part():
    shown = re.sub(r"<[^>]+>", "", undrawn(subject()))
    assert "settings that take part" in shown and "distill.ipc" in shown and "experts.count" in shown
    assert "nothing here depends on them: scores, evaluation.teacher, search." in shown
    assert not any(key in shown for key in ("scores.networks", "evaluation.teacher.lr", "search.trials"))
    scored = subject(
        config=loading.load("digits-ipc1", ("schedule.initial_ratio=0.75", "schedule.addition_end_epoch=3")).config
    )
    assert "scores.networks" in re.sub(r"<[^>]+>", "", undrawn(scored))


def test_yaml_gives_the_same_settings_again(tmp_path: Path) -> None:
    config = loading.load(
        "digits-ipc1", ("evaluation.architectures=[{name: mlp, width: 64}, lenet]", "distill.lr_student_lr=1.0e-7")
    ).config
    (tmp_path / "mine.yaml").write_text(words.as_yaml(config))
    assert loading.load(str(tmp_path / "mine.yaml")).config == config


def test_command_is_typed_as_it_was_but_for_places() -> None:
    overrides = ("distill.ipc=2", "data.path=/home/me/pictures", "storage.root=/tmp/x", "network={name: mlp}")
    said = words.command("digits-ipc1", overrides)
    assert said == (
        "padray run digits-ipc1 \\\n    --set distill.ipc=2 \\\n    --set 'data.path=…/pictures' \\\n"
        "    --set 'network={name: mlp}'"
    )
    assert words.command("mine", ()) == "padray run mine.yaml"


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("kind", ["normalize", "zca", "none", "zca of its dataset"])
def test_training_code_runs(
    kind: str,
    soft: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As a program too, which says what it made and how to go on with it."""
    kind, _, apart = kind.partition(" of its ")
    values = {
        "normalize": {"mean": torch.tensor([0.5]), "std": torch.tensor([0.25])},
        "zca": {"mean": torch.rand(16), "whiten": torch.rand(16, 16), "unwhiten": torch.eye(16)},
        "none": {},
    }[kind]
    labels = torch.randn(3, 3) if soft else torch.arange(3)
    facts = {"class_names": ["a", "b", "c"], "shape": [1, 4, 4]}
    made = SyntheticSet(Learned(torch.rand(3, 1, 4, 4), labels, torch.tensor(0.02)), Preprocessing(kind, values), facts)
    if apart:
        monkeypatch.setattr(whitening, "LARGE", 0)
        named = {f"preprocessing.{name}": value for name, value in values.items()}
        safetensors.torch.save_file(named, tmp_path / "fitted.safetensors")
    (tmp_path / "set.safetensors").write_bytes(synthetic.encode(made))
    monkeypatch.chdir(tmp_path)
    short = ("evaluation.epochs=3", "network.width=4", f"distill.labels.kind={'soft' if soft else 'hard'}")
    config = loading.load("digits-ipc1", short).config
    fitted = "fitted.safetensors" if apart else None
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(code.training_code(code.safetensors_load("set.safetensors", config, made, fitted), config, made), names)
    said = capsys.readouterr().out
    classes = labels.argmax(dim=1) if soft else labels
    known = (names["trained"](names["images"]).argmax(dim=1) == classes).float().mean()
    assert f"convnet2w4 after 3 epochs on the set:\nit knows {known:.0%} of its 3 images\n" in said, said
    assert "trained(preprocess(x)).argmax(dim=1):\nthe classes of real images x (N, 1, 4, 4) in [0, 1]" in said
    assert names["trained"](names["preprocess"](torch.rand(2, 1, 4, 4))).argmax(dim=1).shape == (2,)
    real = torch.rand(5, 1, 4, 4)
    assert names["train"](0)(names["preprocess"](real)).shape == (5, 3)
    assert torch.allclose(names["preprocess"](real), made.preprocessing.apply(real))
