"""Whole distillations of the tiny chain: every setting changes the set, and one that fails keeps what it has."""

from pathlib import Path
from typing import Any

import pytest
import torch

from padray.commandline import commands
from padray.data.datasets import Dataset
from padray.errors import DivergedError, InputError, WorkError
from padray.evaluation import protocol
from padray.networks.derivatives import Derivatives
from padray.search import judgement
from padray.search.trials import TrialRecord
from padray.stages import pipeline, stored
from padray.stages.base import Inputs
from padray.synthetic.set import SyntheticSet
from tests.conftest import TINY

FEW = ("distill.iterations=4", "distill.validation.seeds=0", "distill.importance.enabled=false")
WEIGHTED = ("distill.importance.enabled=true",)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The settings file and one storage for all, so that the experts are made once."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "tiny.yaml").write_text(TINY)
    return folder / "tiny.yaml", folder / "runs"


@pytest.fixture(scope="module")
def elsewhere(place) -> tuple[Path, Path]:
    """The same settings and a storage where nothing has been begun."""
    return place[0], place[1].with_name("elsewhere")


def distilled(place: tuple[Path, Path], *overrides: str) -> tuple[str, SyntheticSet]:
    """A set's digest and the set."""
    settings, root = place
    context = commands.context(str(settings), commands.Request((*FEW, *overrides), str(root), "inline"))
    outcome = pipeline.run(context, "distill")
    folder = context.folder(outcome.identities["distill"])
    return outcome.set_digest, stored.load_set(folder, context.config.distill.iterations)


def differ(left: SyntheticSet, right: SyntheticSet) -> bool:
    """Whether other images were learned: the files differ anyway, for they hold their settings."""
    return not torch.equal(left.learned.images, right.learned.images)


@pytest.fixture(scope="module")
def plain(place) -> tuple[str, SyntheticSet]:
    return distilled(place)


@pytest.fixture(scope="module")
def weighted(place) -> tuple[str, SyntheticSet]:
    return distilled(place, *WEIGHTED)


@pytest.mark.parametrize(
    "override",
    [
        "selection.strategy=layer",
        "selection.strategy=deep",
        "selection.strategy=loss",
        "pruning.rule=magnitude_ratio",
        "pruning.rule=abs_error_quantile",
        "ema_decay=0.9",
        "keep_lr_positive=log",
        "init=noise",
        "gradient=tesla",
    ],
)
def test_every_setting_changes_the_set(place, plain, override):
    assert differ(distilled(place, f"distill.{override}")[1], plain[1])


FAR = ("distill.student_lr=0.5", "distill.lr_student_lr=0", "distill.max_loss=1e9")  # past what it is compared with


def test_an_adaptive_length_changes_the_set_where_students_go_too_far(place):
    fixed, adaptive = (distilled(place, *FAR, f"distill.student_length={length}")[1] for length in ("fixed", "nearest"))
    assert differ(fixed, adaptive)


@pytest.mark.parametrize(
    "override",
    [
        "momentum=0.5",
        "init=2",
        "constraint=none",
        "constraint=l2",
        "constraint=softmax",
        "granularity=channel",
        "granularity=tensor",
        "weighted_denominator=true",
        "order=alternate",
    ],
)
def test_every_setting_of_the_weights_changes_the_set(place, weighted, override):
    assert differ(distilled(place, *WEIGHTED, f"distill.importance.{override}")[1], weighted[1])


def test_thresholds_and_bounds_change_the_set(place):
    ratio = ("distill.pruning.rule=magnitude_ratio", "distill.pruning.threshold=")
    assert differ(distilled(place, ratio[0], ratio[1] + "0.9")[1], distilled(place, ratio[0], ratio[1] + "0.5")[1])
    clamp = (*WEIGHTED, "distill.importance.constraint=clamp", "distill.importance.lr=50")
    narrow, wide = ("distill.importance.clamp=[0.99, 1.01]", "distill.importance.clamp=[0.1, 10]")
    assert differ(distilled(place, *clamp, narrow)[1], distilled(place, *clamp, wide)[1])


