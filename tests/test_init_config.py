"""`padray init-config`: for each kind of data that a user may have, a commented file that runs as it is written."""

import io
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision.datasets
from PIL import Image

from padray.configuration import loading
from padray.data import survey
from padray.data.settings import DataSettings
from padray.errors import InputError
from padray.networks import derivatives, factory
from padray.planning import calibrate
from padray.recipe import budget as budgets
from padray.recipe import sizing, text, yaml_sections
from padray.stages import deciding
from tests.conftest import Run, Said

MEASURE = budgets.measure
RNG = np.random.default_rng(0)
SHORT = (
    "network.width=4",
    "distill.iterations=2",
    "distill.validation={every: 2, seeds: 1, epochs: 2}",
    "evaluation.seeds=1",
    "evaluation.epochs=2",
    "evaluation.controls={lrs: [0.01], tuning_seeds: 1, full: true, full_epochs: 1, full_seeds: 1}",
)
SHORT_EXPERTS = (
    "experts.count=1",
    "experts.epochs=3",
    "distill.student_steps=2",
    "distill.expert_epochs=1",
    "distill.windows={min_start: 0, start: 2, max_start: 2}",
)
KINDS = ("cat", "dog", "eel")


@pytest.fixture(autouse=True)
def paces(monkeypatch):
    """Of a machine on which everything takes so long; what is measured otherwise is another file's to test."""
    monkeypatch.setattr(budgets, "measure", lambda config, known, notify=None: Paces())


class Paces(dict):
    """Seconds per sample, or per iteration."""

    def __missing__(self, pace: tuple[str, bool]) -> float:
        return 0.1 if pace[0] == "iteration" else 2e-4 if pace[0] == "look" else 1e-3


def picture(shape: tuple[int, ...], kind: int) -> Image.Image:
    """Noise whose brightness tells the class."""
    pixels = RNG.integers(0, 80, shape) + 80 * kind
    return Image.fromarray(pixels.astype(np.uint8))


def png(shape: tuple[int, ...], kind: int) -> bytes:
    stream = io.BytesIO()
    picture(shape, kind).save(stream, "PNG")
    return stream.getvalue()


def labels(counts: tuple[int, ...]) -> list[int]:
    return [kind for kind, count in enumerate(counts) for _ in range(count)]


def tables(folder: Path, train: dict, test: dict) -> Path:
    folder.mkdir(parents=True)
    for part, columns in (("train", train), ("test", test)):
        pq.write_table(pa.table(columns), folder / f"{part}.parquet")
    return folder


def coloured(folder: Path) -> Path:
    """As Hugging Face writes them, under names that no reader could guess from a list."""
    parts = []
    for counts in ((9, 6, 3), (2, 2, 2)):
        kinds = labels(counts)
        photo = pa.array([{"bytes": png((8, 8, 3), k), "path": None} for k in kinds])
        parts.append({"photo": photo, "animal": [KINDS[k] for k in kinds]})
    return tables(folder, *parts)


def table(folder: Path) -> Path:
    parts = []
    for counts in ((12, 10), (3, 3)):
        kinds = np.array(labels(counts))
        parts.append({"size": RNG.normal(size=len(kinds)) + kinds, "age": kinds * 40.0, "Target": kinds})
    return tables(folder, *parts)


def series(folder: Path) -> Path:
    parts = []
    for counts in ((8, 8), (2, 2)):
        kinds = labels(counts)
        parts.append({"series": [(RNG.normal(size=16) + k).tolist() for k in kinds], "label": kinds})
    return tables(folder, *parts)


def folders(folder: Path) -> Path:
    """Photographs of different sizes, in folders by class."""
    for part, count in (("train", 5), ("test", 2)):
        for kind, name in enumerate(KINDS):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                picture((20 + index, 30, 3), kind).save(folder / part / name / f"{index}.png")
    return folder


def fashion(folder: Path) -> Path:
    """What torchvision fetches, with fewer images."""
    raw = folder / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 30), ("t10k", 10)):
        kinds = np.arange(count, dtype=np.uint8) % 10
        pixels = (RNG.integers(0, 20, (count, 28, 28)) + 20 * kinds[:, None, None]).astype(np.uint8)
        for name, values in (("images-idx3", pixels), ("labels-idx1", kinds)):
            head = b"\0\0\x08" + bytes([values.ndim]) + np.array(values.shape, ">i4").tobytes()
            (raw / f"{prefix}-{name}-ubyte").write_bytes(head + values.tobytes())
    assert len(torchvision.datasets.FashionMNIST(folder)) == 30
    return folder


