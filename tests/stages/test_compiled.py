"""Which stages compile their gradients, in which precision, and that a distillation goes on as it began.

Programs are interpreted here: the function that would be compiled is called as it stands, and "rounds" otherwise.
"""

import json
from pathlib import Path

import pytest

from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks import derivatives, programs
from padray.networks.programs import Program
from padray.stages import deciding
from tests.stages.test_families import DC, DM


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """The programs that were asked for."""
    asked: list[Program] = []

    def load(program: Program):
        asked.append(program)
        function, _ = programs._function(program)
        return lambda *tensors: [one * (1 + 1e-6) for one in function(*tensors)]

    monkeypatch.setattr(Program, "load", load)
    return asked


@pytest.fixture
def padray(run, tiny, tmp_path):
    """A command on the tiny chain in a folder of its own, by name; what it printed."""

    def call(command: str, name: str, *overrides: str) -> dict:
        settings = [part for text in overrides for part in ("--set", text)]
        said = run(command, tiny, "--runner", "inline", "--storage", tmp_path / name, "--json", *settings)
        assert said.code == 0, said.err
        return said.json

    return call


def numerics(root: Path) -> dict[str, dict]:
    """Of every stage's manifest."""
    manifests = [json.loads(path.read_text()) for path in root.rglob("manifest.json")]
    return {manifest["stage"]: manifest["numerics"] for manifest in manifests}


def test_bf16_is_for_experts_scores_and_the_way_back_alone(padray, tmp_path, loaded):
    padray("run", "runs", "compute.compile=on", "compute.precision=bf16")
    used = {(one.network.label, one.kind, one.batch, one.bf16) for one in loaded}
    assert ("convnet2w4", "gradient", 64, True) in used  # experts and scoring networks
    assert ("convnet2w4", "gradient", 6, False) in used  # students
    assert ("convnet2w4", "curvature", 6, True) in used
    assert {bf16 for network, _, _, bf16 in used if network == "mlp2w8"} == {False}  # evaluation
    said = numerics(tmp_path / "runs")
    assert said["experts"]["compile"] == said["distill"]["compile"] == "on"
    assert said["experts"]["precision"] == "bf16"


_AFTER = [("scores", "experts"), ("experts", "distill"), ("distill", "evaluate")]


@pytest.mark.parametrize(("before", "command"), _AFTER)
def test_accuracies_are_taken_by_programs_too(padray, loaded, before, command):
    """Of experts after every epoch, of iterates, of an evaluation's networks: never in bfloat16."""
    settings = "compute.compile=on", "compute.precision=bf16"
    padray(before, "runs", *settings)
    loaded.clear()
    padray(command, "runs", *settings)
    networks = {"convnet2w4", "mlp2w8"} if command == "evaluate" else {"convnet2w4"}
    assert {(one.network.label, one.bf16) for one in loaded if one.kind == "logits"} == {(n, False) for n in networks}


def test_a_distillation_goes_on_as_it_began(padray, loaded):
    last = "distill.validation.seeds=0"  # the last iterate is the set
    whole = padray("distill", "whole", last, "compute.compile=on")
    other = padray("distill", "other", last, "compute.compile=off")
    padray("distill", "parts", last, "compute.compile=on", "distill.iterations=6")
    loaded.clear()
    again = padray("distill", "parts", last, "compute.compile=off")
    assert {one.kind for one in loaded} == {"gradient", "curvature"}
    assert again["set"] == whole["set"] != other["set"]


def test_auto_compiles_where_the_whole_distillation_is_worth_it(padray, tmp_path, loaded, monkeypatch):
    monkeypatch.setattr(derivatives, "compiler", lambda: "g++")
    passes = 12 * 2 * 3 * 6 * (3 + 9)  # iterations, trajectories, steps, samples; a gradient and a curvature
    settings = TrajectorySettings(iterations=12, trajectories=2, student_steps=3, batch=6, ipc=1)
    assert settings.compilable_passes(10) == passes
    assert settings.model_copy(update={"gradient": "unroll"}).compilable_passes(10) == 0
    forward = 2 * 9 * 4 * (1 * 64 + 4 * 16) + 2 * 16 * 10
    for name, pays, expected in (("not", passes * forward + 1, "off"), ("worth", passes * forward, "on")):
        monkeypatch.setattr(deciding, "PAYS_ONCE", pays)
        padray("distill", name)
        assert numerics(tmp_path / name)["distill"]["compile"] == expected
    assert {one.kind for one in loaded} == {"gradient", "curvature", "logits"}


@pytest.mark.parametrize(
    ("text", "expected"), [(DM, {("features", False)}), (DC, {("gradient", False)})], ids=["DM", "DC"]
)
def test_families_without_experts_are_compiled_too(run, tmp_path, loaded, text, expected):
    """And never in bfloat16."""
    settings, root = tmp_path / "tiny.yaml", tmp_path / "runs"
    settings.write_text(text)
    overrides = ("compute.compile=on", "compute.precision=bf16", "distill.iterations=2", "distill.validation.seeds=0")
    options = [part for text in overrides for part in ("--set", text)]
    said = run("distill", settings, "--runner", "inline", "--storage", root, *options)
    assert said.code == 0, said.err
    assert numerics(root)["distill"]["compile"] == "on"
    assert {(one.kind, one.bf16) for one in loaded} == expected