def test_unrolling_makes_the_same_set_up_to_rounding(place):
    precise = ("compute.precision=float64",)
    exact, unrolled = distilled(place, *precise)[1], distilled(place, *precise, "distill.gradient=unroll")[1]
    for name in ("images", "labels", "lr"):
        assert torch.allclose(getattr(exact.learned, name), getattr(unrolled.learned, name), rtol=1e-9, atol=1e-12)


def test_a_set_has_the_same_bytes_whatever_the_budget_for_graphs_was(place, plain, monkeypatch):
    """Left and taken up again with another one."""
    made, slope = [], Derivatives.slope
    monkeypatch.setattr(Derivatives, "slope", lambda self, *batch: made.append(1) or slope(self, *batch))
    apart, counts = (place[0], place[1].with_name("budgets")), []
    for overrides in (["distill.iterations=2", "compute.memory_budget=1"], []):
        made.clear()
        digest, found = distilled(apart, *overrides)
        counts.append(len(made))
    assert 2 * counts[0] == counts[1] > 0, "two iterations each, and a graph kept is a graph not made again"
    assert digest == plain[0] and torch.equal(found.learned.images, plain[1].learned.images)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_noise_starts_without_anything_real(place, kind):
    still = ("distill.lr_images=0", "distill.labels.lr=0", "distill.init=noise", f"distill.labels.kind={kind}")
    made = distilled(place, *still)[1].learned
    assert float(made.images.mean()) == pytest.approx(0, abs=0.2)
    assert float(made.images.std()) == pytest.approx(1, abs=0.2)
    assert len(made.images.unique()) == made.images.numel()  # a digit has few shades, and most of it is background
    plain = torch.arange(10) if kind == "hard" else 5 * torch.eye(10)
    assert torch.equal(made.labels, plain)


def test_labels_may_start_from_one_expert_right_or_wrong(place):
    still = ("distill.lr_images=0", "distill.labels.lr=0", "distill.init=real")
    one = distilled(place, *still, "distill.labels.start=one_expert")[1].learned.labels
    alone = distilled(place, *still, "experts.count=1")[1].learned.labels
    right = one.argmax(dim=1) == torch.arange(10)
    assert 0 < int(right.sum()) < 10, "the tiny experts are often wrong, and its labels say so"
    assert torch.equal(one[right], alone[right]), "the first expert alone says what it says among others"
    assert not torch.equal(one, distilled(place, *still)[1].learned.labels)


def test_the_seed_of_a_set_is_one_that_can_be_typed(place, plain, elsewhere):
    digest, made = distilled(place, "distill.seed=7")
    assert (plain[1].facts["seed"], made.facts["seed"]) == (0, 7)
    assert digest == distilled(elsewhere, f"distill.seed={made.facts['seed']}")[0]


@pytest.mark.parametrize("other", ["distill.labels.kind=hard", "distill.init=noise"])
def test_a_start_of_labels_that_are_not_there_is_refused(place, other):
    with pytest.raises(InputError, match=r"start: one_expert is "):
        distilled(place, "distill.labels.start=one_expert", other)


def test_a_distillation_goes_on_with_all_that_it_had(place, elsewhere):
    everything = (
        *WEIGHTED,
        "distill.ema_decay=0.9",
        "distill.importance.momentum=0.9",
        "distill.trajectories=1",
        "distill.importance.order=alternate",
        "distill.importance.constraint=softmax",
        "distill.keep_lr_positive=log",
        "distill.selection.strategy=loss",
        "distill.student_length=nearest",
    )
    distilled(place, *everything, "distill.iterations=3")
    longer = distilled(place, *everything, "distill.iterations=6")
    assert longer[0] == distilled(elsewhere, *everything, "distill.iterations=6")[0]


def test_a_clamped_lr_goes_on_where_a_free_one_stops(place):
    steep = ("distill.student_lr=0.5", "distill.lr_student_lr=10", "distill.lr_images=0", "distill.max_loss=1e9")
    with pytest.raises(WorkError, match=r"distill\.keep_lr_positive"):
        distilled(place, *steep)
    assert float(distilled(place, *steep, "distill.keep_lr_positive=clamp")[1].learned.lr) > 0


