"""Experts as they lie in storage: thinned ones, those with running statistics, sharpness, the schedule, resuming."""

import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from padray.commandline import commands
from padray.data.datasets import Dataset
from padray.draws import seed_for
from padray.errors import InputError
from padray.experts import sharpness, training
from padray.experts.training import Draws, Recipe, Samples, logits_of, train
from padray.networks import factory
from padray.networks.flat import FlatNetwork
from padray.stages import pipeline, stored
from padray.stages.base import Context
from padray.stages.pipeline import Outcome
from padray.store import shards
from padray.store.artifacts import Folder

SMALL = (
    "data.limit_per_class=12",
    "schedule.initial_ratio=1.0",
    "schedule.easy_removal=[]",
    "experts.count=2",
    "distill.validation.seeds=0",
)
BATCH_NORM = (*SMALL, "network.norm=batch", "experts.epochs=5")


def run(tiny: Path, root: Path, *overrides: str, until: str = "experts") -> tuple[Context, Outcome]:
    context = commands.context(str(tiny), commands.Request(overrides, str(root), "inline"))
    return context, pipeline.run(context, until)


def opened(done: tuple[Context, Outcome]) -> tuple[Folder, list]:
    """The experts' folder and their shards."""
    folder = done[0].folder(done[1].identities["experts"])
    return folder, list(folder.require().objects)


def snapshots(done: tuple[Context, Outcome], epochs: list[int], expert: int = 0) -> torch.Tensor:
    folder, items = opened(done)
    return torch.stack([shards.read_row(folder, items[expert], shards.row_of(items[expert], e)) for e in epochs])


def dataset_of(done: tuple[Context, Outcome]) -> Dataset:
    return stored.load_dataset(done[0].folder(done[1].identities["data"]))


