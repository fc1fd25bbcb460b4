"""Fingerprints: the same meaning is found again for ever, another meaning never mixes in.

After a preset was added, or a recipe changed on purpose, this prints the new `PINNED`:

    .venv/bin/python -c "import runpy, pprint; pprint.pp(runpy.run_path('tests/test_fingerprint.py')['folders']())"

Those of the papers' presets and of the studies' bases are in pinned_folders.json; `['pin']()` writes that file.
"""

import json
from pathlib import Path

import pytest

from padray import fingerprint
from padray.config import Config
from padray.configuration import loading
from padray.data.sources import source_digest
from padray.fingerprint import Identity
from padray.methods.trajectory.settings import TrajectorySettings
from padray.stages import evaluate

PINNED_FOLDERS = Path(__file__).with_name("pinned_folders.json")
FAKE_DIGEST = "0" * 64  # in place of that of files, which are not here
PINNED = {
    "cifar10-narrow-ipc1": {
        "data": "datasets/cifar10-2424599227af",
        "distill": "distilled/cifar10-convnet3w32-ipc1-6bedd006688c",
        "evaluate distilled": "evaluations/distilled-cifar10-convnet3w32-ipc1-c2b7e816f9e0",
        "evaluate random": "evaluations/random-cifar10-ipc1-dc386c5339b6",
        "experts": "experts/cifar10-convnet3w32-777d700c1c6a",
    },
    "demo": {
        "data": "datasets/digits-bbd2e1bc13d8",
        "distill": "distilled/digits-convnet2w16-ipc1-39f39e7f2a27",
        "evaluate distilled": "evaluations/distilled-digits-convnet2w16-ipc1-5b272fd7058f",
        "evaluate random": "evaluations/random-digits-ipc1-1156cc27d8c6",
        "experts": "experts/digits-convnet2w16-6505b6b9b626",
        "scores": "scores/digits-convnet2w16-fe9516ae968d",
    },
    "digits-ipc1": {
        "data": "datasets/digits-bbd2e1bc13d8",
        "distill": "distilled/digits-convnet2w32-ipc1-62316766437a",
        "evaluate distilled": "evaluations/distilled-digits-convnet2w32-ipc1-9ac2736638b7",
        "evaluate random": "evaluations/random-digits-ipc1-98a14eba6dc2",
        "experts": "experts/digits-convnet2w32-e7736b9018f1",
    },
    "digits-ipc10": {
        "data": "datasets/digits-13f123d30761",
        "distill": "distilled/digits-convnet2w32-ipc10-37b989be07a0",
        "evaluate distilled": "evaluations/distilled-digits-convnet2w32-ipc10-53b8cc5b7a6b",
        "evaluate full": "evaluations/full-digits-c53e24d6c5bb",
        "evaluate random": "evaluations/random-digits-ipc10-f693d6c863e5",
        "experts": "experts/digits-convnet2w32-d2d3799ac94e",
    },
}
SPELT_OUT = frozenset(PINNED)
PINNED |= json.loads(PINNED_FOLDERS.read_text()) if PINNED_FOLDERS.is_file() else {}


def identities(config: Config, digest: str = FAKE_DIGEST) -> dict[str, Identity]:
    """Every stage's identity, the evaluation's for each source."""
    chain = fingerprint.chain(config, digest)
    cells = evaluate.identities(config, chain["data"], chain["distill"])
    return chain | {f"evaluate {source}": identity for source, identity in cells.items()}


def folders() -> dict[str, dict[str, str]]:
    """The folders of all presets."""
    found = {}
    for name in loading.preset_names():
        config = loading.load(name).config
        built_in = config.data.dataset == "digits" and config.data.path is None
        digest = source_digest(config.data) if built_in else FAKE_DIGEST
        found[name] = {stage: identity.folder for stage, identity in identities(config, digest).items()}
    return found


