"""The command line as its users meet it: exit codes, one sentence for what is wrong, JSON that is JSON."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import padray
from padray.commandline import commands
from padray.data import sources
from padray.data.sources import RawDataset, RawSplit
from padray.errors import InputError, WorkError
from padray.stages import pipeline
from tests.conftest import Said

PRESET = "digits-ipc1"


def begun(*_):
    raise AssertionError("work was begun")


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    """What should have been refused fails here at once, not after minutes of work."""
    for stage in (pipeline.scores, pipeline.experts):
        monkeypatch.setattr(stage, "make", begun)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A storage root; not made yet."""
    return tmp_path / "root"


def written(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def only_finished_datasets(root: Path) -> bool:
    """Whether nothing was left but datasets with all that their manifests list."""
    left = set(written(root))
    listed = {key for key in left if key.startswith("datasets/") and key.endswith("/manifest.json")}
    for key in tuple(listed):
        listed |= {item["key"] for item in json.loads((root / key).read_text())["objects"]}
    return left == listed


def refused(said: Said, root: Path, *parts: str) -> None:
    """Exit code 2, one sentence that holds all `parts`, nothing begun."""
    assert said.code == 2, said
    sentences = [line for line in said.err.splitlines() if not line.startswith("data ")]  # the progress of the stage
    assert len(sentences) == 1 and sentences[0].startswith("padray: "), said.err
    assert all(part in sentences[0] for part in parts), sentences
    assert "Traceback" not in said.out + said.err
    assert only_finished_datasets(root), written(root)


# -- settings that cannot be used


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("digits-ipc2",), ("digits-ipc2", "did you mean digits-ipc1?")),
        (("missing.yaml",), ("missing.yaml", "No such file")),
        ((PRESET, "--set", "distill.ipk=1"), ("distill.ipk is not a setting", "did you mean ipc?")),
        ((PRESET, "--set", "distill.ipc=one"), ("--set: distill.ipc", "'one'")),
        ((PRESET, "--set", "distill.ipc=0"), ("--set: distill.ipc", "got 0")),
        ((PRESET, "--set", "distill.lr_images=.nan"), ("distill.lr_images", "finite")),
        ((PRESET, "--set", "distill.ipc"), ("section.key=value",)),
        ((PRESET, "--set", "experts.epochs=5"), ("distill.windows.max_start=10", "experts.epochs is 5")),
        ((PRESET, "--set", "distill.ipc=127"), ("class '8'", "126 training samples", "lower distill.ipc")),
        ((PRESET, "--set", "data.validation=0.0"), ("data.validation is 0", "distill.validation.seeds=0")),
        ((PRESET, "--set", "data.path=nowhere"), ("data.path 'nowhere' does not exist",)),
        ((PRESET, "--set", "data.dataset=pets"), ("'pets'", "data.path must name its folder")),
        ((PRESET, "--set", "data.std=[0.5]"), ("data.mean and data.std belong together",)),
        ((PRESET, "--set", "network=lenet", "--set", "network.norm=batch"), ("'network' is a value",)),
        ((PRESET, "--set", "network={name: lenet, norm: batch}"), ("lenet has no norm",)),
        ((PRESET, "--runner", "slurm"), ("--runner slurm", "inline")),
        ((PRESET, "--bogus"), ("No such option: --bogus",)),
        ((), ("CONFIG",)),
    ],
)
def test_bad_settings_are_told_in_one_sentence_before_any_work(run, root, arguments, parts):
    refused(run("run", *arguments, "--storage", str(root)), root, *parts)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("distill: {ipc: 1, ipc: 2}", ("line 1", "duplicate key")),
        ("distill: {ipc: 1", ("not valid YAML",)),
        ("digits", ("must hold sections",)),
        ("data: digits", ("data: must hold settings",)),
    ],
)
def test_a_bad_settings_file_is_named(run, root, tmp_path, text, parts):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    refused(run("run", str(path), "--storage", str(root)), root, "mine.yaml", *parts)


def test_an_unknown_command_is_told_the_near_one(run, root):
    refused(run("distil"), root, "'distil'", "'distill'")


# -- storage that cannot be used


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_the_way_of_the_storage_is_found_before_any_work(run, tmp_path, monkeypatch, name):
    monkeypatch.setattr(pipeline.data, "make", begun)
    (tmp_path / "file").write_text("mine")
    said = run("run", PRESET, "--storage", str(tmp_path / name))
    refused(said, tmp_path / "nowhere", "cannot write to the storage", str(tmp_path / name))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "mine")]


