"""The nearest real samples: against distances written out, copies found, and the same however few are held at once."""

import pytest
import torch

from padray.config import DataSettings
from padray.data.datasets import Dataset
from padray.data.whitening import Preprocessing, fit
from padray.report import nearest
from padray.report.real import nearest_info
from padray.synthetic.set import Learned, SyntheticSet


def test_the_nearest_is_the_nearest_by_distances_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(1)
    real, own = torch.rand(40, 7, generator=draw), torch.rand(5, 7, generator=draw)
    own[3] = real[11]
    rows = torch.arange(2, 40)
    expected = (own.double()[:, None] - real.double()[rows]).square().mean(dim=2).sqrt()
    whole = nearest.nearest(own, rows, lambda at: real[at])
    asked: list[int] = []

    def few(at: torch.Tensor) -> torch.Tensor:
        asked.append(len(at))
        return real[at]

    monkeypatch.setattr(nearest, "_CHUNK", 4 * (3 * 5 + 2 * 7) * 3)
    parts = nearest.nearest(own, rows, few)
    for found, distances in (whole, parts):
        assert found.tolist() == rows[expected.argmin(dim=1)].tolist() and found[3] == 11
        assert torch.allclose(distances, expected.min(dim=1).values, atol=1e-9) and distances[3] == 0
    assert max(asked) == 5 and asked.count(3) == 12, "three candidates at a time, then the five pairs"


def test_a_sample_is_not_its_own_neighbour() -> None:
    real = torch.tensor([[0.0], [1.0], [5.0]])
    found, distances = nearest.nearest(real, torch.arange(3), lambda at: real[at], torch.arange(3))
    assert found.tolist() == [1, 0, 1] and distances.tolist() == [1.0, 1.0, 4.0]


def dataset(content: str) -> tuple[Dataset, SyntheticSet]:
    """Two classes of ten training samples each; the set's second sample is a copy of training sample 7."""
    draw = torch.Generator().manual_seed(2)
    shape, kind = ((1, 4, 4), "zca") if content == "image" else ((3, 1, 1), "normalize")
    images = torch.rand(25, *shape, generator=draw) * 255
    images = images.to(torch.uint8) if content == "image" else images
    splits = {
        name: torch.arange(*at) for name, at in {"train": (0, 20), "validation": (20, 22), "test": (22, 25)}.items()
    }
    fitted: Preprocessing = fit(DataSettings(preprocessing=kind), images, content, splits["train"])
    data = Dataset.of(images, torch.arange(25) % 2, ("no", "yes"), splits, fitted)
    learned = data.samples(torch.tensor([4, 7]))[0].clone()
    learned[0] += 1.0
    facts = {"class_names": ["no", "yes"]}
    return data, SyntheticSet(Learned(learned, torch.eye(2)), fitted, facts)


@pytest.mark.parametrize("content", ["image", "table"])
def test_a_copy_of_somebody_s_sample_is_found_in_any_space(content: str) -> None:
    data, synthetic = dataset(content)
    found = nearest_info(synthetic, data, "image")
    assert found.rows[1] == 7 and found.distances[1] < 1e-3 < found.distances[0]
    assert (found.yardstick > 0.01).all(), "a real sample is not its own neighbour"
    assert "1 of the distilled images comes nearer to a real one than any of these to another" in found.caption
    assert ("pixels" if content == "image" else "standard deviations") in found.caption.replace("black", "pixels")
    assert found.closest == [0, 1]


def test_who_asks_about_too_many_asks_about_the_first_of_each_class() -> None:
    assert nearest.asked_about(10, 50, 1000, 64).tolist() == list(range(500))
    assert nearest.asked_about(10, 50, 50_000_000, 3072).tolist() == [50 * k for k in range(10)]
