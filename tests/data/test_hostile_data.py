"""What a dataset's folder may hold by malice or mishap: each is refused in a sentence, none waits, none is guessed."""

import gzip
import json
import os
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat

from padray.config import DataSettings
from padray.data import fetched, sources, survey
from padray.errors import InfrastructureError, InputError
from padray.machine import memory


def settings(folder: Path, **kw: object) -> DataSettings:
    return DataSettings.model_validate({"dataset": "own", "path": str(folder), **kw})


def refused(folder: Path, *parts: str, **kw: object) -> None:
    """Reading, and where nothing special is asked for looking too, end in one sentence that holds all `parts`."""
    looks: list[Callable[[], object]] = [lambda: sources.read(settings(folder, **kw))]
    looks += [] if kw else [lambda: survey.look(str(folder), DataSettings())]
    for look in looks:
        with pytest.raises(InputError) as caught:
            look()
        sentence = str(caught.value)
        assert sentence.isprintable() and len(sentence) < 800, sentence
        assert all(part in sentence for part in parts), sentence


# -- what lies in folders


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes of two images for training and one for testing."""
    for part, count in (("train", 2), ("test", 1)):
        for grey, name in enumerate(("a", "b")):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(count):
                Image.new("L", (4, 4), 10 * grey + index).save(tmp_path / part / name / f"{index}.png")
    return tmp_path


@pytest.mark.parametrize("name", ["train/a/5.png", "train.parquet"])
def test_a_fifo_is_not_waited_for(tree, name):
    if name.endswith("parquet"):
        os.mkfifo(tree / "test.parquet")
    os.mkfifo(tree / name)
    refused(tree, name, "it is a FIFO, not a regular file")
    with pytest.raises(InputError, match="it is a FIFO"):
        sources.source_digest(settings(tree))


@pytest.mark.parametrize("target", ["5.png", "nowhere", "/dev/zero", "../b"])
def test_a_link_that_leads_to_no_file(tree, target):
    (tree / "train/a/5.png").symlink_to(target)
    if target == "../b":
        return refused(tree, "train/a/5.png", "read under another name")
    refused(tree, "train/a/5.png")
    with pytest.raises(InputError, match=r"train/a/5\.png in .* cannot be read"):
        sources.source_digest(settings(tree))


def test_links_among_folders_end(tree):
    """Two links that lead back make 2^40 names before the system stops, and never two of the same file."""
    for name in ("x", "y"):
        (tree / "train/a" / name).symlink_to(tree / "train", target_is_directory=True)
    refused(tree, "read under another name", "remove the link")


def test_a_class_that_is_a_link_elsewhere_is_read(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (tree / "train/a").rename(elsewhere / "a")
    (tree / "train/a").symlink_to(elsewhere / "a")
    assert sources.read(settings(tree)).train.labels.tolist() == [0, 0, 1, 1]


@contextmanager
def deep(folder: Path, name: str, depth: int) -> Iterator[None]:
    """Folders in folders, which Python's own tools, that call themselves, can neither make nor remove."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    try:
        yield
    finally:
        subprocess.run(["rm", "-r", str(folder / name)], check=True)


def test_a_folder_that_holds_itself_under_the_datasets_name(tmp_path):
    (tmp_path / "own").symlink_to(".")
    refused(tmp_path, "holds no dataset 'own'", dataset="own")
    with deep(tmp_path, "o", 1200):
        refused(tmp_path, "holds no dataset 'o'", dataset="o")


def test_folders_deeper_than_python_calls_itself(tree):
    with deep(tree / "train/a", "d", 1200):
        assert len(sources.read(settings(tree)).train.labels) == 4


