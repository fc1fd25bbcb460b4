"""Tables and series as CSV and Parquet, in the units of the data: preprocessing undone, a line per sample.

Legend: M samples, F features, C channels, T steps, K classes.
"""

import csv
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from padray.errors import InputError
from padray.synthetic.set import SyntheticSet
from padray.synthetic.start import class_labels

LABEL = "label"


def columns(synthetic: SyntheticSet) -> tuple[list[str], NDArray[np.float32]]:
    """The names of the values' columns, with units where they are known, and the values (M, D).

    Raises:
        InputError: the samples are images.
    """
    if synthetic.preprocessing.content == "image":
        raise InputError("images are no table: --to imagefolder or hf writes them as pictures, pt as tensors")
    samples = synthetic.preprocessing.invert(synthetic.learned.images.double()).float()
    return names(synthetic), samples.flatten(1).numpy()


def names(synthetic: SyntheticSet) -> list[str]:
    """A column per feature, or per channel and step; the label's name is taken."""
    channels, _, steps = synthetic.facts["shape"]
    if synthetic.preprocessing.content == "series":
        return [f"channel_{c}_step_{t}" if channels > 1 else f"step_{t}" for c in range(channels) for t in range(steps)]
    features = [str(name) for name in synthetic.facts.get("features") or ()] or [
        f"feature_{i}" for i in range(channels)
    ]
    units = [str(unit) for unit in synthetic.facts.get("units") or ()] or [""] * channels
    shown = [f"{name} ({unit})" if unit else name for name, unit in zip(features, units, strict=True)]
    return [f"{name}_" if name == LABEL else name for name in shown]


def label_columns(synthetic: SyntheticSet) -> dict[str, NDArray[np.float32]]:
    """Of soft labels a column per class with its probability, (M,) each; nothing of hard ones."""
    learned = synthetic.learned
    if not learned.soft:
        return {}
    probabilities = learned.labels.double().softmax(dim=1).float().numpy()
    classes = synthetic.facts["class_names"]
    return {f"probability of {name}": probabilities[:, k] for k, name in enumerate(classes)}


def class_column(synthetic: SyntheticSet) -> list[str]:
    """The class that each sample stands for, by its name."""
    classes = [str(name) for name in synthetic.facts["class_names"]]
    return [classes[int(label)] for label in class_labels(len(classes), synthetic.ipc)]


def _table(synthetic: SyntheticSet) -> dict[str, Any]:
    heads, values = columns(synthetic)
    own = {head: values[:, place] for place, head in enumerate(heads)}
    return {LABEL: class_column(synthetic), **own, **label_columns(synthetic)}


def as_csv(synthetic: SyntheticSet) -> bytes:
    """Nine significant digits, which tell all float32 apart."""
    table, text = _table(synthetic), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    for line in zip(*table.values(), strict=True):
        writer.writerow([value if isinstance(value, str) else f"{value:.9g}" for value in line])
    return text.getvalue().encode()


def as_parquet(synthetic: SyntheticSet) -> bytes:
    """The same as Parquet, the units in the fields' metadata too."""
    units = [str(unit) for unit in synthetic.facts.get("units") or ()]
    table = pa.table(_table(synthetic))
    for place, unit in enumerate(units, start=1):
        field = table.schema.field(place)
        table = table.cast(table.schema.set(place, field.with_metadata({"unit": unit}))) if unit else table
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())