def the_set(root: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(next(root.rglob("set-*.safetensors")))


# -- thinned trajectories


def test_kept_snapshots_are_those_of_the_whole_trajectory_and_distil_the_same(tiny, tmp_path):
    changes = (*SMALL, "distill.iterations=4", "distill.windows.start=3", "distill.windows.max_start=3")
    whole = run(tiny, tmp_path / "whole", *changes, until="distill")
    thinned = run(tiny, tmp_path / "thinned", *changes, "experts.keep_epochs=[0, 3]", until="distill")
    items = opened(thinned)[1]
    assert [shards.rows_of(item).epochs for item in items] == [(0, 1, 2, 3, 6)] * 2
    assert torch.equal(snapshots(thinned, [0, 1, 2, 3, 6]), snapshots(whole, [0, 1, 2, 3, 6]))
    assert items[0].size < opened(whole)[1][0].size
    with pytest.raises(InputError, match=r"does not keep the snapshot of epoch 5: change experts\.keep_epochs"):
        shards.row_of(items[0], 5)
    assert thinned[1].identities["experts"] != whole[1].identities["experts"]
    ours, theirs = the_set(tmp_path / "thinned"), the_set(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in ("images", "labels", "lr"))


def test_without_the_first_epochs_each_is_found_in_its_place(tiny, tmp_path):
    window = ("distill.windows.min_start=2", "distill.windows.start=3")
    whole, late = (run(tiny, tmp_path / k, *SMALL, *window, f"experts.keep_epochs={k}") for k in ("null", "[2,5]"))
    assert torch.equal(snapshots(late, [2, 5, 6, -1]), snapshots(whole, [2, 5, 6, -1]))


# -- batch norm


@pytest.fixture
def normed(tiny, tmp_path) -> tuple[Context, Outcome]:
    """Two experts with batch norm, and the set that one iteration without any movement leaves: its start."""
    still = ("distill.lr_images=0", "distill.labels.lr=0", "distill.lr_student_lr=0", "distill.iterations=1")
    return run(tiny, tmp_path / "runs", *BATCH_NORM, *still, until="distill")


def trained_again(done: tuple[Context, Outcome], expert: int) -> torch.nn.Module:
    """The expert's module, made by the same training without any storage."""
    config, dataset, unit = done[0].config, dataset_of(done), f"expert-{expert:04d}"
    module = factory.build(config.network, dataset.shape, dataset.classes, seed_for(0, "experts", unit, "network"))
    settings = config.experts
    recipe = Recipe(settings.epochs, settings.batch, settings.lr, 0, 0, settings.augment)
    list(train(module, Samples(*dataset.split("train")), recipe, Draws(0, "experts", unit)))
    return module


def test_an_end_and_its_buffers_are_the_trained_module(normed):
    folder, items = opened(normed)
    images, _ = dataset_of(normed).split("train")
    for k, item in enumerate(items):
        module, buffers = trained_again(normed, k), shards.read_buffers(folder, item, -1)
        assert {name: value.tolist() for name, value in buffers.items()} == {
            name: value.tolist() for name, value in module.named_buffers()
        }
        fresh = FlatNetwork(factory.build(normed[0].config.network, (1, 8, 8), 10, 0))
        fresh.module.eval()
        theta = shards.read_row(folder, item, -1)
        assert torch.equal(fresh(theta, images, buffers), logits_of(module, images))
        assert not torch.allclose(fresh(theta, images), logits_of(module, images), atol=0.1)


def test_buffers_are_those_of_their_epoch(normed):
    folder, items = opened(normed)
    counts = [
        int(shards.read_buffers(folder, items[0], epoch)["features.norm0.num_batches_tracked"]) for epoch in (0, 2, 5)
    ]
    steps = math.ceil(len(dataset_of(normed).splits["train"]) / 64)
    assert counts == [0, 2 * steps, 5 * steps]


def test_a_set_starts_from_what_the_experts_say_with_their_own_statistics(normed):
    modules, start = (
        [trained_again(normed, k) for k in range(2)],
        the_set(normed[0].folder(normed[1].identities["distill"]).location.root),
    )
    votes = torch.stack([logits_of(module, start["images"]) for module in modules])
    classes = torch.arange(10)
    right = votes.argmax(dim=2) == classes
    supported = right.any(dim=0)
    expected = (votes * right[:, :, None]).sum(dim=0)[supported] / right.sum(dim=0)[supported, None]
    torch.testing.assert_close(start["labels"][supported], expected, rtol=1e-5, atol=1e-5)
    images, labels = dataset_of(normed).split("train")
    known = torch.stack([logits_of(module, images).argmax(dim=1) == labels for module in modules]).any(dim=0)
    possible = torch.tensor([bool(known[labels == label].any()) for label in classes])
    assert torch.equal(supported, possible) and int(possible.sum()) >= 3, "an image that an expert knows comes first"
    fresh = torch.stack([logits_of(with_fresh_statistics(module), start["images"]) for module in modules])
    assert not torch.equal((fresh.argmax(dim=2) == classes).any(dim=0), supported), "the statistics matter here"


def with_fresh_statistics(module: torch.nn.Module) -> torch.nn.Module:
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
    return module


def test_experts_stored_without_statistics_are_refused(tiny, tmp_path, monkeypatch):
    encode = shards.encode
    monkeypatch.setattr(shards, "encode", lambda theta, facts, epochs, buffers: encode(theta, facts))
    with pytest.raises(InputError, match="lacks its networks' running statistics: start again with --fresh"):
        run(tiny, tmp_path / "runs", *BATCH_NORM, until="distill")


# -- sharpness and the schedule


def test_rho_alpha_and_adaptive_change_the_experts_and_without_rho_nothing_does(tiny, tmp_path):
    kinds = ["rho=0", "rho=0.5", "gsam_alpha=0.0", "adaptive=false"]
    ends = []
    for place, kind in enumerate(kinds):
        sharp = ("experts.rho=0.5",) if place > 1 else ()
        done = run(tiny, tmp_path / kind, *SMALL, "experts.count=1", *sharp, f"experts.{kind}")
        ends.append(snapshots(done, [-1]))
    assert all(not torch.allclose(end, other, atol=1e-5) for k, end in enumerate(ends) for other in ends[:k])
    plain = run(tiny, tmp_path / "plain", *SMALL, "experts.count=1", "experts.gsam_alpha=0.0", "experts.adaptive=false")
    assert torch.equal(snapshots(plain, [-1]), ends[0])


SIZES = {"a": 31, "b": 13, "c": 6}


@pytest.fixture
def unequal(tmp_path: Path) -> Path:
    """Image files of three classes of unequal sizes."""
    draw = np.random.default_rng(0)
    for part, sizes in (("train", SIZES), ("test", dict.fromkeys(SIZES, 2))):
        for name, count in sizes.items():
            folder = tmp_path / "files" / part / name
            folder.mkdir(parents=True)
            for k in range(count):
                Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{k:02d}.png")
    return tmp_path / "files"


def test_steps_follow_the_schedule_of_unequal_classes_with_sharpness(tiny, tmp_path, unequal, monkeypatch):
    sizes, turned = [], []
    epoch, direction = training._train_epoch, sharpness.direction
    monkeypatch.setattr(training, "_train_epoch", lambda *a: sizes.append(len(a[2])) or turned.append(0) or epoch(*a))

    def counted(*parts):
        turned[-1] += 1
        return direction(*parts)

    monkeypatch.setattr(sharpness, "direction", counted)
    shown = (
        "data.dataset=pets",
        f"data.path={unequal}",
        "data.limit_per_class=null",
        "data.validation=0",
        "scores.networks=1",
        "experts.count=1",
        "experts.batch=8",
        "experts.rho=0.01",
        "schedule.initial_ratio=0.5",
        "schedule.addition_end_epoch=2",
        "schedule.easy_removal=[[4, 0.2]]",
        "distill.validation.seeds=0",
        "distill.iterations=2",
    )
    _, outcome = run(tiny, tmp_path / "runs", *shown, until="distill")
    shares = [0.5, 0.75, 1, 1, 0.8, 0.8]
    expected = [
        sum(math.floor(n * p + 1e-9) if p >= 0.5 and e < 4 else n - math.floor(n * 0.2) for n in SIZES.values())
        for e, p in enumerate(shares)
    ]
    assert expected == [24, 36, 50, 50, 41, 41]
    assert sizes[-6:] == expected  # after those of the scoring network
    assert turned[-6:] == [math.ceil(n / 8) for n in expected]
    assert not any(turned[:-6]), "scoring networks descend plainly"
    assert outcome.set_digest


# -- resuming


def test_resuming_reads_each_shard_whole_once(tiny, tmp_path, monkeypatch):
    done = run(tiny, tmp_path / "runs", *SMALL)
    folder, items = opened(done)
    before = folder.require()
    (folder.location.root / folder.path / "manifest.json").unlink()
    proven, prove = [], Folder._proven
    monkeypatch.setattr(Folder, "_proven", lambda self, key, size: proven.append(key) or prove(self, key, size))
    again = run(tiny, tmp_path / "runs", *SMALL)
    assert sorted(key for key in proven if "expert-" in key) == [item.key for item in items]
    assert folder.require().objects == before.objects
    assert torch.equal(snapshots(again, [3]), snapshots(done, [3]))
