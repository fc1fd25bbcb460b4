"""Settings files and `--set`: what they may hold, whose value wins, and one sentence for everything else."""

import os
from pathlib import Path

import pytest

from padray.configuration import loading
from padray.errors import InputError

PRESET = "digits-ipc1"


@pytest.fixture
def written(tmp_path: Path):
    """Writes a settings file; gives its path."""

    def write(text: str | bytes, name: str = "mine.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def refused(name: str, *parts: str, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(InputError) as caught:
        loading.load(name, overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence and all(part in sentence for part in parts), sentence
    return sentence


@pytest.mark.parametrize("name", loading.preset_names())
def test_every_preset_loads_under_its_name(name):
    loaded = loading.load(name)
    assert loaded.name == name and set(loaded.origins.values()) == {f"preset {name}"}


def test_a_file_is_called_after_its_name_and_only_differs_where_it_says_so(written):
    loaded = loading.load(written("distill: {ipc: 3}\n"))
    assert loaded.name == "mine" and loaded.config.distill.ipc == 3
    assert loaded.config == loading.load(written(""), ("distill.ipc=3",)).config


def test_letters_beyond_ascii_are_read_whatever_the_locale(written, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    assert loading.load(written("data: {path: /данные, dataset: x}")).config.data.path == "/данные"


# -- what a file may not hold


@pytest.mark.parametrize(
    "text, parts",
    [
        ("distill: {ipk: 3}", ("distill.ipk is not a setting", "did you mean ipc?")),
        ("distil: {ipc: 3}", ("distil is not a setting", "did you mean distill?")),
        ("distill: {windows: {stop: 3}}", ("distill.windows.stop is not a setting", "start")),
        ("scores: {network: {widht: 3}}", ("scores.network.widht", "did you mean width?")),
        ("1: 2", ("1 is not a setting", "distill")),
        ("distill:\n  ipc: 1\n  ipc: 2", ("line 3", "duplicate key distill.ipc")),
        ("distill: {ipc: 1}\ndistill: {ipc: 1}", ("line 2", "duplicate key")),
        ("a: [", ("line 1", "not valid YAML")),
        ("\tdata: {}", ("line 1", "not valid YAML")),
        ("a: 1\n---\nb: 2", ("not valid YAML",)),
        ("a: *b", ("not valid YAML", "alias")),
        ("a: \x01", ("not valid YAML",)),
        ("a: !!python/object/apply:os.getcwd []", ("a: settings are numbers, texts", "python/object/apply:os.getcwd")),
        ("- data", ("must hold sections",)),
        ("digits", ("must hold sections",)),
        ("data: 5", ("data: must hold settings of its own", "got 5")),
        ("distill: {windows: 5}", ("distill.windows: must hold settings", "got 5")),
        ("data:", ("data: must hold settings",)),
        ("distill: {ipc: ten}", ("distill.ipc", "valid integer", "'ten'")),
        ("distill: {ipc: 0}", ("distill.ipc", "greater than or equal to 1", "got 0")),
        ("distill: {lr_images: .nan}", ("distill.lr_images", "finite")),
        ("distill: {lr_images: -.inf}", ("distill.lr_images",)),
        ("distill: {ipc: 1e999}", ("distill.ipc",)),
        ("evaluation: {architectures: lenet}", ("evaluation.architectures: must be a list",)),
        ("evaluation: {architectures: [lenett]}", ("evaluation.architectures.0", "'lenett'")),
        ("network: {name: [convnet]}", ("network.name",)),
        ("seed: 2024-01-01", ("seed: '2024-01-01' is read as a timestamp", "numbers, texts, lists and sections")),
        ("seed: 2001-13-45", ("seed: '2001-13-45' is read as a timestamp", "needs quotes")),
        ("seed: !!set {a}", ("seed: settings are numbers, texts, lists and sections, not set",)),
        ("seed: !!int x", ("seed: 'x' is no int",)),
        ("distill: {momentum_images: !!float x}", ("distill.momentum_images: 'x' is no float",)),
        ("experts: {adaptive: !!bool maybe}", ("experts.adaptive: 'maybe' is no bool",)),
        (f"seed: {'9' * 5000}", ("seed: whole numbers go up to 9,223,372,036,854,775,807", "99999")),
        (f"seed: 0x{'f' * 5000}", ("seed: whole numbers go up to",)),
        (f"seed: {2**63}", ("seed: whole numbers go up to",)),
        ('data: {path: "\\U00110000"}', ("line 1", "not valid YAML")),
        ('data: {path: "\\ud800"}', ("data.path", "is no text")),
        ('"\\ud800": 1', ("is no text",)),
        ('"a\\nb": 1', ("a\\nb is not a setting",)),
        ('"": 1', ("'' is not a setting",)),
        (f"a: {'x' * 2**16}", ("more than 65,536 bytes",)),
        ("%YAML 1.9\n--- {a: 1}", ("not valid YAML",)),
        ("true: 1", ("a key must be a text or a number (got True)",)),
        ("a: &a [*a]", ("a.0: holds itself",)),
        ("a: &a {b: *a}", ("a.b: holds itself",)),
        ("[" * 1000, ("nested too deeply",)),
        (f"a: {'[' * 30 + ']' * 30}", ("nested too deeply",)),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(written, text, parts):
    path = written(text)
    refused(path, path, *parts)


def test_files_that_cannot_be_read_are_named(tmp_path, written):
    refused("nowhere.yaml", "nowhere.yaml", "No such file")
    refused(written(b"\xff\xfe\x00\x01"), "not a text file")
    (tmp_path / "folder.yaml").mkdir()
    refused(str(tmp_path / "folder.yaml"), "it is a folder, not a regular file")
    os.mkfifo(tmp_path / "fifo.yaml")
    refused(str(tmp_path / "fifo.yaml"), "it is a FIFO, not a regular file")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    refused(str(tmp_path / "zero.yaml"), "it is a device, not a regular file")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    refused(str(tmp_path / "loop.yaml"), "symbolic links")
    refused(f"{'x' * 5000}.yaml", "cannot read the settings file xxx", "File name too long")


def test_an_unknown_preset_is_told_the_near_one_or_all():
    refused("digits-ipc2", "'digits-ipc2'", f"did you mean {PRESET}?")
    refused("zzz", "the presets are", *loading.preset_names())


def bomb(levels: int, of: str) -> str:
    """A short text that means 9 to the power of `levels` values."""
    lines = [f"a0: &a0 {of}"] + [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text", [bomb(12, "x"), bomb(12, "{x: 1}").replace("[", "{<<: [").replace("]", "]}"), f"a: [{'1,' * 20_000}]"]
)
def test_a_short_text_does_not_become_a_large_tree(written, text):
    refused(written(text), "it holds more than 20,000 values")


def test_aliases_and_sections_that_take_over_others_stay_what_they_mean(written):
    text = "scores: &of {lr: 0.5, batch: 9}\nexperts: {<<: [{batch: 7}, *of], epochs: 30}\nnetwork: &n {width: 4}\n"
    config = loading.load(written(f"{text}evaluation: {{architectures: [*n]}}")).config
    assert (config.experts.lr, config.experts.batch, config.experts.epochs) == (0.5, 7, 30)
    assert config.evaluation.architectures == (config.network,)


def test_an_anchor_that_is_given_again_is_what_it_was_given_last(written):
    config = loading.load(written("experts: {epochs: &n 30, batch: &n 7}\nscores: {batch: *n}\n")).config
    assert (config.experts.epochs, config.scores.batch) == (30, 7)  # without a warning, which would be an error here


# -- --set


@pytest.mark.parametrize(
    "override, key, value",
    [
        ("distill.ipc=3", "distill.ipc", 3),
        (" distill.ipc = 3", "distill.ipc", 3),
        ("distill.lr_images=1e2", "distill.lr_images", 100.0),
        ("distill.windows.start=7", "distill.windows.start", 7),
        ("distill.windows.start=7", "distill.windows.max_start", 10),  # that of the preset stays
        ("distill.windows={start: 3, max_start: 4}", "distill.windows.start", 3),
        ("evaluation.controls.lrs=[0.1, 1]", "evaluation.controls.lrs", [0.1, 1.0]),
        ("schedule.easy_removal=[[5, 0.1], [9, 0.2]]", "schedule.easy_removal", [[5, 0.1], [9, 0.2]]),
        ("network=lenet", "network.name", "lenet"),
        ("data.limit_per_class=null", "data.limit_per_class", None),
        ("data.path=", "data.path", None),
        ("data.path=a=b", "data.path", "a=b"),
        ("seed=7", "seed", 7),
    ],
)
def test_set_takes_every_kind_of_value(override, key, value):
    assert dict(loading.effective(loading.load(PRESET, (override,)).config))[key] == value


def test_architectures_are_names_or_mappings():
    config = loading.load(PRESET, ("evaluation.architectures=[lenet, {name: mlp, width: 9}]",)).config
    assert [network.label for network in config.evaluation.architectures] == ["lenet", "mlp2w9"]


@pytest.mark.parametrize(
    "override, parts",
    [
        ("distill.ipc", ("--set distill.ipc", "section.key=value")),
        ("=3", ("section.key=value",)),
        ("distill..ipc=3", ("section.key=value",)),
        ("distill.ipc.deep=3", ("'ipc' is a value",)),
        ("distill.ipk=3", ("--set: distill.ipk is not a setting", "did you mean ipc?")),
        ("distill.ipc=x", ("--set: distill.ipc", "'x'")),
        (f"{'a.' * 100}a=3", ("--set a.a.a.", "section.key=value")),
        ("distill.\udcff=3", ("--set distill.\\udcff=3", "section.key=value")),
        ("data.path=\udcff", ("--set data.path", "not valid YAML")),
        ("seed=2001-13-45", ("--set seed", "read as a timestamp")),
        ("seed=!!int x", ("--set seed: 'x' is no int",)),
        (f"seed={'9' * 5000}", ("--set seed: whole numbers go up to",)),
        ("a=&a [*a]", ("--set a", "holds itself")),
        ("distill=5", ("--set: distill: must hold settings",)),
        ("distill.ipc=", ("--set: distill.ipc",)),
        ("distill.ipc=nan", ("--set: distill.ipc",)),
        ("distill.lr_images=.inf", ("--set: distill.lr_images", "finite")),
        ("data={dataset: x", ("--set data", "not valid YAML")),
        ("distill.ipc=1\nseed: 3", ("--set distill.ipc", "one setting at a time")),
        ("experts.epochs=5", (f"preset {PRESET} with --set", "experts.epochs is 5")),
        ("distill.windows.start=90", ("with --set", "min_start < start <= max_start")),
    ],
)
def test_a_set_that_cannot_be_used_is_refused_and_named(override, parts):
    refused(PRESET, *parts, overrides=(override,))


def test_the_last_set_wins_and_a_file_never_overrules_it(written):
    loaded = loading.load(written("distill: {ipc: 2}"), ("distill.ipc=3", "distill.ipc=4"))
    assert loaded.config.distill.ipc == 4 and loaded.origins == {"distill.ipc": "--set"}


def test_a_set_of_a_section_replaces_it_whole(written):
    loaded = loading.load(written("distill: {ipc: 2, windows: {start: 3}}"), ("distill={batch: 5}",))
    assert (loaded.config.distill.ipc, loaded.config.distill.batch) == (10, 5)
    assert loaded.origins == {"distill": "--set"}


def test_origins_name_the_file_and_the_set_and_leave_defaults_out(written):
    path = written("distill: {ipc: 2, windows: {start: 3}}")
    loaded = loading.load(path, ("distill.windows.max_start=9",))
    assert loaded.origins == {"distill.ipc": path, "distill.windows.start": path, "distill.windows.max_start": "--set"}


def test_effective_lists_every_setting_once():
    rows = loading.effective(loading.load(PRESET).config)
    keys = [key for key, _ in rows]
    assert len(keys) == len(set(keys)) and {"seed", "distill.windows.start", "storage.root"} <= set(keys)
    assert dict(rows)["distill.student_steps"] == 20


def test_a_manifest_of_an_earlier_version_may_hold_a_setting_that_is_no_more():
    config = loading.from_settings({"distill": {"ipc": 2, "checkpoint_every": 100}}, (), "a manifest")
    assert config.distill.ipc == 2
