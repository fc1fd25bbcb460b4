"""What a fresh process loads: a command nothing that it does not use, so that it starts at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Takes command lines, a JSON list each, and modules, and says after each which modules are loaded by then.
PROGRAM = """
import importlib, json, sys
seen = []
for words in map(json.loads, sys.argv[1:]):
    if isinstance(words, str):
        importlib.import_module(words)
    else:
        from padray.commandline import cli
        sys.argv = ["padray", *words]
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, end.code
    seen.append(sorted(sys.modules))
print(json.dumps(seen), file=sys.stderr)
"""
LARGE = {
    "torch",
    "torchvision",
    "ray",
    "optuna",
    "sqlalchemy",
    "sklearn",
    "scipy",
    "matplotlib",
    "jinja2",
    "pyarrow",
    "PIL",
    "boto3",
    "torch._dynamo",
    "tensorboardX",
}  # not pandas, which PyArrow looks for
TRAINS = {"torch", "pyarrow", "PIL"}  # what all that reads or writes tensors needs


def loaded(*steps: object) -> list[set[str]]:
    """After each step, a command's words or a module's name: the large modules that a fresh process has loaded."""
    line = [sys.executable, "-c", PROGRAM, *map(json.dumps, steps)]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    return [LARGE & set(names) for names in json.loads(done.stderr.splitlines()[-1])]


@pytest.fixture(scope="module")
def made(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[set[str]]]:
    """A root that a fresh process has filled by the whole chain, and what it had loaded: before that, and after."""
    root = tmp_path_factory.mktemp("startup") / "runs"
    told = [[name, "--storage", str(root)] for name in ("ls", "status")]
    run = ["run", str(settings), "--storage", str(root), "--runner", "inline", "--json"]
    return root, loaded(["--help"], ["run", "--help"], *told, run)


def test_help_and_what_only_tells_load_nothing_large(made):
    assert made[1][:-1] == [set()] * 4


def test_a_whole_chain_in_one_process_needs_no_compiler_no_ray_and_no_search(made):
    assert not made[1][-1] & {"torch._dynamo", "ray", "optuna", "sqlalchemy", "torchvision"}


def test_where_all_is_done_nothing_is_loaded_to_make_it_nor_by_a_driver_before_it_connects(made, settings):
    root, line = made[0], ["run", str(settings), "--storage", str(made[0]), "--runner", "inline", "--json"]
    assert loaded(line, "padray.cluster.runner") == [TRAINS, TRAINS]
    assert list((root / "reports").rglob("report.html")), "it was the whole chain"


def test_a_worker_of_ray_s_loads_no_more_than_it_works_with():
    work = ["padray.cluster.pool", "padray.stages.scores", "padray.stages.experts", "padray.stages.cells"]
    assert loaded(*work)[-1] == {"torch", "PIL", "ray"}  # tables are read and written with PyArrow, by who has one