MADE = {
    "coloured": (coloured, [3, 8, 8], "convnet", "zca", {"cat": 9, "eel": 3}),
    "table": (table, [2, 1, 1], "mlp", "normalize", {"0": 12, "1": 10}),
    "series": (series, [1, 1, 16], "convnet1d", "normalize", {"0": 8}),
    "folders": (folders, [3, 16, 16], "convnet", "zca", {"cat": 5}),
    "fashion": (fashion, [1, 28, 28], "convnet", "normalize", {"Trouser": 3}),
}


@pytest.mark.parametrize("kind", MADE)
def test_the_file_for_each_kind_of_data_runs_as_it_is_written(run: Run, tmp_path, monkeypatch, kind):
    make, shape, network, preprocessing, counts = MADE[kind]
    make(tmp_path / "My Data")
    monkeypatch.chdir(tmp_path)
    hours = kind not in ("coloured", "fashion")  # a table or a series needs none
    said = run("init-config", "My Data", "--json", "--budget", "1h" if kind == "folders" else "10m")
    assert said.code == 0, said.err
    found = said.json
    assert found["shape"] == shape
    per_class = dict(zip(found["class_names"], found["train_per_class"], strict=True))
    assert per_class.items() >= counts.items() and sum(per_class.values()) == found["train"]
    config = loading.load(found["file"]).config
    assert config.network.name == network and config.data.preprocessing == preprocessing
    assert Path(config.data.path).is_absolute() and Path(config.data.path) == tmp_path / "My Data"
    assert config.distill.needs_experts == hours, "trajectories where hours count, distributions where minutes do"
    short = [part for setting in SHORT + SHORT_EXPERTS * hours for part in ("--set", setting)]
    done = run("run", found["file"], "--runner", "inline", "--storage", tmp_path / "runs", "--json", *short)
    assert done.code == 0, done.err
    assert {row["source"] for row in done.json["evaluation"]} == {"distilled", "random", "full"}
    ceiling, notes = done.json["ceiling"], done.json["notes"]
    assert (ceiling["made_by"], ceiling["n"]) == ("full", 1)
    held = [note for note in notes if note.startswith("validation has ")]
    assert held and f"{held[0]}." in (tmp_path / done.json["report"].removeprefix("file://")).read_text().lower()
    manifest = json.loads(next((tmp_path / "runs/datasets").glob("*/manifest.json")).read_text())
    assert manifest["facts"]["shape"] == shape, "what was found is what the run sees"


def settings_in(text: str) -> dict[str, str]:
    """Every setting of the file with what is said beside it or in the line before."""
    said, section, before = {}, "", ""
    for line in text.splitlines():
        if top := re.fullmatch(r"(\w+):", line):
            section = top[1]
        elif setting := re.match(r"  (\w+): [^#]+?(?:  +# (.+))?$", line):
            said[f"{section}.{setting[1]}"] = setting[2] or before
        before = line.removeprefix("  # ") if line.startswith("  # ") else ""
    return said


