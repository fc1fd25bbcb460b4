"""The layouts in which a set goes out, each as the files that it is made of: path -> bytes, a function of the set.

    pt           images_best.pt, labels_best.pt, lr_best.pt: MTT, DATM and PAD
    ddranking    images.pt, labels.pt where they are learned, lr.pt: what DD-Ranking's evaluators take
    imagefolder  {class's name}/{place:05d}.png
    hf           one Parquet file with image, label and learned labels, and a dataset card
    csv, parquet one file with a line per sample: tables and series in the data's own units

The first two keep every learned value, in the space that it was distilled in. Pictures are to look at: preprocessing
undone, clamped to [0, 1], 8 bits. Each has a `metadata.json` that says what the files do not, and, where the settings
are known, a `train.py` that trains on them and a `README.txt` with what that needs. Legend: M = C*IPC samples, class
after class, ch H W, K classes.
"""

import io
import json
import re
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from padray.errors import InputError
from padray.exchange import card, tabular
from padray.synthetic.set import USUAL_LR, Learned, SyntheticSet
from padray.synthetic.start import class_labels

Files = dict[str, bytes]
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')  # on some system or other
_MOST_NAME = 60  # letters of a folder's name, of at most four bytes each
_PREPROCESSING = "preprocessing.pt"


@dataclass(frozen=True)
class Outgoing:
    """A set that goes out, and the SHA-256 of the file that padray keeps it in.

    Attributes:
        measured: what the files' metadata tell of accuracies.
    """

    synthetic: SyntheticSet
    sha256: str
    measured: dict[str, Any] = field(default_factory=dict)


def pt(out: Outgoing) -> Files:
    learned = out.synthetic.learned
    parts = {"images_best.pt": learned.images, "labels_best.pt": learned.labels, "lr_best.pt": _lr(learned)}
    return _tensors(parts) | _fitted(out) | _described(out, {})


def ddranking(out: Outgoing) -> Files:
    learned = out.synthetic.learned
    parts = {"images.pt": learned.images, "lr.pt": _lr(learned)}
    if learned.soft:  # hard labels are rebuilt there from the order
        parts["labels.pt"] = learned.labels
    how = {"mode": "soft labels: mode S, criterion sce" if learned.soft else "hard labels, from the order"}
    readme = {"README.txt": card.ddranking(out.synthetic, how["mode"]).encode()}
    return _tensors(parts) | _fitted(out) | readme | _described(out, how)


def imagefolder(out: Outgoing) -> Files:
    images, lost = _pictures(out.synthetic)
    names = _paths(out.synthetic)
    files = dict(zip(names, images, strict=True))
    labels = dict(zip(names, out.synthetic.learned.labels.tolist(), strict=True))
    about = {"images": lost, "labels": labels, "folders": _folders(out.synthetic)}
    return files | _whitening(out) | _described(out, about)


