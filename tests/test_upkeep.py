"""Upkeep of a storage root: what is wrong is named, repaired and made again with the same bytes; nothing else goes."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from padray.commandline import commands
from padray.errors import InputError
from padray.methods import state
from padray.operations import upkeep, usage
from padray.stages import pipeline, stored
from padray.stages.base import Context
from padray.store.artifacts import Folder, Manifest
from padray.store.location import LocalLocation
from padray.synthetic import set as sets
from tests.conftest import TINY, Run

Damage = Callable[[Path], None]
NOBODY = "0" * 12


def make(root: Path, *overrides: str, until: str = "evaluate") -> Context:
    settings = root.parent / "tiny.yaml"
    settings.write_text(TINY)
    context = commands.context(str(settings), commands.Request(overrides, str(root), "inline"))
    pipeline.run(context, until)
    return context


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a whole chain. Tests take a copy."""
    root = tmp_path_factory.mktemp("made") / "runs"
    make(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def tree(root: Path) -> dict[str, bytes]:
    """Everything below a root but the record of events, which holds times."""
    files = (
        path for path in root.rglob("*") if path.is_file() and not {"events", "running", "tensorboard"} & {*path.parts}
    )
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def one(root: Path, pattern: str) -> Path:
    return sorted(root.glob(f"*/*/{pattern}"))[0]


def inspect(root: Path, identifier: str | None = None, older_than: str | None = None) -> upkeep.Inspection:
    return upkeep.verify(LocalLocation(root), identifier, older_than, lambda progress: None)


def findings(root: Path, *arguments) -> dict[str, str]:
    return {line.finding.key: line.finding.kind for line in inspect(root, *arguments).lines}


def repaired(root: Path, *arguments) -> set[str]:
    inspection = inspect(root, *arguments)
    upkeep.repair(inspection)
    return inspection.repaired


@pytest.fixture
def padray(run: Run) -> Callable[..., tuple]:
    """`padray …`: exit code, what `--json` or the console printed, stderr."""

    def call(*arguments: str) -> tuple:
        said = run(*arguments)
        return said.code, said.json if "--json" in arguments else said.out, said.err

    return call


# -- damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def swap(path: Path) -> None:
    path.write_bytes(sorted(path.parent.glob(path.name.split("-")[0] + "-*"))[-1].read_bytes())


def test_a_fresh_root_is_clean(root):
    inspection = inspect(root)
    assert inspection.lines == [] and inspection.wrong == 0 and len(inspection.audits) == 6
    assert inspection.summary().objects == len([key for key in tree(root) if not key.endswith("manifest.json")])


@pytest.mark.parametrize(
    "pattern, damage, kind",
    [
        ("dataset-*", flip, "damaged"),
        ("network-0001-*", truncate, "damaged"),
        ("expert-0000-*", flip, "damaged"),
        ("expert-0000-*", swap, "damaged"),
        ("expert-0001-*", Path.unlink, "missing"),
        ("history-*", flip, "damaged"),
        ("history-*", Path.unlink, "missing"),
        ("set-*", truncate, "damaged"),
        ("cell-*", flip, "damaged"),
        ("table-*", Path.unlink, "missing"),
        ("manifest.json", truncate, "broken"),
    ],
)
def test_what_is_damaged_is_named_and_made_again_with_the_same_bytes(root, pattern, damage, kind):
    before, path = tree(root), one(root, pattern)
    damage(path)
    key = path.relative_to(root).as_posix()
    assert findings(root) == {key: kind}
    assert repaired(root) == {key}
    lost = set(before) - set(tree(root))
    assert {key} <= lost <= {key, f"{path.parent.relative_to(root).as_posix()}/manifest.json"}
    make(root)
    assert tree(root) == before and findings(root) == {}


@pytest.mark.parametrize("room", ["scores", "experts", "distilled", "evaluations"])
def test_a_damaged_manifest_costs_no_unit(root, room):
    before = tree(root)
    path = sorted(root.glob(f"{room}/*/manifest.json"))[0]
    path.write_bytes(b"{}")
    repaired(root)
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*-*.*") if path.is_file()}
    make(root)
    assert set(tree(root)) == set(before)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_only_the_damaged_expert_is_trained_again_whichever_it_is_and_however_many_are_asked_for(root):
    before, path = tree(root), one(root, "expert-0000-*")
    flip(path)
    repaired(root)
    manifest = json.loads(one(root, "expert-*").with_name("manifest.json").read_text())
    assert [item["key"].split("/")[-1][:11] for item in manifest["objects"]] == ["expert-0001", "expert-0002"]
    context = make(root, "experts.count=2", until="experts")  # two are listed, but not the two that are asked for
    assert "experts" not in context.reused
    changed = [key for key, content in tree(root).items() if before.get(key) != content and "/expert-" in key]
    assert changed == [] and findings(root) == {}, "the third one stays listed"


def test_a_damaged_checkpoint_costs_no_result(root):
    before, path = tree(root), one(root, "checkpoint-*")
    flip(path)
    (line,) = inspect(root).lines
    assert "only a longer run would begin anew" in line.remedy
    repaired(root)
    assert "distill" in make(root).reused and findings(root) == {}
    gone = set(before) - set(tree(root))
    assert gone == {path.relative_to(root).as_posix()}
    make(root, "distill.iterations=13", until="distill")
    assert findings(root) == {}


def test_damage_in_several_places_is_all_named_and_one_broken_manifest_stops_nothing(root):
    before = tree(root)
    for pattern in ("expert-0002-*", "cell-*"):
        flip(one(root, pattern))
    one(root, "network-0000-*").with_name("manifest.json").write_text("[]")
    assert sorted(findings(root).values()) == ["broken", "damaged", "damaged"]
    repaired(root)
    make(root)
    assert set(tree(root)) == set(before) and findings(root) == {}


# -- what no manifest lists


def test_orphans_go_and_plain_names_stay(root):
    before = tree(root)
    folder = one(root, "expert-0000-*").parent
    for name, content in {
        f"expert-0000-{'0' * 12}.safetensors": b"torn",
        f"expert-0007-{'0' * 12}.safetensors": b"torn",
        "stray-ba7816bf8f01.bin": b"abc",
        "expert-0001-ba7816bf8f01.bin": b"abc",
        "notes.txt": b"mine",
    }.items():
        (folder / name).write_bytes(content)
    half = folder / ".put-0011223344556677"
    half.write_bytes(b"half")
    os.utime(half, (time.time() - 7200,) * 2)
    kinds = list(findings(root).values())
    assert kinds == ["orphan"] * 4 + ["leftover"]
    assert repaired(root, None, "3h") == set(), "they are younger"
    assert len(repaired(root)) == 5
    assert tree(root) == {**before, (folder / "notes.txt").relative_to(root).as_posix(): b"mine"}


def test_a_write_that_may_still_go_on_is_no_fault_and_is_left(root):
    half = one(root, "expert-0000-*").with_name(".put-0011223344556677")
    half.write_bytes(b"half")
    assert list(findings(root).values()) == ["unfinished"]
    assert repaired(root) == set() and half.exists()
    assert len(repaired(root, None, "0s")) == 1 and not half.exists()


@pytest.mark.s3
def test_an_upload_in_parts_that_nobody_finishes_goes_by_its_age(s3):
    location, beside = s3.location(), s3.location()
    begun = [
        where.client().create_multipart_upload(Bucket=where.bucket, Key=f"{where.prefix}/experts/a-{NOBODY}/b")
        for where in (location, location, beside)
    ]
    names = {f"experts/a-{NOBODY}/b?uploadId={upload['UploadId']}" for upload in begun[:2]}
    young = upkeep.verify(location, None, None, lambda progress: None)
    assert {line.finding.key for line in young.lines} == names and young.wrong == 0
    upkeep.repair(young)
    assert len(location.leftovers()) == 2, "they may still go on"
    old = upkeep.verify(location, None, "0s", lambda progress: None)
    assert {line.finding.kind for line in old.lines} == {"leftover"} and old.wrong == 2
    upkeep.repair(old)
    assert (old.repaired, old.wrong, location.leftovers()) == (names, 0, [])
    assert len(beside.leftovers()) == 1, "another root's"
    upkeep.repair(old)  # what is gone already is no error


@pytest.mark.s3
def test_who_may_not_list_uploads_is_told_so_and_everything_else_is_checked(s3, monkeypatch):
    location = s3.location()

    def refused(**_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "List")

    location.client().meta.events.register("before-call.s3.ListMultipartUploads", refused)
    (line,) = upkeep.verify(location, None, None, lambda progress: None).lines
    assert line.finding.kind == "unreadable" and "cannot list the unfinished uploads of" in line.finding.problem
    assert "it is denied" in line.finding.problem


def test_units_that_a_killed_extension_left_are_no_orphans_and_go_only_by_age(root):
    manifest = one(root, "expert-0000-*").with_name("manifest.json")
    before = manifest.read_bytes()
    make(root, "experts.count=4", until="experts")
    manifest.write_bytes(before)  # killed before the commit
    fourth = one(root, "expert-0003-*")
    key = fourth.relative_to(root).as_posix()
    assert findings(root) == {key: "unfinished"} and inspect(root).wrong == 0
    assert repaired(root) == set() and fourth.exists()
    make(root, "experts.count=4", until="experts")
    assert findings(root) == {}
    manifest.write_bytes(before)
    os.utime(fourth, (0, 0))
    assert repaired(root, None, "7d") == {key} and not fourth.exists()


def test_a_checkpoint_that_nothing_refers_to_is_an_orphan_and_one_of_a_longer_run_is_not(root):
    checkpoint = one(root, "checkpoint-000012-*")
    for step in ("000008", "000016"):
        shutil.copy(checkpoint, checkpoint.with_name(checkpoint.name.replace("000012", step)))
    kinds = {key.rsplit("checkpoint-")[1][:6]: kind for key, kind in findings(root).items()}
    assert kinds == {"000008": "orphan", "000016": "unfinished"}


def test_an_unfinished_folder_is_listed_and_removed_only_when_it_is_old_enough(root):
    folder = one(root, "expert-0000-*").parent
    path = folder.relative_to(root).as_posix()
    (folder / "manifest.json").unlink()
    (folder / "notes.txt").write_text("mine")
    assert findings(root) == {path: "unfinished"} and inspect(root).wrong == 0
    assert repaired(root) == set() and repaired(root, None, "7d") == set()
    assert len(list(folder.iterdir())) == 4
    for file in folder.iterdir():
        os.utime(file, (0, 0))
    os.utime(one(root, "expert-0000-*"))
    assert repaired(root, None, "7d") == set(), "something in it is young"
    os.utime(one(root, "expert-0000-*"), (0, 0))
    assert repaired(root, None, "7d") == {path}
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]


