"""Settings check themselves: types, ranges, and what must fit together."""

import pytest
from pydantic import ValidationError

from padray.config import Config, EvaluationSettings, NetworkSettings, ScheduleSettings, ScoreSettings


def config(**sections) -> Config:
    return Config.model_validate(sections)


def refused(text: str, **sections) -> None:
    with pytest.raises(ValidationError, match=text):
        config(**sections)


def test_a_config_without_settings_is_complete():
    assert Config().distill.student_steps == 80 and Config() == config()


@pytest.mark.parametrize("target", [Config(), Config().distill, Config().distill.windows, Config().network])
def test_settings_cannot_be_changed_after_they_were_checked(target):
    name = next(iter(type(target).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(target, name, getattr(target, name))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("section, key", [("distill", "lr_images"), ("experts", "lr"), ("data", "validation")])
def test_numbers_are_finite(section, key, value):
    refused("finite|greater|less", **{section: {key: value}})


@pytest.mark.parametrize(
    "section, key, value",
    [
        ("distill", "ipc", 0),
        ("distill", "ipc", "1"),
        ("distill", "ipc", True),
        ("distill", "ipc", 1.0),
        ("distill", "momentum_images", 1.0),
        ("distill", "student_lr", 0.0),
        ("distill", "init", "mean"),
        ("distill", "augment", "spin"),
        ("distill", "augment", "none_crop"),
        ("distill", "augment", None),
        ("data", "validation", 0.6),
        ("data", "dataset", "../x"),
        ("data", "std", (0.0,)),
        ("schedule", "initial_ratio", 0.0),
        ("experts", "count", 0),
        ("compute", "device", "tpu"),
        ("network", "name", "transformer"),
        ("network", "name", ["convnet"]),
        ("network", "depth", 6),
    ],
)
def test_wrong_types_and_ranges_are_refused(section, key, value):
    with pytest.raises(ValidationError):
        config(**{section: {key: value}})


@pytest.mark.parametrize("name, width, depth", [("convnet", 128, 3), ("mlp", 128, 2), ("vgg11", 64, None)])
def test_a_width_or_depth_left_out_is_the_usual_one(name, width, depth):
    left_out = NetworkSettings(name=name)
    assert (left_out.width, left_out.depth) == (width, depth)
    assert left_out == NetworkSettings(name=name, width=width, depth=depth) == NetworkSettings(name=name, width=None)


@pytest.mark.parametrize("name, key", [("lenet", "width"), ("alexnet", "depth"), ("resnet18", "depth")])
def test_a_choice_that_a_network_does_not_have_is_refused(name, key):
    with pytest.raises(ValidationError, match=f"{name} has no {key}"):
        NetworkSettings.model_validate({"name": name, key: 2})


@pytest.mark.parametrize(
    "settings, label",
    [
        ({}, "convnet3w128"),
        ({"width": 32, "depth": 2}, "convnet2w32"),
        ({"name": "lenet"}, "lenet"),
        ({"name": "resnet18"}, "resnet18"),
        ({"name": "resnet18", "width": 16}, "resnet18w16"),
        ({"norm": "batch", "pooling": "max"}, "convnet3w128-batch-maxpool"),
    ],
)
def test_labels_tell_networks_apart(settings, label):
    assert NetworkSettings.model_validate(settings).label == label


@pytest.mark.parametrize("written", ["lenet", {"name": "lenet"}])
def test_a_network_may_be_written_as_its_name(written):
    found = config(network=written, scores={"network": written}, evaluation={"architectures": (written,)})
    assert found.network == found.scores.network == found.evaluation.architectures[0] == NetworkSettings(name="lenet")


def test_a_misspelt_schedule_is_told_the_names_there_are():
    with pytest.raises(ValidationError, match="one of paper, script"):
        ScheduleSettings(easy_removal="scirpt")


def test_a_window_beyond_the_experts_epochs_is_refused_and_the_last_possible_one_is_not():
    experts, windows = {"epochs": 10}, {"min_start": 0, "start": 5, "max_start": 9}
    config(experts=experts, distill={"windows": windows, "expert_epochs": 2})  # 8 + 2 is the last snapshot
    refused(
        "reaches epoch 11, but experts.epochs is 10", experts=experts, distill={"windows": {**windows, "max_start": 10}}
    )


@pytest.mark.parametrize("windows", [(5, 5, 10), (0, 10, 9), (11, 10, 10)])
def test_windows_are_in_order(windows):
    names = ("min_start", "start", "max_start")
    refused("min_start < start <= max_start", distill={"windows": dict(zip(names, windows, strict=True))})


def test_a_ratio_without_a_strategy_that_uses_it_is_refused():
    refused("needs distill.selection.strategy", distill={"selection": {"strategy": "none", "alpha": 0.25}})


@pytest.mark.parametrize("removal", [((5, 0.1), (5, 0.2)), ((9, 0.1), (5, 0.2))])
def test_removals_start_in_rising_order(removal):
    with pytest.raises(ValidationError, match="rising order"):
        ScheduleSettings(easy_removal=removal)


@pytest.mark.parametrize(
    "settings, needed",
    [
        ({}, False),
        ({"initial_ratio": 0.75, "addition_end_epoch": 0}, False),
        ({"initial_ratio": 0.75, "addition_end_epoch": 5}, True),
        ({"easy_removal": ((10, 0.0),)}, False),
        ({"easy_removal": ((10, 0.1),)}, True),
    ],
)
def test_scores_are_needed_where_a_sample_is_left_out(settings, needed):
    assert ScheduleSettings(**settings).needs_scores is needed


def test_a_stage_has_its_own_seed_or_the_common_one():
    found = config(seed=3, experts={"seed": 0}, distill={"seed": 9})
    assert [found.seed_of(stage) for stage in ("scores", "experts", "distill", "evaluation")] == [3, 0, 9, 3]


def test_settings_of_counts_are_settings():
    """A name in UNITS that is no setting would silently leave a count in the fingerprint."""
    for section in (*(type(getattr(Config(), name)) for name in Config.model_fields if name != "seed"), ScoreSettings):
        assert set(section.UNITS) <= set(section.model_fields), section.__name__
    assert "seeds" in EvaluationSettings.UNITS


@pytest.mark.parametrize(
    "settings",
    [
        {"experts": {"count": 10**12}},
        {"experts": {"epochs": 10**9}},
        {"scores": {"networks": 10**9}},
        {"evaluation": {"seeds": 10**9}},
        {"evaluation": {"epochs": 10**9}},
        {"evaluation": {"architectures": ("mlp",) * 1000}},
        {"evaluation": {"controls": {"lrs": (0.1,) * 1000}}},
        {"evaluation": {"controls": {"tuning_seeds": 10**9}}},
        {"search": {"trials": 10**9}},
        {"search": {"seeds": 10**9}},
        {"distill": {"iterations": 10**6}},
        {"distill": {"trajectories": 10**6}},
        {"distill": {"windows": {"max_start": 10**9}}},
        {"network": {"width": 10**9}},
        {"network": {"depth": 10**12}},
        {"compute": {"threads": 10**6}},
        {"cluster": {"workers": (1, 10**9)}},
        {"storage": {"cache_gb": 1e300}},
    ],
)
def test_counts_that_nobody_could_make_are_refused(settings):
    refused("less than or equal to|at most", **settings)


def test_networks_of_one_control_are_counted_together():
    """Each number alone is in order, and together they would be more cells than anything could list."""
    evaluation = {"seeds": 5000, "architectures": ("mlp", "lenet", "vgg11", "alexnet")}
    refused(r"1 \+ 4 architectures.* 25,040 networks.* 20,000 are the most", evaluation=evaluation)


@pytest.mark.parametrize("place", ["", "a\0b", "x" * 5000])
@pytest.mark.parametrize("section, key", [("data", "path"), ("storage", "root"), ("storage", "cache")])
def test_no_place_is_called_so(section, key, place):
    refused(f"{section}.{key}", **{section: {key: place}})


def test_workers_are_fewest_and_most():
    refused(r"workers is \[fewest, most\] \(got \[2, 1\]\)", cluster={"workers": (2, 1)})
    assert config(cluster={"workers": (2, 2)}).cluster.most_workers == 2


@pytest.mark.parametrize("kept, fits", [((0, 3), False), ((2, 9), False), ((0, 5), True), ((0, 4), True), (None, True)])
def test_experts_keep_the_epochs_of_the_windows(kept, fits):
    sections = {
        "experts": {"epochs": 5, "keep_epochs": kept},
        "distill": {"windows": {"start": 3, "max_start": 4}, "expert_epochs": 2},
    }
    if fits:
        assert config(**sections).experts.keep_epochs == kept
    else:
        refused("keep_epochs", **sections)
