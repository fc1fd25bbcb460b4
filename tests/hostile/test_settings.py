"""Configurations, spaces, studies and command lines of any shape: they work, or are refused in one sentence.

What is refused leaves nothing behind, and no command computes here: what was not refused ends where work would begin.
"""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padray.commandline import cli
from padray.configuration import loading
from padray.errors import InputError
from padray.search import driver as search
from padray.studies import study as studies
from tests.hostile.cases import cases

PRESET = "digits-ipc1"
KEYS = [key for key, _ in loading.effective(loading.load(PRESET).config)]
SEARCHED = [key for key in KEYS if key.split(".")[0] in search.SEARCHABLE]
SECTIONS = sorted({key.rpartition(".")[0] for key in KEYS if "." in key})
FRAGMENTS = [
    "2001-13-45",
    "2024-01-01",
    "9" * 5000,
    "-" + "9" * 30,
    "0x" + "f" * 5000,
    "1e999",
    "1e308",
    ".nan",
    "-.inf",
    "!!int x",
    "!!bool maybe",
    "!!float []",
    "!!set {a}",
    "!!python/object/apply:os.getcwd []",
    "!x y",
    "!<%ff> a",
    '"\\U00110000"',
    '"\\ud800"',
    '"\\0"',
    '"a\\nb"',
    "&a [*a]",
    "&a {b: *a}",
    "*nowhere",
    "<<",
    "[" * 40 + "]" * 40,
    "{<<: [{x: 1}]}",
    "? [a]",
    "|",
    "'",
    '"',
    "%YAML 1.9",
    "---",
    "\t",
    "\x07",
    "\ufeff",
    "\udcff",
    "💥",
    "é",
    "null",
    "true",
    "yes",
    "1:30",
    "~",
    "",
    "{}",
    "[]",
    "-1",
    "0",
    "1",
    "2",
    "0.5",
    "10000",
    "1000000000000",
    "[2, 1]",
    "[[1, 0.5]]",
    "none",
    "mlp",
    "{name: vit, width: 3}",
    "soft",
    "paper",
    "file",
    "x.npy",
    "/dev/zero",
    "nowhere",
]
NAMES = [
    "",
    "nowhere",
    "~nosuchuser/x",
    "x" * 300,
    "/".join(["x" * 200] * 30),
    "\udcff",
    "é\u202e",
    "a\nb",
    "..",
    "-",
    "--",
    "/dev/zero",
    "/dev/null/x",
    "gs://x",
    "file://nowhere",
    "fifo",
    "loop",
    "folder",
    "text",
    PRESET,
    "-h",
    "9" * 5000,
    "nan",
    "-1",
    "1e999",
    "0",
]

values = st.sampled_from(FRAGMENTS) | st.text(max_size=8) | st.floats().map(str) | st.integers().map(str)
keys = st.sampled_from(KEYS) | st.sampled_from(SECTIONS) | st.sampled_from(FRAGMENTS) | st.text(max_size=8)
names = st.sampled_from(NAMES) | st.sampled_from(NAMES).map(lambda name: f"{name}.yaml") | st.text(max_size=5)
switches = st.sampled_from([(), ("--json",)])


def line_of(setting: tuple[str, str]) -> str:
    """A dotted setting on one line of YAML: `a: {b: {c: value}}`."""
    top, *below = setting[0].split(".")
    return f"{top}: " + "".join(f"{{{part}: " for part in below) + setting[1] + "}" * len(below)


flows = st.lists(st.tuples(keys, values), max_size=4).map(lambda settings: "\n".join(map(line_of, settings)))
texts = flows | st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5)).map(" ".join) | st.text()
contents = texts.map(lambda text: text.encode(errors="surrogateescape" if "\udcff" in text else "replace"))
specs = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["choice", "float", "int", "x"]),
        "low": st.sampled_from(["-1", "0", "1", "2", "0.5", ".nan", "1e300", "x"]),
        "high": st.sampled_from(["0", "1", "3", "99", "1e15", "1e300", ".inf"]),
        "log": st.sampled_from(["true", "false", "3"]),
        "choices": st.lists(st.sampled_from(["1", "2", "0.5", "true", "soft", "crop", "paper", "[1]"])).map(
            lambda found: f"[{', '.join(found)}]"
        ),
        "when": st.sampled_from(["{}", "{distill.batch: [1]}", "{nowhere: [1]}", "3"]),
    },
).map(lambda spec: "{" + ", ".join(f"{key}: {value}" for key, value in spec.items()) + "}")
searched = st.sampled_from(SEARCHED) | keys
spaces = st.lists(st.tuples(searched, specs | values), max_size=3).map(
    lambda found: "\n".join(f"{key}: {spec}" for key, spec in found)
)
cases_of = st.lists(st.tuples(st.sampled_from(["a", "b", "1", "~", '"\\n"']), flows | values), max_size=3).map(
    lambda found: "{" + ", ".join(f"{name}: {{{case}}}" for name, case in found) + "}"
)


