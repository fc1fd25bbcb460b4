"""Files of datasets and rankings, made at random and damaged at random: each is read, or refused in one sentence."""

import gzip
import io
import json
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from padray.config import DataSettings
from padray.data import sources, survey
from padray.data.datasets import Dataset
from padray.data.whitening import Preprocessing
from padray.errors import InputError, WorkError
from padray.experts import external_ranking
from padray.recipe import scale, text
from padray.recipe.budget import Budget, Seconds
from padray.recipe.scale import Sizes
from padray.recipe.sizing import Fit
from tests.hostile.cases import cases

SIZES, BUDGET = Sizes("trajectory", 8, 50, 40), Budget("5m", 300.0, 1)
SECONDS = Seconds(expert=1.0, experts=6, iteration=1.0, iterations=40, judging=1.0, cells=1.0, full=0.0)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
NAMES = st.sampled_from(
    ("label", "labels", "img", "image", "series", "x", "y", "a.b", "", "\n", "é", "class", "x" * 400)
)


def ends_well(work: Callable[[], object]) -> None:
    """It works, or ends in one sentence."""
    try:
        work()
    except (InputError, WorkError) as error:
        sentence = str(error)
        assert sentence.isprintable() and 10 < len(sentence) < 2000, sentence


def is_read_or_refused(folder: Path, dataset: str = "own") -> None:
    """All that `padray data` and `padray init-config` do with a folder; it stays as it was."""
    before = sorted(os.walk(folder))
    settings = DataSettings(dataset=dataset, path=str(folder))
    told = DataSettings() if dataset == "own" else DataSettings(dataset=dataset)
    ends_well(lambda: sources.source_digest(settings))
    ends_well(lambda: sources.read(settings))
    ends_well(lambda: text.text(Fit(scale.plan(survey.look(str(folder), told), 1, SIZES), BUDGET, SECONDS)))
    assert sorted(os.walk(folder)) == before


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with some of its bytes others, more or fewer."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(damaged) - 1)))
        length = draw(st.sampled_from((0, 1, 1, 2, 8)))
        damaged[place : place + length] = draw(st.binary(min_size=0, max_size=8))
    return bytes(damaged[: draw(st.integers(0, len(damaged)))] if draw(st.integers(0, 5)) == 0 else damaged)


def picture(shape: tuple[int, ...] = (4, 4, 3), kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)).save(stream, kind)
    return stream.getvalue()


