"""Frames: which iterations leave one, the same whatever came between, and that no byte of the set knows of them."""

from pathlib import Path

import pytest
import torch

from padray.configuration import loading
from padray.errors import InputError
from padray.fingerprint import Identity
from padray.report.strip import strip_info
from padray.stages import frames, pipeline, stored
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store.artifacts import Folder
from padray.store.opening import open_location

SHORT = ("experts.count=2", "experts.epochs=5", "evaluation.seeds=1")


def distil(settings: Path, root: Path, *overrides: str) -> Folder:
    config = loading.load(str(settings), (*SHORT, *overrides)).config
    context = Context("tiny", config, open_location(str(root)), InlineRunner())
    identity: Identity = pipeline.run(context, "distill").identities["distill"]
    return context.folder(identity)


def kept(folder: Folder) -> dict[str, str]:
    """The frames and the set that a manifest lists, by their names."""
    items = folder.require().objects
    return {item.stem: item.sha256 for item in items if item.stem.startswith(("frame-", "set-000012"))}


def test_the_first_iterations_have_more_frames_than_later_ones() -> None:
    shown = [iteration for iteration in range(10_001) if frames.is_shown(iteration)]
    assert shown == [0, 10, 30, 100, 300, 1000, 3000, 10_000]


def test_frames_are_the_same_whatever_came_between_and_the_set_does_not_know_of_them(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distil(settings, tmp_path / "whole")
    assert set(kept(whole)) == {"frame-000000", "frame-000010", "set-000012"}
    distil(settings, tmp_path / "parts", "distill.iterations=4")
    assert kept(distil(settings, tmp_path / "parts")) == kept(whole), "a run that goes on leaves what one run leaves"
    monkeypatch.setattr(frames, "is_shown", lambda iteration: False)
    without = kept(distil(settings, tmp_path / "without"))
    assert without == {"set-000012": kept(whole)["set-000012"]}


def test_the_strip_leads_from_the_start_to_the_set(settings: Path, tmp_path: Path) -> None:
    folder = distil(settings, tmp_path, "distill.iterations=30", "distill.validation.seeds=0")
    synthetic, shown = stored.load_set(folder, 30), frames.load(folder, 30, (1, 8, 8))
    assert [iteration for iteration, _ in shown] == [0, 10, 30]
    assert torch.equal(shown[2][1], synthetic.learned.images[:: synthetic.ipc][:10].float())
    assert not torch.equal(shown[0][1], shown[1][1])
    strip = strip_info(synthetic, shown)
    assert strip is not None and strip.iterations == (0, 10, 30), "the last column is the set, and told once"
    assert strip.images.shape[:2] == (10, 3)
    assert strip_info(synthetic, []) is None, "older distillations kept none"
    with pytest.raises(InputError, match=r"frame-000000.* is no frame that padray wrote"):
        frames.load(folder, 30, (1, 9, 9))