@pytest.fixture(scope="module", autouse=True)
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with things that are no settings; commands stop where they would begin to compute."""
    folder = tmp_path_factory.mktemp("hostile")
    os.mkfifo(folder / "fifo")
    os.mkfifo(folder / "fifo.yaml")
    (folder / "loop").symlink_to("loop")
    (folder / "loop.yaml").symlink_to("loop.yaml")
    (folder / "folder.yaml").mkdir()
    (folder / "folder").mkdir()
    (folder / "text").write_text("mine")
    (folder / "fine.yaml").write_text("data: {limit_per_class: 9}\n")

    def begun(*arguments: object) -> None:
        raise InputError("work would begin here")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(search.data, "make", begun)
        patch.setattr(studies, "make", begun)
        yield folder


def holds(*arguments: str, about: str = "") -> None:
    """Exit code 0 or 2, and then one sentence, which is the one JSON object with `--json`; nothing is left behind."""
    before = sorted(os.listdir())
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["padray", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    said, told = (stream.buffer.getvalue().decode() for stream in (out, err))
    assert code in (0, 2) and "Traceback" not in said + told, (arguments, code, told)
    if code == 2 and told:
        assert told.startswith("padray: ") and told.endswith("\n") and told[8:-1].isprintable(), (arguments, told)
        assert len(told) > 12 and len(told) < 3000 and about in told, (arguments, told)
        if "--json" in arguments:
            assert json.loads(said) == {"error": told[8:-1]}
    elif "--json" in arguments and "-h" not in arguments:
        json.loads(said)
    assert sorted(os.listdir()) == before, (arguments, told)


@cases(0.09)
@given(contents, switches)
def test_a_configuration_is_shown_or_refused(content: bytes, more: tuple[str, ...]) -> None:
    Path("fine.yaml").write_bytes(content)
    holds("config", "show", "fine.yaml", *more)


@cases(0.09)
@given(st.lists(st.tuples(keys, values), min_size=1, max_size=3), switches)
def test_a_setting_is_taken_or_refused(pairs: list[tuple[str, str]], more: tuple[str, ...]) -> None:
    overrides = [part for key, value in pairs for part in ("--set", f"{key}={value}")]
    holds("config", "show", PRESET, *overrides, *more)


@cases(0.02)
@given(st.lists(st.tuples(st.sampled_from(KEYS), values), min_size=1, max_size=2), switches)
def test_a_plan_is_made_or_refused(pairs: list[tuple[str, str]], more: tuple[str, ...]) -> None:
    overrides = [part for key, value in pairs for part in ("--set", f"{key}={value}") if key != "storage.root"]
    holds("plan", PRESET, *overrides, "--storage", "nowhere", *more)


@cases(0.05)
@given(spaces | texts, switches)
def test_a_space_is_searched_or_refused(text: str, more: tuple[str, ...]) -> None:
    Path("fine.yaml").write_bytes(text.encode(errors="replace"))
    arguments = ("tune", PRESET, "--space", "fine.yaml", "--runner", "inline", "--storage", "nowhere")
    holds(*arguments, *more)


@cases(0.04)
@given(cases_of, cases_of, values, switches)
def test_a_study_is_made_or_refused(rows: str, columns: str, extra: str, more: tuple[str, ...]) -> None:
    text = f"title: x\nsource: y\npreset: {PRESET}\nrows: {{title: r, cases: {rows}}}\n"
    text += f"columns: {{title: c, cases: {columns}}}\nnotes: [{extra}]\n"
    Path("fine.yaml").write_bytes(text.encode(errors="replace"))
    holds("study", "fine.yaml", "--runner", "inline", "--storage", "nowhere", *more)


COMMANDS = [
    ("config", "show", "?"),
    ("plan", "?", "--storage", "?"),
    ("ls", "--storage", "?"),
    ("du", "--storage", "?"),
    ("status", "--storage", "?"),
    ("show", "?", "--storage", "?"),
    ("verify", "?", "--storage", "?"),
    ("verify", "--older-than", "?", "--repair", "--storage", "?"),
    ("rm", "?", "--force", "--storage", "?"),
    ("export", "?", "?", "--to", "?", "--storage", "?"),
    ("init-config", "?", "--to", "?"),
    ("init-config", "folder", "--ipc", "?", "--set", "?"),
    ("study", "?", "--profile", "?", "--storage", "?"),
    ("tune", PRESET, "--space", "?", "--storage", "?"),
    ("tune", "?", "--storage", "?", "--runner", "?"),
    ("evaluate", "?", "?", "--storage", "?"),
    ("import", "?", "--from", "?", "--config", "?", "--lr", "?"),
    ("?", "?"),
    ("plan", PRESET, "--price", "?", "--storage", "nowhere"),
    ("config", "show", PRESET, "--set", "?"),
]


@cases(0.06)
@given(st.sampled_from(COMMANDS), st.lists(names, min_size=4, max_size=4), switches)
def test_a_command_line_is_followed_or_refused(
    command: tuple[str, ...], given: list[str], more: tuple[str, ...]
) -> None:
    filled = iter(given)
    holds(*(next(filled) if part == "?" else part for part in command), *more)


def test_the_property_sees_what_is_said() -> None:
    """It would hold of commands that refuse everything, and of sentences about something else."""
    holds("config", "show", PRESET, "--set", "distill.ipc=2", "--json")
    holds("config", "show", "nowhere.yaml", about="nowhere.yaml")
    with pytest.raises(AssertionError):
        holds("config", "show", "nowhere.yaml", about="distill.ipc")
