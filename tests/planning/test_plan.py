"""`padray plan`: its units are those that a run makes, its bytes those that it leaves, its seconds measured ones."""

import json
import shutil
from pathlib import Path

import pytest

from padray.data import whitening
from padray.errors import InputError
from padray.experts.optimisers import SGD
from padray.methods.trajectory import student
from padray.networks.programs import compiler
from padray.store.headers import metadata_of
from tests.conftest import Run
from tests.planning.conftest import counted, events, line_of, made, make, plan


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The finished chain, to go on from."""
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def payload(path: Path) -> int:
    """The bytes of a safetensors file without its header."""
    with path.open("rb") as stream:
        return path.stat().st_size - 8 - int.from_bytes(stream.read(8), "little")


def test_the_units_are_those_that_a_run_makes(settings, finished, tmp_path):
    told = plan(settings, tmp_path / "none")
    assert counted(told) == counted(told, "units") == made(finished)
    assert line_of(told, "data")["to_do"] == 1
    assert not (tmp_path / "none").exists(), "planning writes nothing"


def test_after_the_run_everything_is_there(settings, finished):
    told = plan(settings, finished)
    assert counted(told, "there") == made(finished) and line_of(told, "data")["there"] == 1
    assert (told["total"]["to_do"], told["total"]["hours"], told["total"]["bytes"]) == (0, 0, 0)


@pytest.mark.parametrize(
    "override",
    [
        "experts.count=4",
        "distill.iterations=18",
        "evaluation.seeds=3",
        "evaluation.lr=chosen",
        "evaluation.architectures=[lenet]",
        "distill.seed=1",
        "schedule.initial_ratio=0.5",
        "evaluation.controls.full=true",
        "evaluation.controls.random_soft=true",
        "distill.iterations=4",
    ],
)
def test_what_is_to_do_is_what_the_same_command_then_does(settings, copy, override):
    quick = "evaluation.controls.full_epochs=1"
    told, before = plan(settings, copy, override, quick), made(copy)
    make(settings, copy, override, quick)
    assert counted(told) == made(copy) - before
    assert counted(plan(settings, copy, override, quick)) == {}


def test_where_a_learning_rate_is_still_to_be_chosen_it_says_at_most(settings, copy):
    override = "evaluation.controls.lrs=[0.01, 0.1, 0.3]"
    told, before = plan(settings, copy, override), made(copy)
    make(settings, copy, override)
    assert told["total"]["at_most"] and counted(told)["evaluate"] == 4
    assert 2 <= (made(copy) - before)["evaluate"] <= 4


def test_the_teacher_is_a_unit_too(settings, copy):
    overrides = (
        "evaluation.protocol=rded-kd",
        "evaluation.teacher.epochs=1",
        "evaluation.teacher.network=lenet",
        "evaluation.architectures=[]",
        "evaluation.epochs=2",
    )
    told, before = plan(settings, copy, *overrides), made(copy)
    make(settings, copy, *overrides)
    assert counted(told) == made(copy) - before == {"evaluate": 5}


def test_a_protocols_epochs_are_counted_and_the_set_stays(settings, copy):
    told = plan(settings, copy, "evaluation.protocol=dc300", "evaluation.epochs=null", "evaluation.architectures=[]")
    assert line_of(told, "evaluate")["steps"] == 301 and counted(told) == {"evaluate": 5}
    shorter = plan(settings, copy, "evaluation.protocol=idc", "evaluation.epochs=9", "evaluation.architectures=[]")
    assert line_of(shorter, "evaluate")["steps"] == 9


def test_what_is_trained_twice_over_is_a_line_of_its_own(settings, tmp_path):
    told = plan(settings, tmp_path, "distill.ema_decay=0.5", "evaluation.double_training=true", "experts.count=1")
    lines = {line["unit"]: line for line in told["stages"] if line["stage"] == "evaluate"}
    assert lines["convnet2w4 trained twice"]["steps"] == 2 * lines["convnet2w4"]["steps"] == 12
    assert lines["convnet2w4 trained twice"]["units"] == 2


def test_a_keep_list_is_a_line_and_experts_see_no_more_than_it_lists(settings, copy, tmp_path):
    (tmp_path / "ids.json").write_text(json.dumps(list(range(60))))
    plain = "schedule={}"
    told = plan(settings, copy, plain, f"schedule.keep_list={tmp_path / 'ids.json'}")
    assert (line_of(told, "keep")["units"], line_of(told, "keep")["to_do"]) == (1, 1)
    assert [line_of(one, "experts")["steps"] for one in (plan(settings, copy, plain), told)] == [6 * 4, 6 * 1]
    half = (plain, "schedule.prune_hardest=0.5", "experts.count=1")
    make(settings, copy, *half, until="experts")
    assert line_of(plan(settings, copy, *half), "keep")["to_do"] == 0


def test_a_distillation_that_was_begun_has_only_the_rest_to_do(settings, copy):
    told = plan(settings, copy, "distill.iterations=18")
    distill = line_of(told, "distill")
    assert distill["hours"] * 3600 == pytest.approx(distill["seconds"] * 6 / 18)


def test_graphs_that_are_kept_are_counted_in_memory_where_they_are_kept(settings, tmp_path):
    def memory(*overrides: str) -> int:
        longer = plan(settings, tmp_path, "distill.student_steps=40", *overrides)
        return line_of(longer, "distill")["memory"]

    budget = "compute.memory_budget=1"
    plain, kept = memory(), memory(budget)
    assert memory("distill.gradient=unroll") == kept > plain + 100_000
    for without in ("distill.gradient=tesla", "compute.precision=bf16"):
        assert memory(budget, without) == memory(without)
    if compiler() is not None:
        assert memory(budget, "compute.compile=on") == plain


@pytest.mark.parametrize(
    "overrides",
    [(), ("experts.keep_epochs=[0, 4]", "network.norm=batch"), ("compute.precision=float64", "experts.count=1")],
)
def test_the_bytes_of_every_shard_are_exact(settings, tmp_path, overrides):
    told = plan(settings, tmp_path, *overrides)
    make(settings, tmp_path, *overrides, until="experts")
    sizes = [payload(path) for path in tmp_path.rglob("expert-*.safetensors")]
    experts = line_of(told, "experts")
    assert (
        experts["bytes_exact"] and experts["bytes"] == sum(sizes) == len(sizes) * experts["bytes"] // experts["units"]
    )


@pytest.mark.parametrize(
    "override",
    [
        "distill.labels.kind=hard",
        "distill.importance.enabled=false",
        "distill.ema_decay=0.5",
        "distill.importance.granularity=channel",
        "data.preprocessing=zca",
        "data.preprocessing=zca #large",
        "distill.validation.seeds=0",
    ],
)
def test_the_bytes_of_dataset_and_set_are_exact_but_for_what_a_checkpoint_tells_of_iterations(
    settings, tmp_path, monkeypatch, override
):
    override, _, large = override.partition(" #")
    if large:
        monkeypatch.setattr(whitening, "LARGE", 1)
    quick = ("distill.init=real", "distill.iterations=5", "experts.count=1", override)
    told = plan(settings, tmp_path, *quick)
    make(settings, tmp_path, *quick, until="distill")
    dataset = list((tmp_path / "datasets").rglob("*.safetensors"))
    (synthetic,) = (tmp_path / "distilled").rglob("set-000005-*.safetensors")
    (checkpoint,) = (tmp_path / "distilled").rglob("checkpoint-*.safetensors")
    assert line_of(told, "data")["bytes"] == sum(map(payload, dataset)) and len(dataset) == (3 if large else 1)
    noted = line_of(told, "distill")["bytes"] - payload(synthetic) - payload(checkpoint)
    recent = metadata_of(checkpoint.read_bytes())["recent"]
    assert len(recent) == 5 and noted == pytest.approx(len(json.dumps(json.dumps(recent))), rel=0.1)


def test_what_is_large_is_counted_once_for_a_machine_but_on_a_gpu(tmp_path):
    """50,000 samples of 3,072 numbers in float32 are 615 MB; all 60,000 as bytes, with both matrices, 261 MB."""
    told = plan("mtt-cifar10-ipc1", tmp_path)
    for stage, samples in (("experts", 50_000), ("distill", 50_000), ("evaluate", 10 + 5_000 + 10_000)):
        line = line_of(told, stage)
        assert line["memory_shared"] == pytest.approx(samples * 12_296 + 60_000 * 3_088 + 75.5e6, rel=1e-3)
    small = plan("digits-ipc1", tmp_path)
    assert small["total"]["memory_shared"] == 0
    on_gpu = line_of(plan("mtt-cifar10-ipc1", tmp_path, "compute.device=cuda"), "experts")
    assert on_gpu["memory"] - line_of(told, "experts")["memory"] == 50_000 * 12_296, "each has them on its own GPU"


def test_the_steps_are_those_of_the_optimiser_and_of_the_students(settings, tmp_path, monkeypatch):
    taken, students, step, draw = [], [], SGD.step, student.draw_steps
    monkeypatch.setattr(SGD, "step", lambda self: taken.append(1) or step(self))
    monkeypatch.setattr(student, "draw_steps", lambda *a: students.append(len(drawn := draw(*a))) or drawn)
    told = plan(settings, tmp_path)
    make(settings, tmp_path, until="experts")
    assert len(taken) == line_of(told, "scores")["steps"] * 2 + line_of(told, "experts")["steps"] * 3
    make(settings, tmp_path, "distill.validation.seeds=0", until="distill")
    assert sum(students) == line_of(told, "distill")["steps"]


def test_seconds_are_those_of_finished_units_of_the_same_kind_or_unknown(settings, finished):
    told = plan(settings, finished, "experts.count=5", "distill.iterations=24", "distill.seed=0", price=2.0)
    seconds = sorted(event["seconds"] for event in events(finished) if event["stage"] == "experts")
    experts = line_of(told, "experts")
    assert experts["seconds"] == seconds[1] and experts["measured"] == "3 finished, on 1 host"
    assert experts["hours"] == pytest.approx(2 * seconds[1] / 3600)
    assert line_of(told, "distill")["seconds"] is None, "other experts, another distillation"
    assert told["total"]["hours"] is None and told["total"]["money"] is None
    longer = plan(settings, finished, "distill.iterations=24", price=2.0)
    (distilled,) = [event["seconds"] for event in events(finished) if event["stage"] == "distill"]
    assert line_of(longer, "distill")["seconds"] == pytest.approx(2 * distilled)
    assert longer["total"]["money"] == pytest.approx(2 * longer["total"]["hours"]) and longer["total"]["hours"] > 0


def test_a_resumed_distillation_counts_by_the_iterations_that_it_made(settings, copy):
    make(settings, copy, "distill.iterations=18", until="distill")
    found = {event["unit"]: event["iterations"] for event in events(copy) if event["stage"] == "distill"}
    assert found == {"set-000012": 12, "set-000018": 6}


def test_other_settings_are_not_measured_by_these(settings, finished):
    told = plan(settings, finished, "experts.lr=0.05")
    assert {line["seconds"] for line in told["stages"] if line["stage"] in ("experts", "distill")} == {None}


def test_the_command_prints_a_table_or_one_object(settings, finished, run: Run):
    said = run("plan", settings, "--storage", finished, "--set", "experts.count=4", "--json")
    assert said.code == 0 and said.json["total"]["to_do"] == 6 and said.json["config"] == "tiny"
    said = run("plan", settings, "--storage", finished, "--set", "experts.count=4", "--price", "1.5")
    assert "expert convnet2w4" in said.out and "--calibrate measures it" in said.out
    assert "price: unknown, as the time is" in said.out
    assert run("plan", settings, "--price", "0").err.startswith("padray: --price is what a device costs for an hour")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("distill.ipc=30", "distill.ipc is 30"),
        ("network.name=convnet1d", "network: convnet1d needs series"),
        ("data.validation=0", "distill.validation needs a validation split"),
        ("data.dataset=xray", "data.path must name its folder"),
        (f"experts.imported={'a' * 64}", "are not in"),
    ],
)
def test_what_the_run_would_refuse_is_refused(settings, tmp_path, override, sentence):
    with pytest.raises(InputError, match=sentence):
        plan(settings, tmp_path, override)
