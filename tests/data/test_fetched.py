"""torchvision's folders of MNIST, FashionMNIST and SVHN against torchvision's own readers; ImageNet's subsets."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from padray.config import DataSettings
from padray.configuration import loading
from padray.data import datasets, imagenet, sources
from padray.errors import InputError

torchvision = pytest.importorskip("torchvision")


def settings(root: Path, dataset: str, **kw) -> DataSettings:
    return DataSettings(dataset=dataset, path=str(root), **kw)


def refused(wanted: DataSettings, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        sources.read(wanted)
    assert "\n" not in str(caught.value) and all(part in str(caught.value) for part in parts), caught.value


def write_idx(root: Path, folder: str, packed: bool = False) -> None:
    """MNIST's four files with 20 training and 10 test images of 28x28."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 20), ("t10k", 10)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, values in ((f"{part}-images-idx3-ubyte", pixels), (f"{part}-labels-idx1-ubyte", labels)):
            head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
            content = head + values.tobytes()
            place = raw / (f"{name}.gz" if packed else name)
            place.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("dataset, name", [("mnist", "MNIST"), ("fashionmnist", "FashionMNIST")])
def test_mnist_is_read_as_torchvision_reads_it_raw_or_packed(tmp_path, dataset, name):
    write_idx(tmp_path, name)
    raw = sources.read(settings(tmp_path, dataset))
    for ours, train in ((raw.train, True), (raw.test, False)):
        theirs = getattr(torchvision.datasets, name)(str(tmp_path), train=train, download=False)
        assert np.array_equal(ours.images[:, 0], theirs.data.numpy())
        assert ours.labels.tolist() == theirs.targets.tolist()
    assert raw.train.images.shape == (20, 1, 28, 28) and len(raw.class_names) == 10
    if dataset == "fashionmnist":
        assert list(raw.class_names) == theirs.classes
    write_idx(tmp_path / "packed", name, packed=True)
    packed = sources.read(settings(tmp_path / "packed", dataset))
    assert np.array_equal(packed.train.images, raw.train.images)
    assert sources.source_digest(settings(tmp_path, dataset)) != sources.source_digest(
        settings(tmp_path / "packed", dataset)
    )


def test_faults_of_mnist(tmp_path):
    write_idx(tmp_path, "MNIST")
    labels = tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte"
    whole = labels.read_bytes()
    fetch = "torchvision.datasets.MNIST(root, download=True)"
    for damaged in (b"", whole[:3], whole[:-1], whole + b"\0", b"\x1f\x8b" + whole):
        labels.write_bytes(damaged)
        refused(settings(tmp_path, "mnist"), "t10k-labels-idx1-ubyte", "damaged", fetch)
    labels.write_bytes(whole[:7] + b"\x09" + whole[8:-1])
    refused(settings(tmp_path, "mnist"), "mnist (test)", "(10, 28, 28)", "(9,)")
    labels.unlink()
    refused(settings(tmp_path, "mnist"), "t10k-labels-idx1-ubyte is missing", fetch)
    labels.with_name(labels.name + ".gz").write_bytes(gzip.compress(whole)[:-9])
    refused(settings(tmp_path, "mnist"), "t10k-labels-idx1-ubyte.gz", "damaged")
    refused(settings(tmp_path, "fashionmnist"), "no dataset", "fashionmnist")


def test_svhn_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    for part, count in (("train", 20), ("test", 10)):
        pixels = np.random.default_rng(count).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": (np.arange(count) % 10 + 1)[:, None]})
    raw = sources.read(settings(tmp_path, "svhn"))
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *args: True)
    for ours, part in ((raw.train, "train"), (raw.test, "test")):
        theirs = torchvision.datasets.SVHN(str(tmp_path), split=part, download=False)
        assert np.array_equal(ours.images, theirs.data) and ours.labels.tolist() == theirs.labels.tolist()
    assert raw.class_names == tuple("0123456789") and raw.train.labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    (tmp_path / "test_32x32.mat").write_bytes(b"no matlab")
    refused(settings(tmp_path, "svhn"), "test_32x32.mat", "damaged", "torchvision.datasets.SVHN(root, split")
    (tmp_path / "test_32x32.mat").unlink()
    refused(settings(tmp_path, "svhn"), "test_32x32.mat is missing")