def test_files_whose_names_are_not_utf8_are_samples_and_classes_are_refused(tree):
    os.rename(tree / "train/a/0.png", os.fsencode(tree / "train/a") + b"/\xff\n.png")
    assert sources.read(settings(tree)).train.labels.tolist() == [0, 0, 1, 1]
    assert len(sources.source_digest(settings(tree))) == 64
    (tree / "train/a/1.png").write_bytes(b"no picture")
    refused(tree, "train/a/1.png", "cannot be decoded")
    Path(os.fsdecode(os.fsencode(tree / "train/a") + b"/\xff\n.png")).write_bytes(b"no picture")
    (tree / "train/a/1.png").unlink()
    refused(tree, "train/a/\\udcff\\n.png", "cannot be decoded")
    for part in ("train", "test"):
        os.rename(tree / part / "b", os.fsencode(tree / part) + b"/b\xe9")
    refused(tree, "class name", "udce9", "is not UTF-8; rename it")


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(tree, monkeypatch):
    real = os.scandir

    def denied(path: str | Path) -> object:
        if os.fspath(path).endswith("train/b"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    refused(tree, "cannot read the folder", "train/b", "Permission denied")


@pytest.mark.parametrize("path", ["~nosuchuser/x", "a\0b", "x" * 5000, "\ud800"])
def test_paths_that_no_folder_has(path):
    with pytest.raises(InputError, match=r"does not exist|user who is not known") as caught:
        sources.read(DataSettings.model_construct(dataset="own", path=path))  # whoever reads settings refuses these
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    with pytest.raises(InputError):
        survey.look(path, DataSettings())


def test_a_survey_of_a_path_that_settings_cannot_hold(tree):
    odd = Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9"))
    odd.mkdir()
    (tree / "train").rename(odd / "train")
    (tree / "test").rename(odd / "test")
    with pytest.raises(InputError, match=r"PATH .*caf\\udce9 is not UTF-8"):
        survey.look(str(odd), DataSettings())


# -- Parquet


def table(folder: Path, **columns: object) -> None:
    for name in ("train", "test"):
        pq.write_table(pa.table({"x": [0.5, 1.5], "label": [0, 1]} | columns), folder / f"{name}.parquet")


def two(folder: Path, *names: str) -> None:
    numbers = {"label": [0, 1], "img": [b"", b""], "series": [[1.0], [2.0]]}
    columns = [pa.array(numbers.get(name, [0.5, 1.5])) for name in names]
    for part in ("train", "test"):
        pq.write_table(pa.Table.from_arrays(columns, names=list(names)), folder / f"{part}.parquet")


@pytest.mark.parametrize("names", [("x", "label", "label"), ("img", "img", "label"), ("x", "x", "label")])
def test_two_columns_of_one_name(tmp_path, names):
    two(tmp_path, *names)
    refused(tmp_path, "train.parquet has two columns", "name every column differently")


def test_two_columns_of_a_name_that_nobody_reads_do_no_harm(tmp_path):
    two(tmp_path, "label", "series", "y", "y")
    assert sources.read(settings(tmp_path)).train.labels.tolist() == [0, 1]
    assert survey.look(str(tmp_path), DataSettings()).content == "series"


def not_utf8(kind: pa.DataType) -> pa.Array:
    offsets = np.array([0, 1, 2], np.int64 if kind == pa.large_string() else np.int32)
    return pa.Array.from_buffers(kind, 2, [None, pa.py_buffer(offsets), pa.py_buffer(b"a\xff")])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_labels_that_are_not_utf8(tmp_path, kind):
    table(tmp_path, label=not_utf8(kind))
    refused(tmp_path, "column 'label' of train.parquet", "not UTF-8")


def declare(folder: Path, text: str) -> None:
    """Write metadata as they are, without looking whether they are JSON."""
    for part in ("train", "test"):
        read = pq.read_table(folder / f"{part}.parquet")
        pq.write_table(read.replace_schema_metadata({"huggingface": text}), folder / f"{part}.parquet")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"info": ' * 50_000,
        '{"info": {"features": [1]}}',
        '{"info": {"features": {"label": 3}}}',
        '{"info": {"features": {"label": {"names": "ab"}}}}',
        '{"info": {"features": {"label": {"names": [[]]}}}}',
        '{"info": {"features": {"label": {"names": [1e999]}}}}',
        "9" * 5000,
        "\\ud800",
        "null",
    ],
)
def test_metadata_that_declare_nothing(tmp_path, text):
    table(tmp_path)
    declare(tmp_path, text)
    assert sources.read(settings(tmp_path)).class_names == ("0", "1")
    assert survey.look(str(tmp_path), DataSettings()).names == ("0", "1")


@pytest.mark.parametrize(
    "names, part",
    [(["\ud800", "b"], "not UTF-8"), (["a", "a"], "another class"), (["x" * 2000, "b"], "1,000 characters")],
)
def test_class_names_that_cannot_be_stored_or_told_apart(tmp_path, names, part):
    table(tmp_path)
    declare(tmp_path, json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": names}}}}))
    refused(tmp_path, "the class name", "train.parquet", part)


def test_labels_beyond_all_classes(tmp_path):
    table(tmp_path, label=pa.array([0, 2**64 - 1], pa.uint64()))
    refused(tmp_path, "9223372036854775807", "without gaps")


def test_a_value_that_all_rows_share_is_in_memory_once(tmp_path):
    """100 rows of one picture of a megabyte: a few kilobytes on disk, 100 MB if each row had its own."""
    picture = Path(tmp_path, "a.png")
    Image.new("L", (4, 4)).save(picture)
    one = pa.array([picture.read_bytes() + bytes(1_000_000)], pa.binary())
    rows = pa.table({"img": pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), one), "label": [0, 1] * 50})
    for part in ("train", "test"):
        place = tmp_path / f"{part}.parquet"
        pq.write_table(rows, place, compression="zstd", store_schema=False, dictionary_pagesize_limit=2**24)
    assert place.stat().st_size < 10_000
    train, _, _ = sources.listed(settings(tmp_path))
    before = pa.total_allocated_bytes()
    for _ in train.samples(np.arange(100)):
        assert pa.total_allocated_bytes() - before < 10_000_000