def test_a_file_in_the_way_of_a_stage_is_named(run, root):
    root.mkdir()
    (root / "datasets").write_text("mine")
    said = run("data", PRESET, "--storage", str(root))
    assert said.code == 2 and "in the storage" in said.err and "Not a directory" in said.err
    assert written(root) == ["datasets"]


def test_a_storage_of_an_unknown_kind_is_refused(run, root):
    refused(run("run", PRESET, "--storage", "gs://bucket"), root, "gs://bucket")


@pytest.mark.parametrize("command", [("ls",), ("data", PRESET), ("plan", PRESET), ("rm", "x"), ("du",)])
def test_an_empty_storage_is_not_the_default(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    refused(run(*command, "--storage", ""), tmp_path, "--storage is empty", "s3://")


# -- arguments that are no text


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", "--storage", "runs\udcff"),
        ("run", PRESET, "--set", "data.path=\udcff"),
        ("run", "\udcff.yaml"),
        ("show", "\udcff"),
        ("\udcff",),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_argument_that_is_no_text_is_told_on_any_terminal(run, monkeypatch, arguments, encoding):
    sys.stdout.reconfigure(encoding=encoding, errors="strict")
    sys.stderr.reconfigure(encoding=encoding, errors="strict")
    said = run(*arguments)
    refused(said, Path("nowhere"), "\\udcff", ": an argument must be text in UTF-8")
    assert run(*arguments, "--json").json == {"error": said.err.removeprefix("padray: ").strip()}


def test_json_is_json_on_a_terminal_that_cannot_show_it(run):
    sys.stdout.reconfigure(encoding="ascii", errors="strict")
    path = "/данные/\U0001f600"
    shown = run("config", "show", PRESET, "--set", f"data.path={path}", "--json").json
    assert {"setting": "data.path", "value": path, "origin": "--set"} in shown["settings"]


def test_an_error_is_one_line_whatever_it_quotes(run):
    said = run("run", "\x1b[2Jno\u202ene\n\x85")
    refused(said, Path("nowhere"), "\\x1b[2Jno\\u202ene")
    assert said.err.count("\n") == 1


# -- data that cannot be used


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def parquet(path: Path, labels: list[int], columns: tuple[str, str] = ("image", "label")) -> None:
    table = {columns[0]: pa.array([png(10 * i) for i in range(len(labels))], pa.binary()), columns[1]: labels}
    features = {columns[1]: {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(table).replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    "labels, columns, parts",
    [
        ([0, 1, 2, 0, 1], ("image", "label"), ("label 2", "row 2", "outside 0..1")),
        ([0, 1, -1, 0, 1], ("image", "label"), ("label -1", "outside 0..1")),
        ([0, 1, 0, 1], ("pixels", "label"), ("no column", "data.image_column", "pixels")),
        ([0, 1, 0, 1], ("image", "target"), ("no column", "data.label_column", "target")),
        ([0, 0, 0], ("image", "label"), ("class 'dog'", "no samples")),
        ([0, 0, 1], ("image", "label"), ("class 'dog'", "too few")),
    ],
)
def test_data_that_cannot_be_used_are_told_with_their_place(run, root, tmp_path, labels, columns, parts):
    parquet(tmp_path / "train.parquet", labels, columns)
    parquet(tmp_path / "test.parquet", [0, 1], columns)
    arguments = ("--set", "data.dataset=pets", "--set", f"data.path={tmp_path}", "--storage", str(root))
    refused(run("run", PRESET, *arguments), root, *parts)
    assert written(root) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_told_with_their_row(run, root, monkeypatch, value):
    images = np.zeros((4, 1, 8, 8), dtype=np.float32)
    images[2, 0, 3, 3] = value
    split = RawSplit(images, np.array([0, 1, 0, 1]))
    monkeypatch.setattr(sources, "read", lambda _: RawDataset(split, split, ("a", "b")))
    refused(run("run", PRESET, "--storage", str(root)), root, "row 2 (from 0) of the train samples", "NaN")
    assert written(root) == []


# -- how a command ends


def raising(monkeypatch, error: BaseException) -> None:
    def fail(*_):
        raise error

    monkeypatch.setattr(commands, "run_chain", fail)


@pytest.mark.parametrize(
    "error, code, text",
    [
        (InputError("two\nlines"), 2, "two lines"),
        (WorkError("the loss is not finite: lower [it] :cat:"), 3, "the loss is not finite: lower [it] :cat:"),
        (KeyboardInterrupt(), 130, "interrupted; everything finished is kept"),
    ],
)
def test_every_planned_end_has_its_exit_code_and_its_sentence(run, monkeypatch, error, code, text):
    raising(monkeypatch, error)
    said = run("run", PRESET)
    assert said.code == code and said.out == ""
    assert said.err.startswith(f"padray: {text}") and said.err.count("\n") == 1
    said = run("run", PRESET, "--json")
    assert said.code == code and said.json["error"].startswith(text.split()[0]) and list(said.json) == ["error"]


def test_a_fault_of_padray_is_not_dressed_up_as_the_users(run, monkeypatch):
    raising(monkeypatch, ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        run("run", PRESET)


def test_an_error_is_not_endless_whatever_it_quotes(run):
    said = run("ls", "--storage", "x" * 6000)
    assert said.code == 2 and len(said.err) < 1200 and "File name too long" in said.err


@pytest.mark.parametrize("arguments", [("run", "digits-ipc2"), ("run",), ("show", "x"), ("config", "show", "x")])
def test_errors_with_json_are_one_json_object(run, root, arguments):
    storage = () if arguments[0] == "config" else ("--storage", str(root))
    said = run(*arguments, *storage, "--json")
    assert said.code == 2 and list(said.json) == ["error"] and said.err == f"padray: {said.json['error']}\n"


def test_a_process_of_its_own_ends_with_the_same_codes_and_streams(root):
    command = [sys.executable, "-m", "padray.commandline.cli"]
    said = subprocess.run(
        [*command, "data", "digits-ipc2", "--json", "--storage", str(root)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(padray.__file__).parents[1],
    )
    assert said.returncode == 2 and list(json.loads(said.stdout)) == ["error"]
    assert said.stderr.startswith("padray: ") and said.stderr.count("\n") == 1 and not root.exists()


NOISY = """
import os, subprocess, sys
from padray.commandline import cli, inventory
listed = inventory.list_artifacts
def noisy(storage):
    print("a library's line")
    os.write(1, b"a line of C++\\n")
    subprocess.run([sys.executable, "-c", "print('a process that was started')"])
    return listed(storage)
inventory.list_artifacts = noisy
cli.main()
"""


def test_with_json_stdout_is_one_object_though_libraries_print_as_the_process_ends(root):
    """Ray's last word may be about a node that it lost; it comes from threads, and from what runs at exit."""
    code = "import atexit, os, sys; atexit.register(lambda: (print('late'), os.system('echo later')))\n"
    code += f"from padray.commandline import cli; sys.argv = ['padray', 'ls', '--storage', {str(root)!r}, '--json']\n"
    said = subprocess.run([sys.executable, "-c", code + "cli.main()"], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == {"artifacts": []}
    assert sorted(said.stderr.split()) == ["late", "later"]


def test_with_json_stdout_is_one_object_whatever_libraries_and_processes_print(root):
    line = [sys.executable, "-c", NOISY, "ls", "--storage", str(root)]
    said = subprocess.run([*line, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == {"artifacts": []}
    assert sorted(said.stderr.splitlines()) == ["a library's line", "a line of C++", "a process that was started"]
    plain = subprocess.run(line, capture_output=True, text=True, check=True)
    assert len(plain.stdout.splitlines()) > 3 and not plain.stderr, "without it nothing is moved"


# -- commands that only tell


def test_version(run):
    assert run("--version") == Said(0, f"padray {padray.__version__}\n", "")


@pytest.mark.parametrize("arguments", [("-h",), ("--help",), ("run", "-h"), ("config", "show", "-h")])
def test_help_is_no_error(run, arguments):
    said = run(*arguments)
    assert said.code == 0 and "Usage" in said.out and said.err == ""


def test_an_empty_root_holds_nothing(run, root):
    assert run("ls", "--storage", str(root)).code == 0
    assert run("ls", "--storage", str(root), "--json") == Said(0, '{"artifacts": []}\n', "")
    refused(run("show", "digits", "--storage", str(root)), root, "nothing fits 'digits'", "padray ls")
    assert not root.exists()


@pytest.fixture
def filled(run, root) -> Path:
    """A root with two datasets."""
    for seed in ("0", "1"):
        said = run("data", PRESET, "--storage", str(root), "--set", f"data.split_seed={seed}", "--json")
        assert said.code == 0, said
    return root


def test_data_stores_a_dataset_once_and_says_so(run, root):
    first, second = (run("data", PRESET, "--storage", str(root), "--json").json for _ in range(2))
    assert (first["reused"], second["reused"]) == ([], ["data"]) and first["artifacts"] == second["artifacts"]
    assert first["config"] == PRESET and first["seconds"]["data"] > second["seconds"]["data"] >= 0
    assert len(written(root)) == 2 and only_finished_datasets(root)
    assert run("data", PRESET, "--storage", str(root), "--fresh", "--json").json["reused"] == []


def test_ls_lists_what_is_finished_in_full_width(run, filled, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    (filled / "experts").mkdir()
    (filled / "experts/unfinished-0123456789ab.bin").write_bytes(b"")
    folders = [path.parent.relative_to(filled).as_posix() for path in sorted(filled.glob("*/*/manifest.json"))]
    said = run("ls", "--storage", str(filled))
    assert len(folders) == 2 and all(folder in said.out for folder in folders) and "unfinished" not in said.out
    lines = run("ls", "--storage", str(filled), "--json").json["artifacts"]
    assert [line["artifact"] for line in lines] == folders
    assert all(line["stage"] == "data" and line["config"] == PRESET and line["bytes"] > 1000 for line in lines)


def test_show_finds_an_artefact_by_the_start_of_its_folder_name_or_fingerprint(run, filled):
    path = sorted(filled.glob("*/*/manifest.json"))[0]
    folder, fingerprint = path.parent.relative_to(filled).as_posix(), json.loads(path.read_text())["fingerprint"]
    for identifier in (folder, folder.split("/")[1], fingerprint, fingerprint[:12]):
        shown = run("show", identifier, "--storage", str(filled), "--json").json
        assert (shown["artifact"], shown["fingerprint"]) == (folder, fingerprint)
    assert shown["settings"]["data"]["dataset"] == "digits" and shown["facts"]["shape"] == [1, 8, 8]


def test_show_refuses_what_is_unknown_or_ambiguous(run, filled):
    refused(run("show", "nothing", "--storage", str(filled)), filled, "nothing fits 'nothing'")
    refused(run("show", "digits", "--storage", str(filled)), filled, "2 artefacts fit", "datasets/digits-")


@pytest.mark.parametrize("command", [("show",), ("rm",), ("rm", "--force"), ("verify",), ("export", "--to", "pt")])
def test_no_name_at_all_is_not_the_only_artefact(run, root, tmp_path, command):
    """A variable that a script never set must not remove what is there."""
    assert run("data", PRESET, "--storage", str(root), "--json").code == 0
    before = written(root)
    rest = ("", str(tmp_path / "out")) if command[0] == "export" else ("",)
    refused(run(*command, *rest, "--storage", str(root)), root, "''")
    assert written(root) == before


def test_config_show_prints_every_setting_with_its_origin_and_the_folders(run):
    said = run("config", "show", PRESET, "--set", "distill.ipc=2")
    rows = {line.split()[1]: line for line in said.out.splitlines() if line.startswith("│")}
    assert "--set" in rows["distill.ipc"] and " 2 " in rows["distill.ipc"]
    assert f"preset {PRESET}" in rows["experts.count"] and "default" in rows["distill.trajectories"]
    for stage in ("data: datasets/", "experts: experts/", "distill: distilled/"):
        assert f"{stage}digits-" in said.out


def test_config_show_as_json_holds_the_same(run):
    shown = run("config", "show", PRESET, "--set", "distill.ipc=2", "--json").json
    rows = {row["setting"]: (row["value"], row["origin"]) for row in shown["settings"]}
    assert rows["distill.ipc"] == (2, "--set") and rows["seed"] == (0, "default")
    assert list(shown["artifacts"]) == ["data", "experts", "distill"] and shown["config"] == PRESET


def test_config_show_works_where_the_data_are_not(run):
    said = run("config", "show", PRESET, "--set", "data.path='[bold]nowhere'", "--json")
    assert said.code == 0 and "does not exist" in said.json["artifacts"]["data"]


def test_texts_that_look_like_markup_are_printed_as_they_are(run, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text('data: {path: "/x/[bold]y:cat:"}')
    assert '"/x/[bold]y:cat:"' in run("config", "show", str(path)).out


def test_a_name_that_means_neither_settings_nor_a_set_is_told_so(run, root):
    said = run("evaluate", "digits-ipc", "--storage", str(root))
    assert said.code == 2 and "'digits-ipc' is neither a preset nor a .yaml file; did you mean digits-ipc1" in said.err
    assert f"nor is a set in {root} called so" in said.err and not root.exists()