PICTURES = [picture((4, 4, 3), kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")]
PICTURES += [picture((4, 4)), picture((5, 3, 3)), picture((4, 4, 3), "ICO"), EPS, b"", b"no picture"]


# -- Parquet


def written(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=3)
    return stream.getvalue()


ROWS = {"label": [0, 1, 0, 1]}
WHOLE = [
    written(pa.table({"x": [0.5, 1, 2, 3], "y": [1, 2, 3, 4], **ROWS})),
    written(pa.table({"series": [[1.0, 2.0], [3.0, 4.0]] * 2, "label": ["a", "b"] * 2})),
    written(pa.table({"img": [{"bytes": picture(), "path": "a"}] * 4, **ROWS})),
]


@cases(0.1)
@given(st.data())
def test_damaged_parquet_files(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(WHOLE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.parquet").write_bytes(data.draw(damage(whole)))
        (folder / "test.parquet").write_bytes(whole)
        is_read_or_refused(folder)


def not_utf8(rows: int) -> pa.Array:
    return pa.Array.from_buffers(
        pa.string(), rows, [None, pa.py_buffer(np.arange(rows + 1, dtype=np.int32)), pa.py_buffer(b"a\xff" * rows)]
    )


NUMBERS = st.one_of(st.integers(-3, 300), st.floats(width=64), st.none())
LISTS = st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=3))


@st.composite
def column(draw: st.DrawFn, rows: int) -> pa.Array:
    """A column of any kind that somebody might write."""

    def values(one: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(one, min_size=rows, max_size=rows))

    makers: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array([place % 2 for place in range(rows)], draw(st.sampled_from((pa.int8(), pa.uint64())))),
        lambda: pa.array(values(st.integers(0, 2**64 - 1)), pa.uint64()),
        lambda: pa.array(values(st.one_of(st.integers(-(2**63), 2**63 - 1), st.none())), pa.int64()),
        lambda: pa.array(values(NUMBERS), pa.float64(), from_pandas=False),
        lambda: pa.array(values(st.floats(width=16)), pa.float16()),
        lambda: pa.array(values(st.booleans())),
        lambda: pa.array(values(st.sampled_from(("a", "b", "\n", "x" * 2000, None))), pa.string()),
        lambda: pa.array(values(st.sampled_from(("a", "b"))), pa.large_string()).dictionary_encode(),
        lambda: not_utf8(rows),
        lambda: pa.array(values(LISTS), pa.list_(pa.float64())),
        lambda: pa.array(values(st.one_of(st.none(), st.lists(LISTS, max_size=3))), pa.list_(pa.list_(pa.float32()))),
        lambda: pa.array(values(st.lists(st.floats(-1, 1), min_size=2, max_size=2)), pa.list_(pa.float64(), 2)),
        lambda: pa.array(values(st.one_of(st.none(), st.sampled_from(PICTURES))), pa.binary()),
        lambda: pa.array([{"bytes": one, "path": None} for one in values(st.sampled_from(PICTURES))]),
        lambda: pa.array([{"bytes": one} for one in values(st.integers(0, 9))]),
        lambda: pa.nulls(rows),
        lambda: pa.array(values(st.dates())),
    )
    return draw(st.sampled_from(makers))()


FEATURES = st.recursive(
    st.one_of(st.none(), st.integers(), st.sampled_from(("ClassLabel", "a", "\ud800"))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(("label", "names", "_type", "x")), inner, max_size=3),
    ),
    max_leaves=8,
)


@cases(0.12)
@given(st.data())
def test_parquet_files_of_any_columns(data: st.DataObject) -> None:
    names = data.draw(st.lists(NAMES, min_size=1, max_size=4))
    if data.draw(st.booleans()):
        names = ["label", *names]
    features = data.draw(FEATURES)
    metadata = {"huggingface": data.draw(st.sampled_from((json.dumps({"info": {"features": features}}), "[" * 9000)))}
    with tempfile.TemporaryDirectory() as name:
        for part in ("train", "test") if data.draw(st.booleans()) else ("train",):
            rows = data.draw(st.sampled_from((0, 1, 4, 4, 4)))
            columns = [data.draw(column(rows)) for _ in names]
            table = pa.Table.from_arrays(columns, names=names).replace_schema_metadata(metadata)
            (Path(name) / f"{part}.parquet").write_bytes(written(table))
        if not (Path(name) / "test.parquet").exists():
            (Path(name) / "test.parquet").write_bytes((Path(name) / "train.parquet").read_bytes())
        is_read_or_refused(Path(name))


# -- idx