def test_more_samples_than_memory_are_refused_before_any_is_stored(tmp_path, tree, monkeypatch):
    table(tmp_path / "t" if (tmp_path / "t").mkdir() is None else tmp_path)
    for folder, free, part in (
        (tree, 100, "4 samples of 1x4x4 numbers from train/"),
        (tmp_path / "t", 50, "2 labels"),
        (tmp_path / "t", 70, "row group 0 of train.parquet"),
    ):
        monkeypatch.setattr(memory, "free_memory", lambda free=free: free)
        with pytest.raises(InfrastructureError, match="GiB of memory") as caught:
            sources.read(settings(folder))
        assert part in str(caught.value)


def test_a_survey_that_memory_cannot_hold_is_told_in_a_sentence(tree, monkeypatch):
    def full(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(survey.pictures, "image_shape", full)
    with pytest.raises(InfrastructureError, match=r"does not fit into memory: lower data\.size"):
        survey.look(str(tree), DataSettings())


def test_many_classes_take_no_longer_than_many_samples():
    """Each of 200,000 labels for itself: a look at all of them for every class would take an hour."""
    labels = np.repeat(np.arange(200_000), 2)
    kept = sources._kept(labels, DataSettings(limit_per_class=1, validation=0))
    assert np.array_equal(kept, np.arange(0, 400_000, 2))


# -- what torchvision fetches


def idx(folder: Path, shape: tuple[int, ...], values: bytes, packed: bool = False) -> Path:
    """MNIST's four files, with training images of this shape."""
    raw = folder / "MNIST/raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, kind, sides, content in (
        ("train", "images-idx3", shape, values),
        ("train", "labels-idx1", (20,), bytes(range(10)) * 2),
        ("t10k", "images-idx3", (10, 4, 4), bytes(160)),
        ("t10k", "labels-idx1", (10,), bytes(range(10))),
    ):
        whole = bytes([0, 0, 8, len(sides)]) + struct.pack(f">{len(sides)}I", *sides) + content
        name = raw / f"{part}-{kind}-ubyte"
        (name.with_suffix(".gz") if packed else name).write_bytes(gzip.compress(whole) if packed else whole)
    return folder


@pytest.mark.parametrize(
    "shape, values",
    [((20, 0, 28), b""), ((20, 4, 0), b""), ((20, 4), bytes(80)), ((20, 4, 4, 5), bytes(1600)), ((20,), bytes(20))],
)
def test_idx_images_without_pixels(tmp_path, shape, values):
    refused(idx(tmp_path, shape, values), "mnist (train)", dataset="mnist")


@pytest.mark.parametrize("shape", [(2**32 - 1, 4, 4), (2**32 - 1,) * 200, (20, 2**31, 2**31), (0, 4, 4), (20, 4, 5)])
def test_idx_files_that_say_other_sizes_than_they_have(tmp_path, shape):
    refused(idx(tmp_path, shape, bytes(320)), "train-images-idx3-ubyte", "damaged", dataset="mnist")


def test_a_packed_file_is_inflated_no_further_than_it_says(tmp_path, monkeypatch):
    read = []
    real = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: read.append(size) or real(self, size))
    refused(idx(tmp_path, (20, 4, 4), bytes(10_000_000), packed=True), "damaged", dataset="mnist")
    refused(idx(tmp_path, (20, 2**20, 2**20), bytes(100), packed=True), "damaged", dataset="mnist")
    assert min(read) >= 0 and max(read) <= fetched.MOST_INFLATED + 1


def test_svhn_files_that_inflate_or_nest_without_end(tmp_path, monkeypatch):
    for part, count in (("train", 20), ("test", 10)):
        pixels, labels = np.zeros((4, 4, 3, count), np.uint8), (np.arange(count) % 10 + 1)[:, None]
        savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": labels.astype(np.uint8)}, do_compression=True)
    assert len(sources.read(settings(tmp_path, dataset="svhn")).train.labels) == 20
    monkeypatch.setattr(fetched, "MOST_INFLATED", 900)
    refused(tmp_path, "train_32x32.mat", "damaged", dataset="svhn")
    monkeypatch.undo()
    nested: object = np.zeros(1)
    for _ in range(50):
        inner = np.empty((1, 1), dtype=object)
        inner[0, 0] = nested
        nested = inner
    savemat(tmp_path / "train_32x32.mat", {"X": nested, "y": np.ones((1, 1))})
    read: list[object] = []
    monkeypatch.setattr("scipy.io.loadmat", lambda *given, **more: read.append(given))  # which calls itself for each
    refused(tmp_path, "train_32x32.mat", "damaged", dataset="svhn")
    assert not read


def test_an_element_of_a_matlab_file_in_either_order_of_bytes(monkeypatch):
    monkeypatch.setattr(fetched, "MOST_INFLATED", 1000)
    packed = zlib.compress(bytes(5000))
    for mark, order in ((b"IM", "<"), (b"MI", ">")):
        with pytest.raises(ValueError, match="too many bytes"):
            fetched._check_inflated(bytes(126) + mark + struct.pack(f"{order}II", 15, len(packed)) + packed)
