"""The house rules that a reader relies on, held by walking the sources."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import padray

ROOT = Path(padray.__file__).parent
JOBS = ROOT.parent / "jobs"

# From the ground up. A module imports only from lower floors and from its own room.
FLOORS = (
    {"errors", "draws"},
    {"settings"},
    {"machine"},
    {"store", "networks"},
    {"data"},
    {"experts", "synthetic"},
    {"methods", "evaluation"},
    {"config"},
    {"fingerprint", "configuration"},
    {"report"},
    {"stages"},
    {"exchange"},
    {"search", "operations"},
    {"studies", "planning"},
    {"recipe"},
    {"cluster"},
    {"commandline"},
    {"api"},
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
MAY_USE_CLUSTER = {"cluster", "commandline"}
KNOWN_TO_STORE = {"store", "errors", "machine"}


def modules(folder: Path = ROOT) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py"))


def room(path: Path) -> str:
    """`padray/store/shards.py` -> `store`; `padray/cli.py` -> `cli`."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module as a dotted name, and whether the import is inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lazy = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            yield from ((f"{node.module}.{alias.name}", id(node) in lazy) for alias in node.names)


def rooms_used(path: Path) -> Iterator[tuple[str, bool]]:
    """The rooms of padray that a module imports from, and whether inside a function."""
    for name, lazy in imports(path):
        parts = name.split(".")
        if parts[0] == "padray" and len(parts) > 1 and parts[1] != "__version__":
            yield parts[1], lazy


def module(path: Path) -> str:
    """`padray/store/shards.py` -> `padray.store.shards`."""
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def test_no_module_leads_back_to_itself():
    """Through whatever imports, those inside functions and of the same room too."""
    known = {module(path): path for path in modules()}
    uses = {
        own: {next((n for n in (used, used.rpartition(".")[0]) if n in known), None) for used, _ in imports(path)}
        for own, path in known.items()
    }
    left = {own: used - {None, own, "padray"} for own, used in uses.items()}  # padray itself hands its API on, lazily
    while ends := [own for own, used in left.items() if not used & left.keys()]:
        for own in ends:
            del left[own]
    assert not left, f"in circles, or above one: {sorted(left)}"


# Names that mean the same in every folder that has them: what that family, or that part of the settings, is.
SAME_IN_EVERY_FOLDER = {"__init__", "costs", "families", "matching", "report", "settings"}


def test_no_file_name_means_two_things():
    twice = [name for name, count in Counter(path.stem for path in modules()).items() if count > 1]
    assert set(twice) <= SAME_IN_EVERY_FOLDER


def test_few_modules_stand_at_the_top():
    assert len([path for path in ROOT.glob("*.py") if path.name != "__init__.py"]) <= 5


@pytest.mark.parametrize("folder", [path for path in ROOT.iterdir() if list(path.glob("*.py"))], ids=lambda p: p.name)
def test_every_folder_says_in_two_lines_what_lives_there_and_what_it_may_import(folder):
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) if folder.is_dir() else ""
    assert said and len(said.splitlines()) <= 2 and "mports" in said, folder.name


def name(path: Path) -> str:
    return path.relative_to(ROOT.parent).as_posix()


each_module = pytest.mark.parametrize(
    "path", [p for p in modules() if p.name != "__init__.py" or p.parent != ROOT], ids=name
)
each_source = pytest.mark.parametrize("path", [*modules(), *modules(JOBS)], ids=name)


@each_module
def test_imports_point_down(path):
    own = room(path)
    assert own in FLOOR, f"give {own} a floor in {__file__}"
    wrong = {used for used, _ in rooms_used(path) if used != own and FLOOR.get(used, 99) >= FLOOR[own]}
    assert not wrong, f"{own} is not above {', '.join(sorted(wrong))}"


@each_module
def test_ray_is_imported_by_the_cluster_alone(path):
    used = {module.split(".")[0] for module, _ in imports(path)}
    assert "ray" not in used or room(path) == "cluster"


@each_module
def test_the_cluster_is_imported_only_when_it_is_asked_for(path):
    at_once = {lazy for used, lazy in rooms_used(path) if used == "cluster" and room(path) != "cluster"}
    assert not at_once or (room(path) in MAY_USE_CLUSTER and at_once == {True})


@each_module
def test_bytes_know_nothing_of_networks(path):
    if room(path) == "store":
        assert not [module for module, _ in imports(path) if module.startswith(("torch.nn", "ray"))]
        assert "torch.nn" not in path.read_text() and not {used for used, _ in rooms_used(path)} - KNOWN_TO_STORE


@each_source
def test_files_and_functions_are_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= (350 if path.is_relative_to(ROOT) else 60)
    assert "utils" not in path.stem
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert node.end_lineno - node.lineno < 80, f"{node.name} is too long"
            most = 9 if path.name == "cli.py" else 6  # a command's parameters are its options
            assert len([a for a in arguments if a not in ("self", "cls")]) <= most, f"{node.name}: too many parameters"


PLACE = re.compile(r"(?<![\w.{}])(/(work|home|root|tmp|mnt|Users|scratch|data)/|[A-Z]:\\|\.\./|~/)")


@each_source
def test_no_source_names_a_place_on_a_machine(path):
    texts = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    assert not [text for text in texts if isinstance(text, str) and PLACE.search(text)]


def test_a_place_on_a_machine_is_recognised():
    assert all(PLACE.search(text) for text in ("/home/x/runs", "see ../x", "/tmp/x", "~/x"))
    assert not any(PLACE.search(text) for text in ("./runs", "{root}/data/x", "a/b", "s3://bucket/data/x"))


@pytest.mark.parametrize("path", modules(), ids=name)
def test_every_module_says_what_it_is_for(path):
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree)
