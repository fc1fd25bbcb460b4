"""Whatever lies in a storage root, and whatever files are imported: each command works or ends in one sentence.

A root with a whole chain, an imported set and imported experts is made once. Every case takes a copy, changes it as
someone could who writes there (objects and manifests may agree with each other, and lie), and gives one command.
"""

import contextlib
import copy
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from padray.commandline import cli, commands
from padray.commandline.console import Console
from padray.exchange.sets import ImportOptions
from padray.operations import upkeep
from padray.store.location import LocalLocation
from padray.store.roots import ROOMS
from tests.exchange.conftest import peer_expert, peer_set
from tests.hostile.cases import cases
from tests.roots import chain

# A key or a file, an option, the folder that an import was given, or a setting.
NAMES = re.compile(
    r"(datasets|scores|experts|distilled|evaluations|events)/|_best\.pt|replay_buffer_0\.pt|--lr|/runs: |: [a-z_.]+: "
)
LAYOUTS = ("pt", "ddranking", "imagefolder", "hf")


class Ground(NamedTuple):
    """The settings, the root that cases copy, and files of others."""

    settings: Path
    root: Path
    source: Path


@pytest.fixture(scope="module")
def ground(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("hostile")
    root, source = folder / "runs", peer_set(folder / "peer")
    with torch.random.fork_rng():
        torch.save([peer_expert(seed) for seed in range(2)], source / "replay_buffer_0.pt")
    chain(settings, str(root))
    request = commands.Request((), str(root), "inline")
    for kind in ("pt", "mtt-buffer"):
        commands.import_artifact(str(source), kind, str(settings), ImportOptions(), request, Console(as_json=True))
    return Ground(settings, root, source)


class Said(NamedTuple):
    code: int
    out: str
    err: str


def padray(*arguments: object) -> Said:
    """`padray …` in this process; what it prints must be text that a terminal takes."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before, sys.argv = sys.argv, ["padray", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return Said(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]


@contextlib.contextmanager
def copy_of(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="padray-hostile-") as place:
        yield Path(shutil.copytree(folder, Path(place) / "runs"))


def write(path: Path, content: bytes) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    path.write_bytes(content)


# -- what is changed: each function takes the root and a way to draw

Draw = Callable[[st.SearchStrategy[Any]], Any]

VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        -1,
        0,
        1,
        0.5,
        float("nan"),
        float("inf"),
        -1e308,
        10**30,
        10**400,
        1 << 63,
        "",
        "x",
        "\ud800",
        "a\nb",
        "../../x",
        "/etc/passwd",
        "F64",
        "I64",
        "zca",
        [],
        {},
        [[]],
        [0],
        [-1, 3],
        ["a", "a"],
        {"kind": []},
        json.loads("[" * 40 + "]" * 40),
        "f" * 64,
        [1, 8, 8],
        [3, 8, 8],
        "𝔘" * 300,
    ]
)
TEXTS = st.sampled_from(
    [
        b"",
        b"\0",
        b"{}",
        b"[]",
        b"null",
        b'"\\ud800"',
        b"[" * 100_000,
        b'{"a":' * 10_000,
        b"NaN",
        b"9" * 5000,
        b"\xff{",
        '{"format_version": 1}'.encode("utf-16"),
        b'{"format_version": 2}',
        b'{"format_version": 1, "objects": [{}]}',
    ]
)


def files(root: Path, pattern: str = "*") -> list[Path]:
    """The files to change, but for those that a change has made very large."""
    return sorted(path for path in root.rglob(pattern) if path.is_file() and path.stat().st_size < 1 << 24)


def parsed(content: bytes) -> Any:
    """What was JSON, if it still is."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return {}


def nodes(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values in a tree; of long lists only to the first ones."""
    found = [path] if path else []
    inner = (
        list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree[:3])) if isinstance(tree, list) else []
    )
    for key, value in inner:
        found += nodes(value, (*path, key))
    return found


def changed(tree: Any, draw: Draw) -> Any:
    """A tree with one value put in another's place, or taken out, or put in."""
    ways = nodes(tree)
    if not ways:
        return draw(VALUES)
    way = draw(st.sampled_from(ways))
    above = tree
    for key in way[:-1]:
        above = above[key]
    how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
    value = copy.deepcopy(draw(VALUES))
    if "settings" in way and isinstance(value, int | float):  # how much work settings may ask for is not asked here
        value = -1
    if how == "remove":
        del above[way[-1]]
    elif how == "add" and isinstance(above, dict):
        above["surprise"] = value
    else:
        above[way[-1]] = value
    return tree


def relisted(path: Path, content: bytes) -> None:
    """Put other content in an object's place under its right name, and let its manifest vouch for it."""
    sha256, old = hashlib.sha256(content).hexdigest(), path.name
    new = re.sub(r"-[0-9a-f]{12}\.", f"-{sha256[:12]}.", old)
    write(path.with_name(new), content)
    if new != old:
        path.unlink()
    manifest = path.with_name("manifest.json")
    tree = parsed(manifest.read_bytes()) if manifest.is_file() else {}
    listed = tree.get("objects", []) if isinstance(tree, dict) else []
    if isinstance(listed, list):
        for item in listed:
            if isinstance(item, dict) and str(item.get("key", "")).endswith(f"/{old}"):
                item |= {"key": item["key"].replace(old, new), "size": len(content), "sha256": sha256}
        write(manifest, json.dumps(tree).encode())


def bytewise(root: Path, draw: Draw) -> None:
    """Any file: flipped, cut, longer, or something else."""
    path = draw(st.sampled_from(files(root)))
    content = bytearray(path.read_bytes())
    at = draw(st.integers(0, max(0, len(content) - 1)))
    how = draw(st.sampled_from(["flip", "cut", "more", "junk"]))
    if how == "flip" and content:
        content[at] ^= 1 << draw(st.integers(0, 7))
    made = {"cut": bytes(content[:at]), "more": bytes(content) + b"\0" * 99, "junk": draw(TEXTS)}.get(
        how, bytes(content)
    )
    (relisted if draw(st.booleans()) and path.name != "manifest.json" else write)(path, made)


def another_kind(root: Path, draw: Draw) -> None:
    """Any file: no file any more, or a very large one."""
    path = draw(st.sampled_from(files(root)))
    path.unlink()
    how = draw(st.sampled_from(["gone", "fifo", "loop", "device", "folder", "full", "large"]))
    if how == "fifo":
        os.mkfifo(path)
    elif how in ("loop", "device"):
        path.symlink_to({"loop": path.name, "device": "/dev/zero"}[how])
    elif how in ("folder", "full"):
        path.mkdir()
        if how == "full":
            (path / "mine.txt").write_text("mine")
    elif how == "large":
        path.touch()
        os.truncate(path, 1 << 36)


def in_manifests(root: Path, draw: Draw) -> None:
    path = draw(st.sampled_from(files(root, "manifest.json")))
    write(path, json.dumps(changed(parsed(path.read_bytes()), draw)).encode())


def in_records(root: Path, draw: Draw) -> None:
    """The JSON objects beside manifests: cells, and the table of events."""
    path = draw(st.sampled_from([*files(root, "cell-*.json"), *files(root, "*.jsonl")]))
    first, *rest = path.read_bytes().splitlines() or [b""]
    relisted(path, b"\n".join([json.dumps(changed(parsed(first), draw)).encode(), *rest]))


def in_headers(root: Path, draw: Draw) -> None:
    """What safetensors objects say of themselves."""
    path = draw(st.sampled_from(files(root, "*.safetensors")))
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = parsed(content[8:end])
    about = header.get("__metadata__") if isinstance(header, dict) else None
    if isinstance(about, dict) and draw(st.booleans()):
        about["padray"] = json.dumps(changed(parsed(about.get("padray", "")), draw))
    else:
        header = changed(header, draw)
    text = json.dumps(header).encode()
    relisted(path, len(text).to_bytes(8, "little") + text + content[end:])


def names(root: Path, draw: Draw) -> None:
    """Objects under names that padray never gives."""
    path = draw(st.sampled_from(files(root)))
    name = draw(
        st.sampled_from(
            [
                f"checkpoint-x-{'0' * 12}.safetensors",
                f"set-{'9' * 80}-{'0' * 12}.safetensors",
                f"set-x-{'0' * 12}.bin",
                f"history-{'0' * 12}.parquet",
                f"cell-{'0' * 12}.json",
                f"expert--{'0' * 12}.safetensors",
                "é\n.json",
                "\udcff",
                f"{'n' * 230}-{'0' * 12}.json",
                "deep/deeper/manifest.json",
                f"-{'0' * 12}.x",
                "manifest.json",
            ]
        )
    )
    target = path.parent / name
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, path.read_bytes())


MUTATIONS = (bytewise, another_kind, in_manifests, in_manifests, in_records, in_headers, in_headers, names)


# -- what is asked of every command


def check(said: Said, as_json: bool, findings: bool = False) -> None:
    """It works, or ends in one sentence that names what is wrong; `findings`: or tells of them, with code 3."""
    assert said.code in (0, 2, 3), said
    assert "Traceback" not in said.err
    sentences = [line for line in said.err.splitlines() if line.startswith("padray: ")]
    told = json.loads(said.out) if as_json else {}
    if said.code == 0 or (findings and said.code == 3 and not sentences):
        assert not sentences and "error" not in told
        return
    (sentence,) = sentences
    assert NAMES.search(sentence), sentence
    assert not as_json or " ".join(told["error"].split()) == sentence.removeprefix("padray: ")


COMMANDS = ("ls", "show", "verify", "repair", "du", "status", "rm", "export", "evaluate")


def command(name: str, root: Path, draw: Draw) -> list[object]:
    """What is typed."""
    rooms = [path.relative_to(root).as_posix() for room in ROOMS for path in root.glob(f"{room}/*")]
    folder = draw(st.sampled_from(sorted(rooms)))
    made = draw(st.sampled_from(sorted(path.relative_to(root).as_posix() for path in root.glob("distilled/*"))))
    return {
        "show": ["show", folder],
        "rm": ["rm", folder, *["--force"][: draw(st.integers(0, 1))]],
        "verify": ["verify", *[folder][: draw(st.integers(0, 1))]],
        "repair": ["verify", "--repair"],
        "export": ["export", made, root.parent / "out", "--to", draw(st.sampled_from(LAYOUTS))],
        "evaluate": ["evaluate", made, "--runner", "inline"],
    }.get(name, [name])


@cases(0.22)
@given(st.data())
def test_whatever_lies_in_a_root(ground: Ground, data: st.DataObject) -> None:
    with copy_of(ground.root) as root:
        for _ in range(data.draw(st.integers(1, 2))):
            data.draw(st.sampled_from(MUTATIONS))(root, data.draw)
        name, as_json = data.draw(st.sampled_from(COMMANDS)), data.draw(st.booleans())
        typed = command(name, root, data.draw)
        said = padray(*typed, "--storage", root, *["--json"][: int(as_json)])
        check(said, as_json, findings=name in ("verify", "repair"))
        assert not list(root.rglob(".put-*")) and (name == "export" or not (root.parent / "out").exists())
        assert {path.name for path in root.parent.iterdir()} <= ({"runs", "out"} if said.code == 0 else {"runs"})
        if name == "repair" and said.code == 0:
            assert padray("verify", "--storage", root).code == 0, "what was repaired is right"


# -- files of others

DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.float8_e4m3fn,
    torch.uint8,
    torch.uint16,
    torch.uint64,
    torch.int64,
    torch.bool,
    torch.complex64,
)