def test_every_setting_says_what_it_means_and_which_one_comes_first(run: Run, tmp_path, monkeypatch):
    coloured(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    shown = run("init-config", "pets", "--ipc", 2).out
    text = (tmp_path / "pets.yaml").read_text()
    said = settings_in(text)
    loaded = loading.load("pets.yaml")
    assert {key.rsplit(".", 1)[0] if key.count(".") > 1 else key for key in loaded.origins} == said.keys()
    assert all(said.values())
    head = " ".join(line.removeprefix("# ") for line in text.split("\n\n")[0].splitlines())
    assert "18 training and 6 test samples: images of 3x8x8; 3 classes: cat, dog, eel" in head
    assert "eel, 3, 3.0 times as few: balanced accuracy" in head and "Change first: distill.ipc" in head
    assert loaded.config.evaluation.metric == "balanced_accuracy" and loaded.config.distill.ipc == 2
    assert (loaded.config.data.image_column, loaded.config.data.label_column) == ("photo", "animal")
    assert all(len(line) <= 120 for line in text.splitlines() if "path:" not in line)
    assert "18 training and 6 test samples: images of 3x8x8" in shown
    assert "cat has 9 training samples, eel 3" in shown
    assert "padray plan pets.yaml" in shown and "padray run pets.yaml" in shown


def scans(folder: Path) -> Path:
    """Grey pictures that are larger than padray would read them, in two files."""
    parts = []
    for counts in ((4, 9), (2, 2)):
        kinds = labels(counts)
        parts.append({"image": [png((112, 112), k) for k in kinds], "label": kinds})
    return tables(folder, *parts)


def plants(file: Path) -> Path:
    """A table whose labels are found by their being text, and which has no test split."""
    rows = [f"{value:.3f},{value * k:.3f},{'abc'[k]}\n" for k in range(3) for value in RNG.normal(size=10)]
    file.write_text("width,height,species\n" + "".join(rows))
    return file


def small(folder: Path) -> Path:
    """Pictures in class folders alone, more of them than a minute is for."""
    for kind, name in enumerate(KINDS):
        (folder / name).mkdir(parents=True)
        for index in range(150):
            picture((64, 64), kind).save(folder / name / f"{index}.png")
    return folder


WORDS = {
    "x rays": (
        scans,
        ["13 training and 4 test samples: images with sides of 112 pixels, brought to 1x64x64 (data.size)"],
        ["test split"],
    ),
    "plants.csv": (
        plants,
        [
            "24 training and 6 test samples: a table of 2 columns beside the labels",
            "he labels are the column species",
            "he data have no test split of their own: it is 20 % of each class of plants.csv, drawn by "
            "data.split_seed 0, and only the proof reads it",
        ],
        ["2x1x1"],
    ),
    "small": (
        small,
        [
            "360 training and 90 test samples: images of 1x64x64",
            "every class has 120 training samples",
            "it is 20 % of each class of small/, drawn by data.split_seed 0",
            "of the 360 training samples are read, the first ",
        ],
        [],
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_what_was_found_taken_and_left_out_is_said_on_the_terminal_and_in_the_file(
    run: Run, tmp_path, monkeypatch, name
):
    """Each of these a new user had to guess."""
    make, said, unsaid = WORDS[name]
    paces = defaultdict(lambda: 1e-5, {("iteration", False): 0.1, ("look", False): 2e-6})
    monkeypatch.setattr(budgets, "measure", lambda config, known, notify=None: paces)
    file = tmp_path / "made.yaml"
    ended = run("init-config", make(tmp_path / name), "--to", file, "--budget", "1m")
    assert ended.code == 0, ended.err
    head = " ".join(line.removeprefix("# ") for line in file.read_text().partition("\ndata:")[0].splitlines())
    for sentence in said:
        assert sentence in ended.out and sentence in head.replace("Every", "every"), (ended.out, head)
    assert not any(other in ended.out for other in unsaid)


def test_the_filters_in_its_comments_are_settings_too(run: Run, tmp_path):
    coloured(tmp_path / "pets")
    run("init-config", tmp_path / "pets", "--to", tmp_path / "pets.yaml", "--budget", "8h")
    plain, _, after = (tmp_path / "pets.yaml").read_text().partition("# schedule:")
    switched = "schedule:" + after.replace("\n# ", "\n")
    (tmp_path / "filtered.yaml").write_text(plain + switched)
    config = loading.load(str(tmp_path / "filtered.yaml")).config
    assert config.trains_scoring_networks and config.scores.network == config.network


def test_what_is_told_of_the_data_is_taken(run: Run, tmp_path):
    folders(tmp_path / "2024")
    file = tmp_path / "mine.yml"
    options = ("--set", "data.size=24", "--set", "data.validation=0", "--set", "data.preprocessing=none")
    said = run("init-config", tmp_path / "2024", "--to", file, *options)
    assert said.code == 0, said.err
    config = loading.load(str(file)).config
    assert (config.data.size, config.data.dataset, config.data.preprocessing) == (24, "2024", "none")
    assert config.data.validation == 0 and config.distill.validation.seeds == 0, "or the chain would refuse it"


def test_large_data_are_cut_and_small_ones_are_not(run: Run, tmp_path):
    kinds = labels((30_000, 5))
    many = tables(tmp_path / "many", {"x": np.arange(30_005.0), "label": kinds}, {"x": [0.0, 1.0], "label": [0, 1]})
    run("init-config", many, "--to", tmp_path / "many.yaml", "--budget", "2m")
    config = loading.load(str(tmp_path / "many.yaml")).config
    assert config.data.limit_per_class == 1_700, "as many as three experts are paid for with"
    run("init-config", series(tmp_path / "few"), "--to", tmp_path / "few.yaml")
    assert loading.load(str(tmp_path / "few.yaml")).config.data.limit_per_class is None


def fitted(folder: Path, asked: str, pace: float = 1.0, cores: int = 1) -> sizing.Fit:
    """What fits on a machine that is so many times as slow."""
    paces = defaultdict(lambda: 1e-3 * pace, {("iteration", False): 0.1 * pace, ("look", False): 2e-4 * pace})
    found = survey.look(str(folder), DataSettings())
    return sizing.fit(found, 1, budgets.budget(asked, cores), lambda config, known: paces)


@pytest.mark.parametrize("asked, pace, cores", [("5m", 1, 1), ("30m", 3, 2), ("2m", 7, 1), ("5m", 23, 1), ("8h", 9, 4)])
def test_what_is_written_fits_the_budget_and_fills_it(tmp_path, asked, pace, cores):
    """By the plan's own counts, whatever the machine's pace; what is left out is what a run takes besides."""
    found = fitted(coloured(tmp_path / "pets"), asked, pace, cores)
    given = sizing.MARGIN * found.budget.seconds - sizing.START_S
    assert found.seconds.wall(cores) <= given
    capped = found.plan.sizes.iterations == sizing.MOST[found.plan.sizes.family]
    assert capped or found.seconds.wall(cores) >= 0.9 * given
    config = yaml_sections.config_of(found.plan)
    assert config.distill.iterations % config.distill.validation.every == 0, "the last iterate is judged too"
    again = fitted(tmp_path / "pets", asked, pace, cores)
    assert text.text(again) == text.text(found), "a function of the data, the budget and the paces"


@pytest.mark.parametrize(("pays", "asked"), [(1000, 2), (10_000_000, 1)])
def test_iterations_that_are_compiled_are_counted_at_their_own_pace(tmp_path, monkeypatch, pays, asked):
    """The draft is too short to be worth a compiler's work, and what fits at its pace is not, or is."""
    monkeypatch.setattr(derivatives, "compiler", lambda: "g++")
    found, drafts = survey.look(str(coloured(tmp_path / "pets")), DataSettings()), []

    def compiles(config, known) -> bool:
        return deciding.numerics_of(config, known.shape, known.classes).compile == "on"

    def measure(config, known):
        if not drafts:
            network = factory.build(config.network, known.shape, known.classes, 0)
            passes = config.distill.model_copy(update={"iterations": pays}).compilable_passes(known.classes)
            monkeypatch.setattr(deciding, "PAYS_ONCE", passes * derivatives.forward_flops(network))
        drafts.append(compiles(config, known))
        iteration = 0.03 if drafts[-1] else 0.1
        return defaultdict(lambda: 1e-3, {("iteration", False): iteration, ("look", False): 2e-4})

    fit = sizing.fit(found, 1, budgets.budget("5m", cores=1), measure)
    assert drafts == [False, True][:asked]
    assert fit.seconds.iteration == pytest.approx(0.03 if asked == 2 else 0.1)
    assert fit.seconds.wall(1) >= 0.9 * (sizing.MARGIN * 300 - sizing.START_S)


@pytest.mark.parametrize("asked", ["5m", "2h"])
def test_what_it_counts_on_is_what_its_plan_says(run: Run, tmp_path, monkeypatch, asked):
    """The same seconds, whatever the paces: of each kind of work another one, and of the set another than of data."""
    kinds = ("experts", "judged", "cell", "look", "iteration")

    def paced(config, known, lines, notify):
        tasks = {part.task for line in lines for part in line.parts}
        return {task: (1 + kinds.index(task.kind)) * (2e-4 if task.samples < 9 else 1e-4) for task in tasks}

    monkeypatch.setattr(calibrate, "measure", paced)
    found = sizing.fit(
        survey.look(str(coloured(tmp_path / "pets")), DataSettings()), 1, budgets.budget(asked, 1), MEASURE
    )
    text.write(found, str(tmp_path / "pets.yaml"))
    planned = run("plan", tmp_path / "pets.yaml", "--calibrate", "--json", "--storage", tmp_path / "none").json
    assert planned["total"]["hours"] * 3600 == pytest.approx(found.seconds.wall(1))


def test_a_budget_for_nothing_is_refused_with_the_least_that_would_do(tmp_path):
    coloured(tmp_path / "pets")
    with pytest.raises(InputError, match=r"--budget 2m: the least that is worth it takes (\d+) minutes") as refused:
        fitted(tmp_path / "pets", "2m", pace=30)
    least = int(re.search(r"(\d+) minutes", str(refused.value))[1])
    assert fitted(tmp_path / "pets", f"{least}m", pace=30).plan.sizes.iterations >= sizing.FEWEST


def test_a_larger_budget_goes_into_width_experts_and_iterations(tmp_path):
    coloured(tmp_path / "pets")
    short, long, longest = (fitted(tmp_path / "pets", asked, pace=9).plan.sizes for asked in ("5m", "1h", "8h"))
    assert short.family == "distribution" and long.family == longest.family == "trajectory"
    assert short.width < long.width < longest.width
    assert long.experts < longest.experts or longest.experts == sizing.MOST_EXPERTS


def test_the_file_says_what_its_time_goes_to(run: Run, tmp_path):
    shown = run("init-config", coloured(tmp_path / "pets"), "--to", tmp_path / "a.yaml", "--budget", "5m").out
    assert "a.yaml, sized for 5m on this machine's" in shown
    run("init-config", tmp_path / "pets", "--to", tmp_path / "b.yaml", "--budget", "8h")
    minutes, hours = (" ".join((tmp_path / name).read_text().split("\n# ")) for name in ("a.yaml", "b.yaml"))
    assert "Sized for 5m on this machine's" in minutes and "the ceiling" in minutes and "experts" not in minutes[:999]
    assert re.search(r"Sized for 8h on this machine's .*: \d+ experts \d", hours)


# -- refusals


def refused(said: Said, *parts: str) -> None:
    assert said.code == 2 and said.err.startswith("padray: ") and len(said.err.splitlines()) == 1, said
    assert all(part in said.err for part in parts), said.err


def test_a_file_that_is_there_is_never_overwritten(run: Run, tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 3\n")
    refused(run("init-config", table(tmp_path / "t"), "--to", tmp_path / "mine.yaml"), "is there already", "--to")
    assert (tmp_path / "mine.yaml").read_text() == "seed: 3\n"
    refused(run("init-config", tmp_path / "t", "--to", tmp_path / "no/mine.yaml"), "cannot write", "No such file")
    refused(run("init-config", tmp_path / "t", "--to", tmp_path / "mine.txt"), "must be a .yaml file")


def one_class(folder: Path) -> Path:
    return tables(folder, {"x": [1.0, 2.0], "label": ["a", "a"]}, {"x": [1.0], "label": ["a"]})


def no_label(folder: Path) -> Path:
    return tables(folder, {"x": [1, 2], "z": [0, 1]}, {"x": [1], "z": [0]})


def lonely(folder: Path) -> Path:
    return tables(folder, {"x": [1.0, 2, 3], "label": ["a", "a", "b"]}, {"x": [1.0, 2], "label": ["a", "b"]})


def torn(folder: Path) -> Path:
    (folders(folder) / "train/dog/3.png").write_bytes(b"no picture")
    return folder


def two_sets(folder: Path) -> Path:
    fashion(folder)
    (folder / "FashionMNIST").rename(folder / "M")
    fashion(folder)
    (folder / "M").rename(folder / "MNIST")
    return folder


@pytest.mark.parametrize(
    "make, options, parts",
    [
        (lambda folder: folder, (), ("does not exist",)),
        (lambda folder: folder.parents[1], (), ("holds no dataset", "train*.parquet")),
        (one_class, (), ("one class, 'a'", "takes two")),
        (no_label, (), ("no column of train.parquet is plainly the labels", "data.label_column=NAME", "'x', 'z'")),
        (no_label, ("--set", "data.label_column=y"), ("no column 'y'",)),
        (lonely, (), ("class 'b' has 1 training sample(s)", "1 of them to validate with")),
        (table, ("--ipc", 10), ("class '1' has 10 training sample(s)", "lower --ipc")),
        (table, ("--set", "data.imbalance=10", "--ipc", 2), ("class '1' has 2 training sample(s)",)),
        (table, ("--ipc", 0), ("--ipc 0", "at least 1")),
        (table, ("--budget", "soon"), ("--budget soon", "10m, 1h or 8h")),
        (table, ("--budget", "10s"), ("--budget 10s", "from 1m to 30d")),
        (table, ("--set", "distill.ipc=3"), ("--set distill.ipc=3", "what there is to know of the data")),
        (table, ("--set", "data.path=/x"), ("PATH says where they are",)),
        (torn, (), ("train/dog/3.png cannot be decoded",)),
        (two_sets, (), ("mnist and fashionmnist", "--set data.dataset=mnist")),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(run: Run, tmp_path, make, options, parts):
    file = tmp_path / "mine.yaml"
    refused(run("init-config", make(tmp_path / "in" / "data"), "--to", file, *options), *parts)
    assert not file.exists()
