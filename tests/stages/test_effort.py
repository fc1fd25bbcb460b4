"""What a set takes in forward passes, counted by hand."""

from padray.configuration import loading
from padray.stages.effort import effort_of
from padray.stages.facts import DatasetFacts, Splits

FACTS = DatasetFacts(("a", "b"), (1, 8, 8), Splits(200, 20, 50), (100, 100))


def effort(preset: str, *overrides: str):
    return effort_of(loading.load(preset, overrides).config, FACTS)


def test_matching_trajectories_takes_its_experts_and_two_derivatives_a_student_s_step():
    own = ("distill.iterations=10", "distill.student_steps=4", "distill.batch=2", "distill.trajectories=3")
    plain = ("experts.count=5", "experts.epochs=20", "schedule.initial_ratio=1", "schedule.addition_end_epoch=0")
    found = effort("digits-ipc1", *own, *plain, "schedule.easy_removal=[]", "distill.init=noise", "experts.rho=0")
    assert found.experts == 3 * 5 * 20 * 200
    looks = 5 * 0  # a start from noise looks at nothing
    assert found.distillation == 10 * 3 * 4 * 2 * (3 + 9) + looks
    assert effort("digits-ipc1", *own, *plain, "experts.rho=0.01").experts == 2 * 3 * 5 * 20 * 200


def test_experts_count_what_their_schedule_shows_them():
    half = effort("digits-ipc1", "experts.rho=0", "schedule.initial_ratio=0.5", "schedule.addition_end_epoch=19")
    whole = effort("digits-ipc1", "experts.rho=0", "schedule.initial_ratio=1.0", "schedule.addition_end_epoch=0")
    assert 0.6 < half.experts / whole.experts < 0.95
    assert half.scores > 0


def test_matching_distributions_takes_no_experts():
    found = effort("dm-digits-ipc1", "distill.iterations=10", "distill.real_batch=64", "distill.ipc=3")
    assert found.scores == found.experts == 0
    assert found.total == 10 * 2 * (64 + 2 * 3)


def test_matching_gradients_takes_both_gradients_and_the_training_between_steps():
    own = ("distill.iterations=10", "distill.outer_steps=5", "distill.inner.epochs=3", "distill.real_batch=64")
    found = effort("dc-digits-ipc1", *own, "distill.ipc=2")
    assert found.scores == found.experts == 0
    assert found.total == 10 * 2 * (3 * 64 + 9 * 2) + 3 * 8 * 3 * (2 * 2)