def test_a_collapse_is_told_while_distilling_and_stays_with_the_set(place):
    settings, root = place
    collapsing = (
        *WEIGHTED,
        "distill.importance.constraint=none",
        "distill.importance.granularity=tensor",
        "distill.selection.alpha=0.98",
        "distill.max_loss=1e9",
        "distill.iterations=15",
    )
    context = commands.context(str(settings), commands.Request((*FEW, *collapsing), str(root), "inline"))
    told = []
    context.notify = lambda progress: told.append(progress.text)
    pipeline.run(context, "distill")
    assert "IADD's weights have collapsed" in told[-1]
    assert "IADD's weights have collapsed" in distilled(place, *collapsing)[1].facts["warning"]
    assert "warning" not in distilled(place, *WEIGHTED)[1].facts


def test_work_that_fails_keeps_the_last_good_state_and_says_how_to_go_on(place, elsewhere):
    settings, root = place
    wild, seldom = "distill.lr_images=1e30", "distill.checkpoint_seconds=60"
    for _ in range(2):  # the same command ends the same way
        with pytest.raises(DivergedError) as caught:
            distilled(place, wild, seldom, "distill.iterations=20")
        assert "no trajectory was finite in 10 iterations in a row, up to iteration 10 (" in str(caught.value)
        assert "lower distill.lr_images, distill.labels.lr, distill.lr_student_lr or dist" in str(caught.value)
        kept = "the state after 10 of 20 iterations is kept, and distill.iterations=10 makes a set of it"
        assert kept in str(caught.value)
    told = []
    request = commands.Request((*FEW, wild, "distill.iterations=10"), str(root), "inline")
    context = commands.context(str(settings), request)
    context.notify = lambda progress: told.append((progress.stage, progress.done))
    digest = pipeline.run(context, "distill").set_digest
    assert [done for stage, done in told if stage == "distill"] == [10], "no iteration was made again"
    again, made = distilled(elsewhere, wild, "distill.iterations=10")
    assert digest == again
    assert made.facts["warning"].startswith("no trajectory was finite in the last 9 iterations, which changed nothing")


def test_work_that_fails_at_once_says_that_nothing_is_kept(place):
    with pytest.raises(DivergedError, match=r"lower distill\.lr_images; no iteration was finished"):
        distilled(place, "distill.lr_images=1e300")


def test_networks_that_diverge_judge_an_iterate_and_a_trial_as_the_worst(place, monkeypatch):
    def diverge(*_: object) -> None:
        raise DivergedError("the loss became nan")

    monkeypatch.setattr(protocol, "_trained", diverge)
    settings, root = place
    judged = ("distill.validation={every: 2, seeds: 2, epochs: 5}", "distill.seed=7")
    made = distilled(place, *judged)[1]
    assert (made.facts["validation_accuracy"], made.facts["iteration"]) == (0.0, 2)
    context = commands.context(str(settings), commands.Request((*FEW, *judged), str(root), "inline"))
    found = pipeline.run(context, "distill").identities
    history = stored.load_history(context.folder(found["distill"]), 4)
    assert [row.get("validation_diverged") for row in history] == [None, 2, None, 2]
    begun = TrialRecord(0, {}, "running")
    trial = judgement.judge(context.config, Inputs(context.location, found["data"]), found["distill"], begun, 4)
    assert (trial.state, trial.value, trial.values) == ("finished", 0.0, (0.0, 0.0, 0.0))
    assert trial.reason == "3 of 3 networks diverged on its set, which counts as 0 %"


def test_the_validation_split_is_preprocessed_once_however_often_iterates_are_judged(place, monkeypatch):
    asked, made = list[str](), Dataset.split

    def spy(self: Dataset, name: str, *rest: Any) -> Any:
        asked.append(name)
        return made(self, name, *rest)

    monkeypatch.setattr(Dataset, "split", spy)
    distilled(place, "distill.validation={every: 1, seeds: 2, epochs: 1}", "distill.seed=8")
    assert asked.count("validation") == 1