def some_tensor(draw: Draw, shapes: list[tuple[int, ...]]) -> torch.Tensor:
    value = draw(st.sampled_from([0.0, 1.0, -1.0, 1e-60, 1e-40, 1e300, float("nan"), float("inf")]))
    shape, dtype = draw(st.sampled_from(shapes)), draw(st.sampled_from(DTYPES))
    made = torch.full(shape, value, dtype=torch.float64)
    if draw(st.booleans()) and made.ndim:
        made = made + torch.arange(len(made)).view(-1, *[1] * (made.ndim - 1))
    return made.nan_to_num(0, 0, 0).to(dtype) if not dtype.is_floating_point else made.to(dtype)


def some_file(path: Path, draw: Draw) -> None:
    """One of the files of others: bytes, tensors, or trees of them."""
    how = draw(st.sampled_from(["flip", "cut", "junk", "tensor", "tensor", "tensor", "tree"]))
    content = bytearray(path.read_bytes())
    at = draw(st.integers(0, len(content) - 1))
    if how == "flip":
        content[at] ^= 1 << draw(st.integers(0, 7))
    if how in ("flip", "cut", "junk"):
        return write(path, {"cut": bytes(content[:at]), "junk": draw(TEXTS)}.get(how, bytes(content)))
    shapes = {
        "images": [(10, 1, 8, 8), (10, 64), (0, 1, 8, 8), (20, 1, 8, 8)],
        "labels": [(10,), (10, 10), (20,), ()],
        "lr": [(), (1,), (2,), (0,)],
    }.get(path.name.split("_")[0], [(4, 1, 3, 3), (4,), ()])
    made: Any = some_tensor(draw, shapes)
    if path.name.startswith("replay"):
        whole = torch.load(path)
        expert, snapshot = draw(st.integers(0, 1)), draw(st.integers(0, 6))
        whole[expert][snapshot][draw(st.integers(0, 9))] = made
        made = draw(st.sampled_from([whole, whole, [], [whole[0]] * 9, [[whole[0]]], {"a": whole}, whole[0]]))
    elif how == "tree":
        made = draw(st.sampled_from([[made], {"a": made}, None, 0.5, float("nan"), 7, "x", made.to("meta")]))
    path.unlink()
    torch.save(made, path)
    return None