@cases(0.04)
@given(st.data())
def test_idx_files(data: st.DataObject) -> None:
    sides = st.sampled_from((0, 1, 2, 4, 10, 2**31, 2**32 - 1))
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name) / "MNIST/raw"
        raw.mkdir(parents=True)
        for part in ("train", "t10k"):
            for kind, own in (("images-idx3", (10, 4, 4)), ("labels-idx1", (10,))):
                shape = data.draw(st.one_of(st.just(own), st.lists(sides, max_size=4)))
                size = int(np.prod([min(side, 50) for side in shape])) + data.draw(st.sampled_from((0, 0, 0, -1, 1)))
                head = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
                values = bytes(range(10)) * (max(0, size) // 10) + bytes(max(0, size) % 10)
                content = data.draw(st.one_of(st.just(head + values), damage(head + values)))
                packed = data.draw(st.booleans())
                content = data.draw(damage(gzip.compress(content, 1))) if packed else content
                (raw / f"{part}-{kind}-ubyte{'.gz' * packed}").write_bytes(content)
        is_read_or_refused(Path(name), "mnist")


# -- folders


ODD = st.sampled_from(
    (b"a.png", b"B.JPEG", b"\xff.png", b"line\nend.gif", b".hidden.png", b"x" * 200 + b".png", b"notes.csv", b"d.webp")
)
CLASSES = st.sampled_from((b"cat", b"dog", b"images", b"\xe9", b"a\nb", b".git"))


def put(data: st.DataObject, path: bytes) -> None:
    """Something under a name that looks like a picture."""
    kind = data.draw(st.integers(0, 11))
    if os.path.lexists(path):
        return
    if kind < 8:
        content = data.draw(st.sampled_from(PICTURES))
        Path(os.fsdecode(path)).write_bytes(data.draw(damage(content)) if kind < 3 else content)
    elif kind == 8:
        os.mkfifo(path)
    elif kind == 9:
        os.symlink(os.path.basename(path), path)
    elif kind == 10:
        os.symlink(b"..", path)
    else:
        os.mkdir(path)


@cases(0.06)
@given(st.data())
def test_folders_of_anything(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        for part in data.draw(st.sampled_from(((b"train", b"test"), (b"train", b"val"), (b"train",), (b"test",)))):
            for own in (b"cat", b"dog", *data.draw(st.lists(CLASSES, max_size=2))):
                folder = os.path.join(os.fsencode(name), part, own)
                os.makedirs(folder, exist_ok=True)
                Path(os.fsdecode(folder), "0.png").write_bytes(PICTURES[0])
                for odd in data.draw(st.lists(ODD, max_size=2)):
                    put(data, os.path.join(folder, odd))
        if data.draw(st.booleans()):
            table = data.draw(damage(b"0.png\tcat\t0\t1\n"))
            (Path(name) / "val").mkdir(exist_ok=True)
            (Path(name) / "val/val_annotations.txt").write_bytes(table)
            (Path(name) / "words.txt").write_bytes(data.draw(damage(b"cat\tCat, tom\ndog\tDog\n")))
        is_read_or_refused(Path(name))


# -- rankings


def ranked() -> Dataset:
    """Eight training files of two classes, two of them for validation."""
    splits = {"train": torch.tensor([0, 2, 3, 5, 6, 7]), "validation": torch.tensor([1, 4]), "test": torch.tensor([8])}
    labels = torch.tensor([0, 1, 1, 0, 0, 1, 0, 1, 0])
    return Dataset.of(torch.zeros(9, 1, 2, 2), labels, ("a", "b"), splits, Preprocessing("none", {}))


@st.composite
def npy(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(("<f8", ">f4", "<f2", "<i8", ">u2", "<u8", "|b1", "<c8", "<M8[s]", "|S3", "<f16")))
    shape = draw(st.sampled_from(((8,), (2, 4), (2, 3), (0,), (), (2, 0), (1, 2, 4), (9,))))
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    stream = io.BytesIO()
    order = np.arange(int(np.prod(shape))).reshape(shape)
    values = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), kind).reshape(shape)
    np.save(stream, order.astype(kind) if draw(st.booleans()) and kind[1] in "fiuc" else values)
    return stream.getvalue()


@cases(0.03)
@given(st.data())
def test_rankings(data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        content, name = data.draw(npy()), "ranking.npy"
    else:
        names = data.draw(st.lists(st.sampled_from(("sample", "score", "", "\n")), min_size=1, max_size=3))
        columns = [data.draw(column(6)) for _ in names]
        content, name = written(pa.Table.from_arrays(columns, names=names)), "ranking.parquet"
    damaged = data.draw(st.one_of(st.just(content), damage(content)))
    ends_well(lambda: external_ranking.scores_of(damaged, name, ranked()))