def test_what_was_finished_meanwhile_is_not_removed(root):
    folder = one(root, "expert-0000-*").parent
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").unlink()
    before = inspect(root, None, "0s")
    (folder / "manifest.json").write_bytes(manifest)
    upkeep.repair(before)
    assert findings(root) == {} and len(list(folder.iterdir())) == 4


def test_a_unit_that_was_listed_meanwhile_is_not_removed(root):
    manifest = one(root, "expert-0000-*").with_name("manifest.json")
    before = manifest.read_bytes()
    make(root, "experts.count=4", until="experts")
    after = manifest.read_bytes()
    manifest.write_bytes(before)
    seen = inspect(root, None, "0s")
    manifest.write_bytes(after)
    upkeep.repair(seen)
    assert len(seen.lines) == 1 and findings(root) == {}


def test_foreign_manifests_are_named_and_left(root):
    path = one(root, "expert-0000-*").with_name("manifest.json")
    manifest = json.loads(path.read_text())
    victim = one(root, "dataset-*")
    hashed = victim.stem[-12:] + "0" * 52
    manifest["objects"][0] |= {"key": victim.relative_to(root).as_posix(), "sha256": hashed}
    path.write_text(json.dumps(manifest))
    before = tree(root)
    assert list(findings(root).values()) == ["foreign"]
    assert repaired(root) == set() and inspect(root).wrong == 1 and tree(root) == before