def hf(out: Outgoing) -> Files:
    images, lost = _pictures(out.synthetic)
    rows = [{"bytes": content, "path": path} for content, path in zip(images, _paths(out.synthetic), strict=True)]
    names, learned = [str(name) for name in out.synthetic.facts["class_names"]], out.synthetic.learned
    columns: dict[str, Any] = {"image": rows, "label": class_labels(len(names), out.synthetic.ipc).tolist()}
    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    if learned.soft:
        columns["soft_label"] = pa.array(learned.labels.float().tolist(), pa.list_(pa.float32(), len(names)))
        value = {"dtype": "float32", "_type": "Value"}
        features["soft_label"] = {"feature": value, "length": len(names), "_type": "Sequence"}
    described = {"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns).replace_schema_metadata(described), sink)
    files = {"data/train-00000-of-00001.parquet": bytes(sink.getvalue().to_pybytes())} | _whitening(out)
    return files | {"README.md": card.card(out.synthetic, lost).encode()} | _described(out, {"images": lost})


def csv(out: Outgoing) -> Files:
    return {"set.csv": tabular.as_csv(out.synthetic)} | _whitening(out) | _described(out, _columns(out))


def parquet(out: Outgoing) -> Files:
    return {"set.parquet": tabular.as_parquet(out.synthetic)} | _whitening(out) | _described(out, _columns(out))


def _columns(out: Outgoing) -> dict[str, Any]:
    """Which columns hold what."""
    features: dict[str, Any] = {
        key: out.synthetic.facts[key] for key in ("features", "units") if key in out.synthetic.facts
    }
    labels = list(tabular.label_columns(out.synthetic))
    return {**features, "columns": tabular.names(out.synthetic), "label_columns": labels}


def _lr(learned: Learned) -> torch.Tensor:
    """What those who read the file are to train with."""
    return torch.tensor(USUAL_LR) if learned.lr is None else learned.lr


def _tensors(parts: dict[str, Any]) -> Files:
    """Each as `torch.save` writes it, in bytes that depend on the values alone."""
    files = {}
    for name, part in parts.items():
        stream = io.BytesIO()
        torch.save(part, stream)
        files[name] = stream.getvalue()
    return files


def _fitted(out: Outgoing) -> Files:
    """The tensors that real images go through before a network sees them."""
    values = dict(sorted(out.synthetic.preprocessing.tensors().items()))  # a set's file has them in any order
    return _tensors({_PREPROCESSING: values}) if values else {}


def _whitening(out: Outgoing) -> Files:
    """The same where they are too large for `metadata.json`; what turns whitened samples back is left out."""
    fitted = out.synthetic.preprocessing
    if fitted.kind != "zca":
        return {}
    return _tensors({_PREPROCESSING: {name: fitted.values[name] for name in ("mean", "whiten")}})


def _described(out: Outgoing, more: dict[str, Any]) -> Files:
    facts, learned = out.synthetic.facts, out.synthetic.learned
    preprocessing = out.synthetic.preprocessing
    values = {} if preprocessing.kind == "zca" else preprocessing.tensors()  # whitening is too large for a text
    constants = {name: value.tolist() for name, value in values.items()}
    content = {
        "made_with": "padray",
        "dataset": facts["dataset"],
        "class_names": facts["class_names"],
        "shape": facts["shape"],
        "ipc": out.synthetic.ipc,
        "order": "class after class",
        "network": facts["network"],
        "preprocessing": {**preprocessing.meta(), **constants},
        "label_kind": "raw logits" if learned.soft else "class indices",
        "lr": learned.lr_to_use,
        "set_sha256": out.sha256,
        "set_fingerprint": facts["fingerprint"],
        "provenance": facts.get("provenance", "distilled"),
        **({"selected": facts["selected"]} if "selected" in facts else {}),
        **out.measured,
        **more,
    }
    return {"metadata.json": json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"}


def _paths(synthetic: SyntheticSet) -> list[str]:
    folders = list(_folders(synthetic))
    return [f"{folder}/{place:05d}.png" for folder in folders for place in range(synthetic.ipc)]


def _folders(synthetic: SyntheticSet) -> dict[str, str]:
    """A folder per class, by its name. Where readers that sort them would have another order, a number comes first."""
    names = [str(name) for name in synthetic.facts["class_names"]]
    plain = [_UNSAFE.sub("_", name)[:_MOST_NAME] for name in names]
    usable = all(name and name[0] not in ". " and name[-1] != " " for name in plain)
    distinct = len({name.casefold() for name in plain}) == len(plain)  # of some file systems
    digits = len(str(len(names) - 1))
    if not usable or not distinct or sorted(plain) != plain:
        plain = [f"{label:0{digits}d}-{name}" for label, name in enumerate(plain)]
    return dict(zip(plain, names, strict=True))


def _pictures(synthetic: SyntheticSet) -> tuple[list[bytes], str]:
    """Each image as a PNG file's bytes, and a sentence on what that loses. Raises InputError for what is no image."""
    images_MCHW, (channels, height, _) = synthetic.learned.images.float(), synthetic.learned.images.shape[1:]
    if channels not in (1, 3) or height == 1:
        raise InputError(
            f"samples of the shape {list(images_MCHW.shape[1:])} are not pictures: a PNG has 1 or 3 channels; "
            f"--to pt keeps them as they are"
        )
    pixels = synthetic.preprocessing.invert(images_MCHW)
    again = synthetic.preprocessing.apply((pixels * 255).round() / 255)
    error = (again - images_MCHW).abs().max()
    lost = (
        f"preprocessing undone, clamped to [0, 1], 8 bits: what is learned beyond that is lost (values change by up to "
        f"{error:.3g}); the layouts pt and ddranking keep it"
    )
    bytes_MHWC = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [_png(image.squeeze(-1)) for image in bytes_MHWC], lost


def _png(pixels: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(stream, "PNG")
    return stream.getvalue()
