"""How a set starts, and its file."""

from pathlib import Path

import pytest
import torch

from padray.config import DataSettings
from padray.data import whitening
from padray.errors import InputError
from padray.synthetic import set as synthetic
from padray.synthetic import start
from padray.synthetic.set import Learned, SyntheticSet
from padray.synthetic.start import choose_samples, soft_labels

LABELS = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])


def test_samples_are_class_major_distinct_and_of_their_class():
    chosen = choose_samples(LABELS, torch.zeros((0, 8), dtype=torch.bool), 3, seed=0, classes=2)
    assert LABELS[chosen].tolist() == [0, 0, 0, 1, 1, 1]
    assert len(set(chosen.tolist())) == 6


def test_the_first_experts_right_samples_come_first_then_the_second_s_then_any():
    correct = torch.zeros((2, 8), dtype=torch.bool)
    correct[0, [4, 7]] = True
    correct[1, [2, 4]] = True
    for seed in range(5):
        chosen = choose_samples(LABELS, correct, 3, seed=seed, classes=2).tolist()
        assert chosen[:2] == [4, 2]
        assert chosen[2] in (0, 6)
        assert chosen[3] == 7


def test_a_class_that_is_too_small_is_named():
    with pytest.raises(InputError, match="class 0 has only 4"):
        choose_samples(LABELS, torch.zeros((0, 8), dtype=torch.bool), 5, seed=0, classes=2)


def test_soft_labels_average_the_experts_that_are_right():
    logits = torch.tensor([[[2.0, 0.0]], [[4.0, 1.0]], [[0.0, 9.0]]])
    assert soft_labels(logits, torch.tensor([0])).tolist() == [[3.0, 0.5]]


def test_soft_labels_of_a_sample_that_no_expert_gets_right_are_the_mean_of_all():
    nobody_right = torch.tensor([[[0.0, 1.0]], [[0.5, 2.0]]])
    assert soft_labels(nobody_right, torch.tensor([0])).tolist() == [[0.25, 1.5]]


def example(kind: str) -> SyntheticSet:
    images = torch.rand(20, 3, 4, 4)
    preprocessing = whitening.fit(DataSettings(preprocessing=kind), images)
    labels = torch.randn(4, 2)
    return SyntheticSet(Learned(images[:4], labels, torch.tensor(0.1)), preprocessing, {"class_names": ["a", "b"]})


@pytest.mark.parametrize("kind", ["normalize", "zca", "none"])
def test_the_file_round_trips_and_its_bytes_depend_on_the_set_alone(kind):
    made = example(kind)
    content = synthetic.encode(made)
    assert content == synthetic.encode(synthetic.decode(content))
    read = synthetic.decode(content)
    assert torch.equal(read.learned.images, made.learned.images)
    assert read.facts == {"class_names": ["a", "b"]}
    assert torch.equal(read.preprocessing.invert(read.learned.images), made.preprocessing.invert(made.learned.images))
    assert (read.classes, read.ipc) == (2, 2)
    assert read.size_bytes == 4 * (4 * 48 + 4 * 2 + 1)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x80\x04pickle", (2**60).to_bytes(8, "little") + b"{}"])
def test_bytes_that_are_no_set_are_refused_in_a_sentence(content):
    with pytest.raises(InputError, match="not a distilled set"):
        synthetic.decode(content)


def test_a_newer_set_is_refused(monkeypatch):
    monkeypatch.setattr(whitening, "LARGE", 0)
    monkeypatch.setattr(synthetic, "SET_FORMAT", 3)
    content = synthetic.encode(example("zca"))
    monkeypatch.undo()
    with pytest.raises(InputError, match="format 3"):
        synthetic.decode(content)


def test_a_large_preprocessing_is_named_by_its_digest_and_read_when_it_is_needed(monkeypatch):
    """CIFAR-10's two matrices take 75.5 MB, a set of one image per class 0.12 MB."""
    made, asked = example("zca"), []
    whole = len(synthetic.encode(made))
    monkeypatch.setattr(whitening, "LARGE", 1)
    content = synthetic.encode(made)
    assert whole - len(content) > 4 * (48 + 2 * 48**2) - 300

    def find(facts, digest):
        asked.append((facts, digest))
        return made.preprocessing.values

    read = synthetic.decode(content, find)
    assert synthetic.encode(read) == content and read.size_bytes == made.size_bytes and asked == []
    assert torch.equal(read.preprocessing.invert(read.learned.images), made.preprocessing.invert(made.learned.images))
    assert read.preprocessing.tensors().keys() == {"mean", "whiten", "unwhiten"}
    assert asked == [({"class_names": ["a", "b"]}, made.preprocessing.digest)]
    with pytest.raises(InputError, match="cannot be reached from its file alone"):
        synthetic.decode(content).preprocessing.tensors()


def test_a_digest_is_that_of_names_shapes_and_values():
    mean, std = torch.tensor([0.5, 0.25]), torch.tensor([1.0, 2.0])
    digests = {
        whitening.Preprocessing("normalize", values).digest
        for values in ({"mean": mean, "std": std}, {"mean": std, "std": mean}, {"mean": mean[:1], "std": std[:1]})
    }
    assert len(digests) == 3
    assert whitening.Preprocessing("normalize", {"std": std, "mean": mean}).digest in digests


def test_a_set_with_its_matrices_in_it_stays_readable():
    """Written before they were kept with the dataset."""
    content = (Path(__file__).parent / "set-format1-zca.safetensors").read_bytes()
    read = synthetic.decode(content)
    assert read.preprocessing.kind == "zca" and synthetic.encode(read) == content
    pixels = read.preprocessing.invert(read.learned.images)
    assert 0 <= pixels.min() < pixels.max() <= 1
    assert torch.allclose(read.preprocessing.apply(pixels), read.learned.images, atol=1e-4)


def test_noise_is_standard_normal_of_its_own_seed():
    images = start.noise(200, (3, 8, 8), seed=0)
    assert images.shape == (200, 3, 8, 8)
    assert float(images.mean()) == pytest.approx(0, abs=0.02)
    assert float(images.std()) == pytest.approx(1, abs=0.02)
    assert torch.equal(images, start.noise(200, (3, 8, 8), seed=0))
    assert not torch.equal(images, start.noise(200, (3, 8, 8), seed=1))


def test_plain_logits_name_the_class_alone():
    logits = start.plain_logits(torch.tensor([1, 0]), 3)
    assert logits.argmax(dim=1).tolist() == [1, 0]
    assert (logits != 0).sum() == 2
    assert (logits.float().softmax(dim=1).max(dim=1).values > 0.9).all()
