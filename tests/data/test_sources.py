"""Every layout read back, and every fault of the data told in one sentence."""

import hashlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from padray.config import DataSettings
from padray.data import sources
from padray.errors import InputError

NAMES = ("cat", "dog")
SHARED = Path(__file__).parents[3] / "shared/data"


def coded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def pictures(count: int, shape: tuple[int, ...] = (6, 5, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write(
    path: Path, images: list[bytes | None], labels: list[int | None], names=NAMES, columns=("img", "label"), **kw
):
    """A Parquet file as Hugging Face's datasets library lays it out."""
    rows = [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(images)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({columns[0]: pa.array(rows, kind), columns[1]: pa.array(labels, pa.int64())})
    if names:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"_type": "ClassLabel", "names": list(names)}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Train in two files of 4 and 6 rows, labels 1 0 1 0 …; test of 2."""
    images = [coded(p) for p in pictures(12)]
    write(tmp_path / "train-00000.parquet", images[:4], [1, 0] * 2)
    write(tmp_path / "train-00001.parquet", images[4:10], [1, 0] * 3)
    write(tmp_path / "test.parquet", images[10:], [0, 1])
    return tmp_path


def settings(folder: Path, **kw) -> DataSettings:
    return DataSettings(dataset=kw.pop("dataset", "pets"), path=str(folder), **kw)


def refused(folder: Path | DataSettings, *parts: str, **kw) -> str:
    """The one sentence with which reading fails; it holds all `parts`."""
    wanted = folder if isinstance(folder, DataSettings) else settings(folder, **kw)
    with pytest.raises(InputError) as caught:
        sources.read(wanted)
    sentence = str(caught.value)
    assert "\n" not in sentence and not sentence.endswith(".") and len(sentence) < 400, sentence
    assert all(part in sentence for part in parts), sentence
    return sentence


# -- digits


def test_digits_are_complete_and_split_for_good():
    raw = sources.read(DataSettings())
    assert raw.train.images.shape == (1438, 1, 8, 8) and raw.test.images.shape == (359, 1, 8, 8)
    assert raw.train.images.dtype == np.uint8 and raw.train.labels.dtype == np.int64
    assert raw.class_names == tuple("0123456789")
    everything = np.concatenate([raw.train.labels, raw.test.labels])
    assert np.array_equal(np.bincount(raw.test.labels), np.rint(0.2 * np.bincount(everything)))
    pinned = hashlib.sha256(raw.test.images.tobytes() + raw.test.labels.tobytes()).hexdigest()
    assert pinned == "e7749d33033f13962b41f99171c4166746f2eb5e2ec200b6c40f28850ce669c0"
    assert sources.source_digest(DataSettings()) == hashlib.sha256(b"sklearn-digits-1797").hexdigest()


def test_digits_grey_levels_fill_the_byte():
    from sklearn.datasets import load_digits

    raw = sources.read(DataSettings(split_seed=5))
    ours = np.concatenate([raw.train.images, raw.test.images])[:, 0]
    expected = np.array([round(v * 255 / 16) for v in range(17)], dtype=np.uint8)[load_digits().images.astype(int)]
    assert sorted(map(bytes, ours)) == sorted(map(bytes, expected))


# -- Parquet


def test_parquet_files_are_read_in_order(folder):
    raw = sources.read(settings(folder))
    expected = np.moveaxis(pictures(12), 3, 1)
    assert np.array_equal(raw.train.images, expected[:10]) and np.array_equal(raw.test.images, expected[10:])
    assert raw.train.labels.tolist() == [1, 0] * 5 and raw.test.labels.tolist() == [0, 1]
    assert raw.class_names == NAMES


def test_limit_keeps_the_first_of_each_class_and_decodes_no_other(folder, monkeypatch):
    opened = []
    real = sources.pixels
    monkeypatch.setattr(sources, "pixels", lambda encoded, *rest: opened.append(encoded) or real(encoded, *rest))
    raw = sources.read(settings(folder, limit_per_class=3))
    assert np.array_equal(raw.train.images, np.moveaxis(pictures(12), 3, 1)[:6])
    assert raw.train.labels.tolist() == [1, 0] * 3 and len(raw.test.labels) == 2 and len(opened) == 8


def test_digest_follows_the_bytes_and_names_of_the_files_alone(folder):
    first = sources.source_digest(settings(folder))
    assert first == sources.source_digest(settings(folder, limit_per_class=1, size=4))
    lines = [f"{p.name}\0{hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in sorted(folder.iterdir())]
    assert first == hashlib.sha256("".join(lines).encode()).hexdigest()
    moved = folder.rename(folder.parent / "elsewhere")
    (moved / "notes.txt").write_text("not part of the dataset")
    assert first == sources.source_digest(settings(moved))
    write(moved / "test.parquet", [coded(p) for p in pictures(2, seed=1)], [0, 1])
    assert first != sources.source_digest(settings(moved))


def test_plain_binary_other_columns_numbered_classes_data_folder_and_validation(tmp_path):
    (tmp_path / "data").mkdir()
    images = [coded(p) for p in pictures(4)]
    columns = {"scan": pa.array(images, pa.large_binary()), "kind": pa.array([0, 1, 2, 0], pa.int8())}
    pq.write_table(pa.table(columns), tmp_path / "data/train.parquet")
    pq.write_table(pa.table(columns), tmp_path / "data/val-0.parquet")
    raw = sources.read(settings(tmp_path, image_column="scan", label_column="kind"))
    assert raw.class_names == ("0", "1", "2") and np.array_equal(raw.train.images, raw.test.images)


def test_grey_stays_grey_and_mixed_becomes_rgb(tmp_path):
    grey, colour = pictures(2, (6, 5)), pictures(2, (6, 5, 3))
    write(tmp_path / "train.parquet", [coded(p) for p in grey], [0, 1])
    write(tmp_path / "test.parquet", [coded(p) for p in grey], [0, 1])
    assert np.array_equal(sources.read(settings(tmp_path)).train.images, grey[:, None])
    write(tmp_path / "test.parquet", [coded(grey[0]), coded(colour[1])], [0, 1])
    raw = sources.read(settings(tmp_path))
    assert np.array_equal(raw.test.images, [np.stack([grey[0]] * 3), np.moveaxis(colour[1], 2, 0)])
    assert np.array_equal(raw.train.images, np.repeat(grey[:, None], 3, axis=1))


def test_sixteen_bit_grey_keeps_its_high_byte(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (2, 6, 5)).astype(np.uint16)
    for name in ("train", "test"):
        write(tmp_path / f"{name}.parquet", [coded(p) for p in deep], [0, 1])
    assert np.array_equal(sources.read(settings(tmp_path)).train.images[:, 0], deep >> 8)


def test_size_resizes_every_image(tmp_path):
    images = [coded(np.full((h, w, 3), 7 * h, np.uint8)) for h, w in ((6, 5), (9, 9))]
    for name in ("train", "test"):
        write(tmp_path / f"{name}.parquet", images, [0, 1])
    raw = sources.read(settings(tmp_path, size=4))
    assert raw.train.images.shape == (2, 3, 4, 4)
    assert (raw.train.images[0] == 42).all() and (raw.train.images[1] == 63).all()
    refused(tmp_path, "row 1 (from 0) of train.parquet", "9x9", "5x6", "data.size")


# -- folders


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for part, count in (("train", 3), ("validation", 2)):
        for label, name in enumerate(("b", "a")):
            place = tmp_path / part / name / ("images" if label else "")
            place.mkdir(parents=True)
            for i, picture in enumerate(pictures(count, seed=label)):
                Image.fromarray(picture).save(place / f"{i}.PNG")
    (tmp_path / "train/a/notes.txt").write_text("not an image")
    return tmp_path


def test_folders_give_sorted_classes_and_files(tree):
    raw = sources.read(settings(tree))
    assert raw.class_names == ("a", "b") and raw.train.labels.tolist() == [0] * 3 + [1] * 3
    expected = np.concatenate([pictures(3, seed=1), pictures(3, seed=0)])
    assert np.array_equal(raw.train.images, np.moveaxis(expected, 3, 1)) and len(raw.test.labels) == 4
    assert sources.read(settings(tree, limit_per_class=1)).train.labels.tolist() == [0, 1]


def test_folder_faults(tree):
    (tree / "train/b/1.PNG").write_bytes(b"no image")
    refused(tree, "data.image_column", "Parquet", image_column="x")
    refused(tree, "data.label_column", "Parquet", label_column="y")
    refused(tree, "train/b/1.PNG", "cannot be decoded")
    (tree / "train/c").mkdir()
    refused(tree, "'c'", "no samples in train/")
    (tree / "validation/d").mkdir()
    (tree / "validation/d/0.png").write_bytes(b"")
    refused(tree, "validation/d/0.png", "no class of train/")


# -- faults


def test_path_faults(tmp_path):
    refused(DataSettings(dataset="cifar10"), "'cifar10'", "data.path", "CIFAR10(root, download=True)", "train*.parquet")
    refused(tmp_path / "nowhere", "nowhere", "does not exist")
    (tmp_path / "a_file").touch()
    refused(tmp_path / "a_file", "is a file")
    refused(tmp_path, "no dataset", "train*.parquet", "train/<class>/", "download=True")


def test_split_faults(folder):
    (folder / "test.parquet").unlink()
    refused(folder, "no test*.parquet")
    write(folder / "test.parquet", [], [])
    refused(folder, "test.parquet is empty")
    write(folder / "test.parquet", [coded(pictures(1)[0])], [0], names=("dog", "cat"))
    refused(folder, "test.parquet", "other class names")
    (folder / "lone/train").mkdir(parents=True)
    refused(folder / "lone", "no test/<class>/ images")


def test_columns_faults(folder):
    refused(folder, "train-00000.parquet", "'picture'", "['img', 'label']", image_column="picture")
    refused(folder, "'img'", "whole numbers", label_column="img")
    refused(folder, "'label'", "int64", "binary", image_column="label")
    write(folder / "train-00001.parquet", [], [], columns=("pic", "y"))
    refused(folder, "train-00001.parquet", "'img' or 'image'", "['pic', 'y']", "data.image_column")


def test_label_faults(folder):
    images = [coded(p) for p in pictures(5)]
    write(folder / "train-00001.parquet", images, [0, 1, 0, 1, 2])
    refused(folder, "label 2", "row 4 (from 0) of train-00001.parquet", "0..1")
    for bad, words in ((None, "no label"), (-1, "label -1")):
        write(folder / "train-00001.parquet", images, [0, 1, 0, 1, bad])
        refused(folder, "row 4 (from 0) of train-00001.parquet", words)


def test_class_without_samples(folder):
    for name in ("train-00000", "train-00001", "test"):
        write(folder / f"{name}.parquet", [coded(p) for p in pictures(2)], [0, 2], names=("a", "b", "c"))
    refused(folder, "'b' (label 1)", "no samples", "train-00000.parquet")


def test_image_faults(folder):
    good = [coded(p) for p in pictures(5)]
    for bad in (b"", b"no image", good[0][:60]):
        write(folder / "train-00001.parquet", [*good[:4], bad], [0] * 5)
        refused(folder, "row 4 (from 0) of train-00001.parquet", "cannot be decoded")
        assert len(sources.read(settings(folder, limit_per_class=2)).train.labels) == 4
    write(folder / "train-00001.parquet", [*good[:4], None], [0] * 5)
    refused(folder, "row 4 (from 0) of train-00001.parquet", "no image bytes")
    deep = coded(np.full((6, 5), 70000, np.int32), "TIFF")
    write(folder / "train-00001.parquet", [deep], [0])
    refused(folder, "row 0 (from 0) of train-00001.parquet", "32-bit")


def test_damaged_parquet(folder):
    whole = (folder / "train-00001.parquet").read_bytes()
    for damaged in (b"", whole[:-30], b"x" * 200):
        (folder / "train-00001.parquet").write_bytes(damaged)
        refused(folder, "train-00001.parquet", "cannot be read as Parquet")


# -- torchvision's CIFAR


def write_cifar10(root: Path) -> np.ndarray:
    """A small folder in the form that torchvision reads; returns the pixels (30, H, W, C) of its five train files."""
    batches = root / "cifar-10-batches-py"
    batches.mkdir()
    flat = pictures(30, (3072,))
    for i in range(6):
        part, name = flat[5 * i : 5 * i + 5], f"data_batch_{i + 1}" if i < 5 else "test_batch"
        (batches / name).write_bytes(pickle.dumps({"data": part, "labels": [0, 1, 0, 1, 0]}))
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": list(NAMES)}))
    return flat.reshape(30, 3, 32, 32)


def test_torchvision_folder(tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    flat = write_cifar10(tmp_path)
    refused(settings(tmp_path, dataset="other"), "no dataset 'other'", "where data.dataset is cifar10")
    sentence = refused(settings(tmp_path, dataset="cifar10"), "cifar-10-batches-py", "missing or damaged")
    assert "torchvision.datasets.CIFAR10(root, download=True)" in sentence
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    raw = sources.read(settings(tmp_path, dataset="cifar10", limit_per_class=5))
    assert raw.class_names == NAMES and np.array_equal(raw.train.images[:5], flat[:5])
    assert np.array_equal(raw.test.images, flat[25:])


def test_real_files():
    if not (SHARED / "cifar10").is_dir():
        pytest.skip("../shared is absent")
    raw = sources.read(settings(SHARED / "cifar10", dataset="cifar10", limit_per_class=5))
    assert raw.train.images.shape == (50, 3, 32, 32) and raw.test.images.shape == (10_000, 3, 32, 32)
    assert raw.class_names[0] == "airplane" and (np.bincount(raw.train.labels) == 5).all()