@pytest.mark.parametrize("age, seconds", [("7d", 604800), ("1.5h", 5400), ("2w", 1209600), ("30m", 1800), ("0s", 0)])
def test_ages_are_read(age, seconds):
    assert upkeep.seconds_of(age) == seconds


@pytest.mark.parametrize("age", ["7", "d", "-1d", "7 days", "", "1e3s"])
def test_what_is_no_age_is_refused(root, age):
    with pytest.raises(InputError, match=r"--older-than .* is not an age: .* such as 7d"):
        inspect(root, None, age)


def deep(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize("content", [b"", b"junk", deep(b"[" * 100_000), deep(b"{}"), deep(b'{"__metadata__": 5}')])
def test_what_a_manifest_vouches_for_may_still_be_anything_and_is_refused_in_a_sentence(tmp_path, content):
    folder = Folder(LocalLocation(tmp_path), f"datasets/x-{'a' * 12}", "a" * 64)
    folder.commit(Manifest("a" * 64, "data", {}, {}, {}, (folder.put("dataset", "safetensors", content),)))
    for read in (lambda: stored.load_dataset(folder), lambda: stored.read_table(content)):
        with pytest.raises(InputError, match="that padray wrote"):
            read()
    for decode in (sets.decode, state.decode):
        with pytest.raises(InputError, match="that padray wrote"):
            decode(content)


# -- what is no file, and what lies elsewhere


def stand(path: Path, what: str) -> None:
    """Put something in a file's place that is none."""
    path.unlink()
    if what == "FIFO":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "link":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
        if what == "full folder":
            (path / "mine.txt").write_text("mine")


@pytest.mark.parametrize("what", ["FIFO", "loop", "link", "folder"])
@pytest.mark.parametrize(
    "pattern, kind", [("expert-0001-*", "missing"), ("set-*", "missing"), ("manifest.json", "stranger")]
)
def test_what_is_no_file_is_named_and_gets_out_of_the_way(root, padray, pattern, kind, what):
    before, path = tree(root), one(root, pattern)
    stand(path, what)
    key = path.relative_to(root).as_posix()
    assert findings(root) == {key: kind}
    for command in (("ls",), ("du",), ("status",), ("show", "experts/"), ("rm", "datasets/")):
        assert padray(*command, "--storage", str(root))[0] in (0, 2)
    code, told, _ = padray("verify", "--repair", "--storage", str(root), "--json")
    assert (code, told["wrong"], os.path.lexists(path)) == (0, 0, False)
    make(root)
    assert tree(root) == before and findings(root) == {} and Path("/dev/zero").exists()


@pytest.mark.parametrize("pattern", ["expert-0001-*", "manifest.json"])
def test_a_folder_with_something_in_it_is_named_and_left_and_the_others_are_repaired(root, padray, pattern):
    path, other = one(root, pattern), one(root, "expert-0000-*")
    stand(path, "full folder")
    flip(other)
    code, told, _ = padray("verify", "--repair", "--storage", str(root), "--json")
    left = {line["key"]: line["repair"] for line in told["findings"] if not line["repaired"]}
    assert code == 3 and left == {path.relative_to(root).as_posix(): "leaves it: look for yourself"}
    assert (path / "mine.txt").read_text() == "mine" and not other.exists()
    settings = root.parent / "tiny.yaml"
    settings.write_text(TINY)
    code, _, err = padray("experts", str(settings), "--runner", "inline", "--storage", str(root))
    assert code == 2 and path.name in err and err.count("padray:") == 1


def test_an_orphan_that_is_no_file_goes_too(root):
    path = one(root, "expert-0000-*").with_name(f"expert-0009-{NOBODY}.safetensors")
    os.mkfifo(path)
    assert findings(root) == {path.relative_to(root).as_posix(): "stranger"} and len(repaired(root)) == 1
    assert findings(root) == {}


@pytest.mark.parametrize("part", ["experts", "experts/*"])
def test_nothing_is_removed_behind_a_link_that_leads_out_of_the_root(root, tmp_path, padray, part):
    (inside,) = root.glob(part)
    outside = tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    stray = next(outside.rglob("expert-0000-*")).with_name(f"stray-{NOBODY}.bin")
    stray.write_bytes(b"mine")
    kept = tree(outside)
    inspection = inspect(root)
    upkeep.repair(inspection)
    assert tree(outside) == kept and inspection.repaired == set()
    assert part != "experts" or [line.acts for line in inspection.lines] == [False]
    code, _, err = padray("rm", "experts/", "--force", "--storage", str(root))
    assert code == 2 and tree(outside) == kept, err


def test_what_cannot_be_removed_stops_nothing_and_is_told_at_the_end(root):
    first, second = one(root, "expert-0000-*"), one(root, "cell-*")
    flip(first)
    flip(second)

    class Kept(LocalLocation):
        def delete(self, key: str) -> None:
            if key.startswith("experts/"):
                raise InputError(f"cannot delete {key}: it is kept")
            super().delete(key)

    inspection = upkeep.verify(Kept(root), None, None, lambda progress: None)
    with pytest.raises(InputError, match=r"cannot delete experts/.*: it is kept"):
        upkeep.repair(inspection)
    assert first.exists() and not second.exists() and inspection.wrong == 1


# -- manifests that lie


WRONG = [
    ({"class_names": None}, "facts.class_names"),
    ({"class_names": ["a"]}, "contradict each other"),
    ({"class_names": list("abcdefghij")}, "facts.class_names is not that of its dataset"),
    ({"shape": [1, 8]}, "facts.shape"),
    ({"shape": [1, 8, 0]}, "facts.shape.2"),
    ({"shape": [3, 8, 8]}, "facts.shape is not that of its dataset"),
    ({"content": "sound"}, "facts.content"),
    ({"content": "table"}, "facts.content is not that of its dataset"),
    ({"splits": {"train": 5}}, "facts.splits"),
    ({"splits": {"train": 230, "validation": 9, "test": 1}}, "facts.splits is not that of its dataset"),
    ({"train_per_class": "23"}, "facts.train_per_class"),
    ({"train_per_class": [22, 24, *[23] * 8]}, "facts.train_per_class is not that of its dataset"),
    ({"read_from": [1]}, "facts.read_from"),
]


@pytest.mark.parametrize("facts, sentence", WRONG, ids=[sentence for _, sentence in WRONG])
def test_facts_that_cannot_be_true_are_named_refused_and_made_again(root, padray, facts, sentence):
    before, path = tree(root), one(root, "dataset-*").with_name("manifest.json")
    manifest = json.loads(path.read_text())
    assert manifest["facts"]["splits"]["train"] == 230 and manifest["facts"]["train_per_class"] == [23] * 10
    manifest["facts"] |= facts
    path.write_text(json.dumps(manifest))
    (line,) = inspect(root).lines
    assert (line.finding.key, line.finding.kind) == (path.relative_to(root).as_posix(), "broken")
    assert sentence in line.finding.problem
    other = shutil.copytree(root, root.with_name("unproven"), ignore=shutil.ignore_patterns("evaluations"))
    code, _, err = padray("evaluate", "distilled/", "--runner", "inline", "--storage", str(other))
    assert code in (2, 3) and err.count("padray:") == 1
    assert sentence in err or "its dataset has 10 classes of the shape [3, 8, 8]" in err
    repaired(root)
    make(root)
    assert tree(root) == before


def test_shards_that_a_manifest_does_not_index_are_named(root):
    path = one(root, "expert-0000-*").with_name("manifest.json")
    manifest = json.loads(path.read_text())
    del manifest["objects"][0]["extra"]["rows"]
    path.write_text(json.dumps(manifest))
    (line,) = inspect(root).lines
    assert line.finding.kind == "broken" and "where the rows of" in line.finding.problem
    repaired(root)
    make(root)
    assert findings(root) == {}


@pytest.mark.parametrize("command", [("rm", ""), ("rm", "", "--force"), ("show", ""), ("verify", ""), ("evaluate", "")])
def test_an_empty_name_means_nothing(root, padray, command):
    for folder in [path for room in root.iterdir() for path in room.iterdir() if room.name != "datasets"]:
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    before = tree(root)
    code, _, err = padray(*command, "--storage", str(root))
    assert code == 2 and err.count("\n") == 1 and before and tree(root) == before


# -- rm and du


def test_rm_refuses_what_others_were_made_from_and_names_them(root):
    location, before = LocalLocation(root), tree(root)
    with pytest.raises(InputError, match=r"^1 artefacts were made from scores/.*: experts/.*; .* add --force$"):
        upkeep.remove(location, "scores/", force=False)
    with pytest.raises(InputError, match=r"1 artefacts were made from distilled/.*: evaluations/distilled-"):
        upkeep.remove(location, "distilled/", force=False)
    with pytest.raises(InputError, match=r"5 artefacts were made from datasets/"):
        upkeep.remove(location, "datasets/", force=False)
    assert tree(root) == before


def test_rm_removes_one_artefact_whole_and_the_same_command_makes_it_again(root):
    location, before = LocalLocation(root), tree(root)
    told = upkeep.remove(location, "evaluations/distilled-", force=False)
    gone = set(before) - set(tree(root))
    assert {key.rsplit("/", 1)[0] for key in gone} == {told.removed} and told.objects == len(gone)
    assert told.bytes == sum(len(before[key]) for key in gone) and told.dependants == []
    assert upkeep.remove(location, "distilled/", force=False).dependants == []
    assert len(upkeep.remove(location, "scores/", force=True).dependants) == 1
    make(root)
    assert tree(root) == before


def test_rm_takes_one_artefact_that_there_is(root):
    for identifier, words in {"digits": "artefacts fit", "nothing": "nothing fits 'nothing'"}.items():
        with pytest.raises(InputError, match=words):
            upkeep.remove(LocalLocation(root), identifier, force=True)


def test_rm_of_a_broken_artefact_still_knows_what_needs_it(root):
    one(root, "dataset-*").with_name("manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"5 artefacts were made from datasets/"):
        upkeep.remove(LocalLocation(root), "datasets/", force=False)


def test_du_counts_every_byte_once_the_largest_first(root):
    told = usage.usage(LocalLocation(root))
    files = [path for path in root.rglob("*") if path.is_file()]
    assert told.total == sum(path.stat().st_size for path in files) == sum(told.stages.values())
    for line in told.artifacts:
        inside = [path for path in (root / line.artifact).rglob("*") if path.is_file()]
        assert (line.bytes, line.objects) == (sum(path.stat().st_size for path in inside), len(inside))
    assert list(told.stages.values()) == sorted(told.stages.values(), reverse=True)
    stages = list(dict.fromkeys(line.stage for line in told.artifacts))
    assert stages == list(told.stages) and "events" in stages
    assert all(line.finished for line in told.artifacts), "what lies aside is not unfinished"
    next(root.glob("evaluations/*/manifest.json")).unlink()
    unfinished = [line.artifact for line in usage.usage(LocalLocation(root)).artifacts if not line.finished]
    assert len(unfinished) == 1 and unfinished[0].startswith("evaluations/")


# -- the commands


def test_verify_says_by_its_exit_code_whether_something_is_wrong(root, padray):
    assert padray("verify", "--storage", str(root), "--json")[:2] == (0, asdict(inspect(root).summary()))
    flip(one(root, "expert-0001-*"))
    code, told, _ = padray("verify", "--storage", str(root), "--json")
    assert code == 3 and told["wrong"] == 1 and told["findings"][0]["kind"] == "damaged"
    assert padray("verify", "scores/", "--storage", str(root))[0] == 0, "another artefact was asked for"
    code, out, _ = padray("verify", "experts/", "--repair", "--storage", str(root))
    assert code == 0 and "expert-0001-" in out and "removes it from the folder" in out and "repaired: 1" in out
    assert padray("verify", "--storage", str(root))[0] == 0


def test_du_and_rm_print_what_they_say(root, padray):
    code, out, _ = padray("du", "--storage", str(root))
    assert code == 0 and f"{usage.usage(LocalLocation(root)).total:,}" in out
    code, _, err = padray("rm", "experts/", "--storage", str(root))
    assert code == 2 and "distilled/digits-convnet2w4-ipc1-" in err and "--force" in err
    code, told, _ = padray("rm", "experts/", "--force", "--storage", str(root), "--json")
    assert code == 0 and told["objects"] == 4 and not list(root.glob("experts/*/*"))


@pytest.mark.parametrize("command", [("ls",), ("show", "x"), ("verify",), ("du",), ("rm", "x")])
def test_a_folder_that_is_no_storage_is_told(tmp_path, padray, command):
    (tmp_path / "letter.txt").write_text("mine")
    code, _, err = padray(*command, "--storage", str(tmp_path))
    assert code == 2 and "is no storage of padray" in err and err.count("\n") == 1


def test_one_broken_manifest_stops_neither_ls_nor_show_nor_the_evaluation_of_a_set(root, padray):
    broken = one(root, "network-0000-*").with_name("manifest.json")
    broken.write_text("{}")
    name = broken.parent.relative_to(root).as_posix()
    code, told, _ = padray("ls", "--storage", str(root), "--json")
    (line,) = [line for line in told["artifacts"] if "broken" in line]
    assert code == 0 and len(told["artifacts"]) == 6 and line["artifact"] == name
    code, out, _ = padray("ls", "--storage", str(root))
    assert code == 0 and f"broken: {name}/manifest.json is not a manifest that padray wrote" in out
    assert padray("show", "experts/", "--storage", str(root))[0] == 0
    code, _, err = padray("show", name, "--storage", str(root))
    assert code == 2 and "is not a manifest that padray wrote" in err
    code, told, _ = padray("evaluate", "distilled/", "--runner", "inline", "--storage", str(root), "--json")
    assert code == 0 and told["evaluation"]


def test_a_set_whose_manifest_is_broken_is_not_taken_for_settings(root, padray):
    one(root, "set-*").with_name("manifest.json").write_text("{}")
    code, _, err = padray("evaluate", "distilled/", "--runner", "inline", "--storage", str(root))
    assert code == 2 and "distilled/" in err and "is not a manifest that padray wrote" in err
