"""What goes out in words: the dataset card, and the note that lies beside DD-Ranking's tensors."""

import json

from padray.synthetic.set import SyntheticSet

_SPACES = {
    "none": "as they are, floats in [0, 1]",
    "normalize": "(x - mean) / std of each channel, x in [0, 1]",
    "zca": "ZCA whitening of x in [0, 1], without mean/std normalisation",
}


def _summary(synthetic: SyntheticSet) -> str:
    facts = synthetic.facts
    return (
        f"{len(synthetic.learned.images)} synthetic samples that stand for {facts['dataset']}: {synthetic.ipc} for "
        f"each of {synthetic.classes} classes, class after class"
    )


def ddranking(synthetic: SyntheticSet, mode: str) -> str:
    """What an evaluator has to be told, since the tensors do not say it."""
    kind = synthetic.preprocessing.kind
    lines = [
        f"{_summary(synthetic)}.",
        "",
        f"labels: {mode}",
        "images.pt: in the space that they were distilled in",
        f"real images: {_SPACES[kind]}{'' if kind == 'none' else '; its tensors are in preprocessing.pt'}",
        f"learning rate: {synthetic.learned.lr_to_use:.6g} (lr.pt)",
        "class names, constants and digests: metadata.json",
        "",
    ]
    return "\n".join(lines)


def _lr(synthetic: SyntheticSet) -> str:
    lr = f"{synthetic.learned.lr_to_use:.6g}"
    whence = (
        "as is usual, for none was learned" if synthetic.learned.lr is None else "which was learned with the images"
    )
    return f"{lr}, {whence}"


def card(synthetic: SyntheticSet, lost: str) -> str:
    """The dataset card of a Hub repository."""
    names = ", ".join(json.dumps(str(name), ensure_ascii=False) for name in synthetic.facts["class_names"])
    soft = (
        "`soft_label` holds each image's learned labels, raw logits: take their softmax before the loss. `label` is "
        "the class that the image began as."
        if synthetic.learned.soft
        else "`label` is the class."
    )
    return f"""---
pretty_name: {json.dumps(f"{synthetic.facts['dataset']}, distilled to {synthetic.ipc} per class")}
task_categories: [image-classification]
tags: [dataset-distillation, padray]
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---

# {synthetic.facts["dataset"]}, distilled

{_summary(synthetic)}. Made with padray.

{soft} Train with the learning rate {_lr(synthetic)}.

The images: {lost}. They were distilled in another space: {_SPACES[synthetic.preprocessing.kind]}.

Read it by `datasets.load_dataset("parquet", data_files="data/*.parquet")` (`pip install torch datasets pillow`);
`python train.py` in this folder trains the network of the run on it, as its proof did.

Classes, in the order of their indices: {names}.

`metadata.json` has the preprocessing, the network, and the SHA-256 of the set that these files were made from.
"""