@cases(0.08)
@given(st.data())
def test_whatever_files_of_others_hold(ground: Ground, data: st.DataObject) -> None:
    with copy_of(ground.root) as root, copy_of(ground.source) as source:
        for path in [*root.glob("distilled/*imported*"), *root.glob("experts/*imported*")]:
            shutil.rmtree(path)
        kind = data.draw(st.sampled_from(["pt", "pt", "mtt-buffer"]))
        names = ["replay_buffer_0.pt"] if kind == "mtt-buffer" else ["images_best.pt", "labels_best.pt", "lr_best.pt"]
        some_file(source / data.draw(st.sampled_from(names)), data.draw)
        told = data.draw(st.sampled_from([[], [], ["--labels", "logits"], ["--lr", "1e-50"], ["--lr", "0.1"]]))
        told = told if kind == "pt" else []
        before = {path: path.stat().st_mtime_ns for path in files(root)}
        said = padray("import", source, "--from", kind, "--config", ground.settings, "--storage", root, *told)
        check(said, as_json=False)
        made = [path for path in files(root) if path not in before]
        assert (said.code == 0) == bool(made), "all of it or nothing"
        for path in made:
            if path.suffix == ".safetensors":
                numbers = load_file(path)
                assert all(bool(value.isfinite().all()) for value in numbers.values())
                assert float(numbers.get("lr", 1.0)) >= torch.finfo(torch.float32).tiny
        assert upkeep.verify(LocalLocation(root), None, None, lambda progress: None).wrong == 0