def pin() -> None:
    """Pin the presets that are not spelt out here."""
    others = {name: found for name, found in folders().items() if name not in SPELT_OUT}
    PINNED_FOLDERS.write_text(json.dumps(others, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("name", loading.preset_names())
def test_the_folders_of_a_preset_never_change(name):
    assert name in PINNED, f"preset {name} has no pinned folders: see the top of {__file__}"
    assert folders()[name] == PINNED[name]


def test_every_pinned_preset_is_still_there():
    assert set(PINNED) <= set(loading.preset_names())


# -- what a fingerprint means

BASE = ("schedule.initial_ratio=0.75", "schedule.addition_end_epoch=5")  # so that scores take part
ALL = {"data", "scores", "experts", "distill", "evaluate distilled", "evaluate random"}
FROM_SCORES = ALL - {"data"}
FROM_EXPERTS = {"experts", "distill", "evaluate distilled"}
FROM_DISTILL = {"distill", "evaluate distilled"}
EVALUATE = {"evaluate distilled", "evaluate random"}


def changed(*overrides: str, base: tuple[str, ...] = BASE) -> set[str]:
    """The stages whose fingerprint differs once `overrides` are added."""
    before = identities(loading.load("digits-ipc1", base).config)
    after = identities(loading.load("digits-ipc1", base + overrides).config)
    shared = before.keys() & after.keys()
    return {stage for stage in shared if before[stage].fingerprint != after[stage].fingerprint}


@pytest.mark.parametrize(
    "override, stages",
    [
        ("data.limit_per_class=50", ALL),
        ("data.validation=0.2", ALL),
        ("data.split_seed=1", ALL),
        ("data.preprocessing=zca", ALL),
        ("scores.epochs=3", FROM_EXPERTS | {"scores"}),
        ("scores.network={name: mlp}", FROM_EXPERTS | {"scores"}),
        ("scores.seed=1", FROM_EXPERTS | {"scores"}),
        ("schedule.initial_ratio=0.5", FROM_EXPERTS),
        ("schedule.easy_removal=[[20, 0.1]]", FROM_EXPERTS),
        ("network.width=16", FROM_EXPERTS),
        ("network.norm=batch", FROM_EXPERTS),
        ("experts.lr=0.02", FROM_EXPERTS),
        ("experts.epochs=60", FROM_EXPERTS),
        ("experts.seed=1", FROM_EXPERTS),
        ("distill.ipc=2", FROM_DISTILL | EVALUATE),
        ("distill.lr_images=4", FROM_DISTILL),
        ("distill.windows.max_start=12", FROM_DISTILL),
        ("distill.selection.alpha=0.25", FROM_DISTILL),
        ("distill.importance.enabled=true", FROM_DISTILL),
        ("distill.labels.kind=hard", FROM_DISTILL),
        ("distill.validation.every=50", FROM_DISTILL),
        ("distill.seed=1", FROM_DISTILL),
        ("evaluation.epochs=100", EVALUATE),
        ("evaluation.seed=1", EVALUATE),
        ("evaluation.metric=balanced_accuracy", FROM_DISTILL),
        ("evaluation.protocol=rded-kd", EVALUATE),
        ("evaluation.protocol=dc300", EVALUATE),
        ("evaluation.protocol=idc", EVALUATE),
        ("evaluation.teacher.temperature=4", set()),
        ("distill.student_length=nearest", FROM_DISTILL),
        ("compute.precision=float64", FROM_SCORES),
        ("seed=1", FROM_SCORES),
    ],
)
def test_a_setting_changes_its_stage_and_those_below_it_alone(override, stages):
    assert changed(override) == stages


@pytest.mark.parametrize("override", ["batch=64", "momentum=0.5", "weight_decay=0", "augment=flip"])
def test_the_protocol_that_judges_iterates_is_part_of_the_distillation(override):
    """It decides which iterate becomes the set."""
    assert changed(f"evaluation.{override}") == FROM_DISTILL | EVALUATE
    assert changed(f"evaluation.{override}", base=(*BASE, "distill.validation.seeds=0")) == EVALUATE


def test_a_protocol_means_its_values_and_not_its_name():
    """So each has folders of its own, and what is set by hand to the same is the same."""
    names = ("tm1001", "dc300", "dsa1000", "idc", "rded-kd", "deepcore")
    base = ("evaluation.epochs=null", "evaluation.augment=null", "distill.validation.seeds=0")

    def place(*overrides: str) -> str:
        return identities(loading.load("digits-ipc1", base + overrides).config)["evaluate distilled"].fingerprint

    assert len({place(f"evaluation.protocol={name}") for name in names}) == 6
    assert place("evaluation.protocol=dsa1000") == place("evaluation.batch=256")
    assert place("evaluation.protocol=dsa1000", "evaluation.batch=128") == place()
    assert place("evaluation.protocol=deepcore", "evaluation.lr=0.1") != place("evaluation.protocol=deepcore")


def test_an_lr_that_is_chosen_for_the_set_in_the_end_changes_its_evaluation_alone():
    plain, chosen = (identities(loading.load("dm-digits-ipc1", own).config) for own in ((), ("evaluation.lr=chosen",)))
    assert {name for name in plain if plain[name] != chosen[name]} == {"evaluate distilled"}


def test_training_twice_over_is_the_sets_alone():
    base = (*BASE, "distill.ema_decay=0.9")
    assert changed("evaluation.double_training=true", base=base) == {"evaluate distilled"}


@pytest.mark.parametrize(
    "override",
    ["scores.epochs=3", "scores.networks=3", "schedule.initial_ratio=0.5", "schedule.easy_removal=[[3, 0.0]]"],
)
def test_scores_that_are_not_used_mean_nothing(override):
    base = ("schedule.initial_ratio=1.0",)
    assert changed(override, base=base) == set()


@pytest.mark.parametrize(
    "override, stages",
    [
        ("scores.networks=11", FROM_EXPERTS),
        ("experts.count=11", FROM_DISTILL),
        ("distill.iterations=500", {"evaluate distilled"}),
        ("distill.checkpoint_seconds=7", set()),
        ("evaluation.seeds=9", set()),
        ("evaluation.architectures=[lenet]", set()),
        ("evaluation.controls={lrs: [0.5], tuning_seeds: 1, full: true}", set()),
    ],
)
def test_a_count_never_changes_the_folder_that_it_fills_but_what_was_made_of_it(override, stages):
    assert changed(override) == stages


@pytest.mark.parametrize(
    "override",
    [
        "compute.device=cpu",
        "compute.threads=2",
        "compute.memory_budget=2",
        "compute.tf32=true",
        "compute.deterministic=true",
        "storage.root=/elsewhere",
        "data.path=/elsewhere",
    ],
)
def test_where_and_on_what_it_runs_means_nothing(override):
    assert changed(override) == set()


@pytest.mark.parametrize("stage", ["scores", "experts", "distill", "evaluation"])
def test_a_stages_own_seed_means_nothing_where_it_equals_the_common_one(stage):
    assert changed(f"{stage}.seed=1", base=(*BASE, "seed=1")) == set()
    assert changed(f"{stage}.seed=0", base=(*BASE, "seed=1")) == changed(f"{stage}.seed=1") != set()


def test_defaults_that_are_written_out_change_nothing(tmp_path):
    config = loading.load("digits-ipc1", BASE).config
    path = tmp_path / "all.yaml"
    path.write_text(config.model_dump_json())
    assert identities(loading.load(str(path)).config) == identities(config)


def test_a_setting_that_a_later_version_adds_changes_no_old_fingerprint():
    class Later(TrajectorySettings):
        temperature: float = 1.0

    old = TrajectorySettings(ipc=3)
    assert fingerprint.meaning(Later(ipc=3)) == fingerprint.meaning(old)
    assert fingerprint.meaning(Later(ipc=3, temperature=2.0)) != fingerprint.meaning(old)


def test_the_source_is_part_of_the_dataset():
    config = loading.load("digits-ipc1", BASE).config
    before, after = identities(config), identities(config, "1" * 64)
    assert all(before[stage].fingerprint != after[stage].fingerprint for stage in before)


def test_a_new_stage_version_is_a_new_meaning(monkeypatch):
    config = loading.load("digits-ipc1").config
    before = identities(config)
    monkeypatch.setitem(fingerprint.STAGE_VERSIONS, "experts", 99)
    after = identities(config)
    assert {s for s in before if before[s].fingerprint != after[s].fingerprint} == FROM_EXPERTS


def test_equal_names_come_from_equal_settings_and_never_from_the_config(tmp_path):
    path = tmp_path / "secret-project.yaml"
    path.write_text("{}")
    assert not any("secret" in identity.folder for identity in identities(loading.load(str(path)).config).values())
    one = identities(loading.load("digits-ipc1", ("distill.lr_images=4",)).config)["distill"]
    assert one.folder == f"distilled/digits-convnet2w32-ipc1-{one.fingerprint[:12]}" and len(one.fingerprint) == 64


def test_a_search_means_how_many_networks_score():
    found = set()
    for networks in (2, 3):
        config = loading.load("demo", (f"scores.networks={networks}",)).config
        found.add(fingerprint.search_identity(config, fingerprint.data_identity(config, "digest")).fingerprint)
    assert len(found) == 2, "its trials would share a folder and not their experts"
