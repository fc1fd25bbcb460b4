"""The chain in one process: what a run makes, what the same command reuses, and what more of it extends."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from padray.commandline import commands
from padray.commandline.console import Console
from padray.errors import InputError, WorkError
from padray.methods import loop
from padray.stages import experts, pipeline
from padray.stages.base import Context
from padray.stages.pipeline import Outcome
from tests.conftest import TINY


def run(
    tiny: Path, root: Path, *overrides: str, until: str = "evaluate", fresh: bool = False
) -> tuple[Context, Outcome]:
    context = commands.context(str(tiny), commands.Request(overrides, str(root), "inline", fresh))
    return context, pipeline.run(context, until)


def objects(root: Path) -> dict[str, bytes]:
    """Everything below a root but the record of events, which holds times."""
    files = (path for path in root.rglob("*") if path.is_file() and not {"events", "tensorboard"} & {*path.parts})
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def learned_images(root: Path, outcome: Outcome) -> torch.Tensor:
    """The images of the set after the last iteration."""
    (path,) = (root / outcome.identities["distill"].folder).glob("set-000012-*.safetensors")
    return load_file(path)["images"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Outcome]:
    folder = tmp_path_factory.mktemp("chain")
    settings = folder / "tiny.yaml"
    settings.write_text(TINY)
    return settings, folder / "runs", run(settings, folder / "runs")[1]


def test_every_stage_leaves_a_manifest_that_names_its_inputs(finished):
    _, root, outcome = finished
    found = {}
    for path in root.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        found[manifest["stage"]] = manifest
        assert path.parent.name.endswith(manifest["fingerprint"][:12])
        assert manifest["numerics"]["threads"] == 1
        for item in manifest["objects"]:
            assert (root / item["key"]).stat().st_size == item["size"]
    assert set(found) == {"data", "scores", "experts", "distill", "evaluation"}
    assert found["experts"]["inputs"] == {
        "data": found["data"]["fingerprint"],
        "scores": found["scores"]["fingerprint"],
    }
    assert outcome.identities["distill"].folder.startswith("distilled/digits-convnet2w4-ipc1-")


def test_the_table_has_the_set_s_network_first_and_a_control_beside_each(finished):
    rows = finished[2].rows
    assert [(row.architecture, row.source) for row in rows] == [
        ("convnet2w4", "distilled"),
        ("convnet2w4", "random"),
        ("mlp2w8", "distilled"),
        ("mlp2w8", "random"),
    ]
    assert all(row.n == len(row.values) == 2 and 0 <= row.mean <= 1 for row in rows)


def test_the_same_command_elsewhere_gives_the_same_bytes(finished, tmp_path):
    settings, root, _ = finished
    run(settings, tmp_path / "again")
    assert objects(tmp_path / "again") == objects(root)


def test_the_same_command_again_reuses_everything(finished):
    settings, root, outcome = finished
    before = objects(root)
    context, again = run(settings, root)
    assert context.reused == ["data", "scores", "experts", "distill", "evaluation"]
    assert again.set_digest == outcome.set_digest
    assert again.rows == outcome.rows
    assert objects(root) == before


def test_fresh_starts_anew_and_arrives_at_the_same_bytes(finished, tmp_path):
    settings, root, _ = finished
    other = tmp_path / "fresh"
    run(settings, other)
    context, _ = run(settings, other, fresh=True)
    assert context.reused == []
    assert objects(other) == objects(root)


def test_more_iterations_continue_and_equal_a_straight_run(finished, tmp_path):
    settings, _, _ = finished
    extended, straight = tmp_path / "extended", tmp_path / "straight"
    run(settings, extended, until="distill")
    told = []
    context = commands.context(str(settings), commands.Request(("distill.iterations=18",), str(extended), "inline"))
    context.notify = told.append
    longer = pipeline.run(context, "distill")
    direct = run(settings, straight, "distill.iterations=18", until="distill")[1]
    assert longer.set_digest == direct.set_digest
    assert min(p.done for p in told if p.stage == "distill") == 12, "it goes on from there"
    folder = extended / longer.identities["distill"].folder
    listed = json.loads((folder / "manifest.json").read_text())["objects"]
    names = {item["key"].rsplit("/")[-1][:10] for item in listed}
    assert {"set-000012", "set-000018"} <= names


def test_more_experts_extend_their_folder_and_make_another_set(finished, tmp_path):
    settings, _, outcome = finished
    root = tmp_path / "more"
    run(settings, root, until="experts")
    shards = {path.name for path in root.rglob("expert-*.safetensors")}
    _, more = run(settings, root, "experts.count=4", until="distill")
    assert shards < {path.name for path in root.rglob("expert-*.safetensors")}
    assert more.identities["experts"] == outcome.identities["experts"]
    assert more.identities["distill"] != outcome.identities["distill"]


@pytest.mark.parametrize(
    "override",
    [
        "distill.selection.alpha=0.75",
        "distill.importance.enabled=false",
        "distill.labels.kind=hard",
        "distill.init=real",
        "distill.trajectories=1",
        "distill.max_loss=0.5",
        "distill.augment=none",
        "schedule.initial_ratio=0.5",
        "distill.windows.interval=1",
        "distill.momentum_images=0",
        "distill.importance.lr=5",
        "distill.seed=1",
    ],
)
def test_every_mechanism_changes_the_set(finished, tmp_path, override):
    settings, root, outcome = finished
    other = run(settings, tmp_path / "other", override, until="distill")[1]
    here, there = learned_images(root, outcome), learned_images(tmp_path / "other", other)
    assert not torch.equal(here, there), "the files differ anyway, since they hold their settings"


def test_threads_and_paths_do_not_change_where_a_set_is_kept(finished, tmp_path):
    settings, _, outcome = finished
    _, other = run(settings, tmp_path / "o", "compute.threads=2", "data.path=null", until="data")
    assert other.identities["data"] == outcome.identities["data"]


def test_float64_runs_the_whole_chain(finished, tmp_path):
    settings, _, _ = finished
    _, outcome = run(
        settings, tmp_path / "double", "compute.precision=float64", "distill.iterations=2", until="distill"
    )
    assert outcome.set_bytes == 8 * (10 * 64 + 10 * 10 + 1)


def test_stored_sets_are_evaluated_together_without_their_source(finished, tmp_path):
    settings, _, _ = finished
    root = tmp_path / "sets"
    sets = [run(settings, root, f"distill.seed={k}", until="distill")[1] for k in range(2)]
    names = [outcome.identities["distill"].fingerprint[:16] for outcome in sets]
    request = commands.Request(("evaluation.seeds=3",), str(root), "inline")
    result = commands.evaluate(names, request, Console(as_json=True))
    distilled = [row for row in result.evaluation if row.source == "distilled"]
    assert [row.set for row in distilled] == [names[0], names[0], names[1], names[1]]
    assert all(row.n == 3 for row in result.evaluation)
    alone = run(settings, root, "distill.seed=1", "evaluation.seeds=3")[0]
    assert "evaluation" in alone.reused


def test_a_stored_set_keeps_its_making(finished):
    _, root, outcome = finished
    request = commands.Request(("distill.ipc=2",), str(root), "inline")
    with pytest.raises(InputError, match="only evaluation"):
        commands.evaluate([outcome.identities["distill"].fingerprint], request, Console(as_json=True))


def test_fewer_iterations_than_before_are_made_too_and_the_longer_run_goes_on(finished, tmp_path):
    settings, _, _ = finished
    root = tmp_path / "shorter"
    longer = run(settings, root, until="distill")[1]
    shorter = run(settings, root, "distill.iterations=5", until="distill")[1]
    straight = run(settings, tmp_path / "straight", "distill.iterations=5", until="distill")[1]
    assert shorter.set_digest == straight.set_digest
    told = []
    context = commands.context(str(settings), commands.Request(("distill.iterations=14",), str(root), "inline"))
    context.notify = told.append
    pipeline.run(context, "distill")
    assert min(p.done for p in told if p.stage == "distill") == 12, "it goes on from there"
    assert run(settings, root, until="distill")[1].set_digest == longer.set_digest


def test_a_control_that_diverges_is_a_result_and_stops_nothing(finished, tmp_path):
    settings, _, _ = finished
    override = "evaluation.controls.lrs=[0.01, 1e30]"
    rows = run(settings, tmp_path / "diverged", override)[1].rows
    assert {row.lr for row in rows if row.source == "random"} == {0.01}


def test_memory_that_runs_out_is_told_and_what_is_done_is_kept(finished, tmp_path, monkeypatch):
    straight = loop.run

    def greedy(*arguments):
        for done, metrics in enumerate(straight(*arguments)):
            yield metrics
            if done == 5:
                torch.empty(1 << 60)

    monkeypatch.setattr(loop, "run", greedy)
    told = r"distilling does not fit into memory: lower its batch or its network's width; the state after 6 of 12 iter"
    with pytest.raises(WorkError, match=told):
        run(finished[0], tmp_path / "runs")
    monkeypatch.setattr(experts, "train", lambda *_, **__: torch.empty(1 << 60))
    with pytest.raises(WorkError, match=r"experts expert-0000 does not fit into memory: lower its batch"):
        run(finished[0], tmp_path / "runs", "experts.lr=0.2", until="experts")
    monkeypatch.undo()
    assert run(finished[0], tmp_path / "runs")[1].set_digest == finished[2].set_digest


def test_a_known_dataset_needs_no_source_files(finished, monkeypatch):
    settings, root, outcome = finished
    context = commands.context(str(settings), commands.Request((), str(root), "inline"))
    context.stored_data = outcome.identities["data"]
    monkeypatch.setattr("padray.data.sources.source_digest", lambda settings: pytest.fail("the source was read"))
    assert pipeline.run(context, "distill").set_digest == outcome.set_digest