@pytest.mark.parametrize(
    "name, mean, std",  # both conventions of CIFAR-100: its own constants, and CIFAR-10's
    [
        ("mnist", [0.1307], [0.3081]),
        ("fashionmnist", [0.2861], [0.3530]),
        ("svhn", [0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970]),
        ("cifar10", [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
        ("cifar100", [0.5071, 0.4866, 0.4409], [0.2673, 0.2564, 0.2762]),
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ],
)
def test_published_constants_go_by_their_names(name, mean, std):
    named = loading.load("demo", (f"data.mean={name}", f"data.std={name}")).config.data
    assert named == loading.load("demo", (f"data.mean={mean}", f"data.std={std}")).config.data
    pixels = np.random.default_rng(0).integers(0, 256, (20, len(mean), 4, 4), dtype=np.uint8)
    part = sources.RawSplit(pixels, np.arange(20) % 2)
    data = datasets.make(named, sources.RawDataset(part, part, ("a", "b")))
    expected = torchvision.transforms.functional.normalize(torch.from_numpy(pixels) / 255, mean, std)
    assert torch.allclose(data.split("test")[0], expected, atol=1e-5)


def test_unknown_constants_are_refused():
    with pytest.raises(InputError, match=r"data\.mean: must be a list of numbers or one of mnist, .*'cifar'"):
        loading.load("demo", ("data.mean=cifar",))


# -- ImageNet's subsets


def write_classes(root: Path, count: int, indices: tuple[int, ...]) -> None:
    """`count` class folders for training, of which some hold an image whose grey level tells which."""
    for index in range(count):
        (root / "train" / f"n{index:08d}").mkdir(parents=True)
    for index in indices:
        for part in ("train", "val"):
            place = root / part / f"n{index:08d}"
            place.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), index % 251).save(place / "0.png")


def test_a_subset_of_imagenet_is_chosen_by_its_indices_in_their_order(tmp_path):
    chosen = imagenet.SUBSETS["imagewoof"]
    write_classes(tmp_path, 1000, (*chosen, 5, 6))
    raw = sources.read(settings(tmp_path, "imagewoof"))
    assert raw.class_names == tuple(f"n{index:08d}" for index in chosen)
    assert [int(image[0, 0, 0]) for image in raw.train.images[np.argsort(raw.train.labels)]] == [
        index % 251 for index in chosen
    ]
    assert len(raw.test.labels) == 10
    first = sources.source_digest(settings(tmp_path, "imagewoof"))
    Image.new("L", (4, 4), 9).save(tmp_path / "train/n00000005/0.png")
    assert first == sources.source_digest(settings(tmp_path, "imagewoof")), "other classes' files are not read"


def test_a_subset_of_its_own_is_ten_folders_and_nothing_else_will_do(tmp_path):
    write_classes(tmp_path / "ten", 0, (0, 217, 482, 491, 497, 566, 569, 571, 574, 701))
    assert len(sources.read(settings(tmp_path / "ten", "imagenette")).class_names) == 10
    write_classes(tmp_path / "twelve", 12, (1, 2))
    refused(settings(tmp_path / "twelve", "imagenette"), "12 class folders", "1000", "another data.dataset")


def test_the_lists_hold_ten_different_classes_each():
    assert all(len(set(indices)) == 10 and max(indices) < 1000 for indices in imagenet.SUBSETS.values())
    assert imagenet.SUBSETS["imagenette"][4] == 497 and imagenet.SUBSETS["imagesquawk"][0] == 84
