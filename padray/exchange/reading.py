"""How each layout is read: what its reader must install, and the program that trains on it.

Legend: M samples, class after class, F features, K classes.
"""

from collections.abc import Callable
from typing import NamedTuple

from padray.config import Config
from padray.report import code
from padray.synthetic.set import SyntheticSet

PROGRAM, NOTE = "train.py", "README.txt"
_ABOUT = "about = json.loads(Path('metadata.json').read_text())\n"
_CONSTANTS = {
    "none": "fitted = {}\n",
    "normalize": "fitted = {name: torch.tensor(about['preprocessing'][name]) for name in ('mean', 'std')}\n",
    "zca": "fitted = torch.load('preprocessing.pt')\n",
}


class Reader(NamedTuple):
    """What reads a layout: the packages to install, and the lines that give `images`, `labels`, `fitted` and `LR`."""

    install: str
    load: str


Make = Callable[[Config, SyntheticSet], Reader]


def reader(layout: str, config: Config, synthetic: SyntheticSet) -> Reader:
    """How a layout is read by who does not have padray."""
    return READERS[layout](config, synthetic)


def program(layout: str, config: Config, synthetic: SyntheticSet) -> str:
    """`train.py`, to be run in the export's folder."""
    noun = "image" if synthetic.preprocessing.content == "image" else "sample"
    return code.training_code(reader(layout, config, synthetic).load, config, synthetic, noun)


def companions(
    layout: str, config: Config, synthetic: SyntheticSet, said: str, files: dict[str, bytes]
) -> dict[str, bytes]:
    """The program, and the note in front of what a layout's own says."""
    own = files.get(NOTE, b"").decode()
    note = _note(layout, config, synthetic, said)
    return {
        PROGRAM: program(layout, config, synthetic).encode(),
        NOTE: "\n".join([note, *([own] if own else [])]).encode(),
    }


def _note(layout: str, config: Config, synthetic: SyntheticSet, said: str) -> str:
    """What lies here, what its reader needs, and how networks are trained on it.

    Args:
        said: what else is to be known.
    """
    left = code.remarks(config)
    return "\n".join(
        [
            f"{len(synthetic.learned.images)} samples that stand for {synthetic.facts['dataset']}, made with padray: "
            f"{synthetic.ipc} for each of {synthetic.classes} classes, class after class.",
            *([said] if said else []),
            "",
            f"To read them: pip install {reader(layout, config, synthetic).install}",
            f"To train {config.network.label} on them: python {PROGRAM}, in this folder. {left}".rstrip(),
            "Class names, constants and digests: metadata.json",
            "",
        ]
    )


def _lr(config: Config, synthetic: SyntheticSet, learned: str) -> str:
    return f"LR = {code.lr_text(config, synthetic, learned)}"


def _pt(config: Config, synthetic: SyntheticSet) -> Reader:
    soft = "labels.softmax(dim=1)  # they are raw logits" if synthetic.learned.soft else "labels  # class indices"
    fitted = "torch.load('preprocessing.pt')" if synthetic.preprocessing.kind != "none" else "{}"
    lines = (
        "images, labels = torch.load('images_best.pt'), torch.load('labels_best.pt')\n"
        f"labels = {soft}\nfitted = {fitted}\n" + _lr(config, synthetic, "float(torch.load('lr_best.pt'))")
    )
    return Reader("torch", lines)


def _ddranking(config: Config, synthetic: SyntheticSet) -> Reader:
    labels = (
        "torch.load('labels.pt').softmax(dim=1)"
        if synthetic.learned.soft
        else f"torch.arange({synthetic.classes}).repeat_interleave({synthetic.ipc})"
    )
    fitted = "torch.load('preprocessing.pt')" if synthetic.preprocessing.kind != "none" else "{}"
    lines = f"images, labels, fitted = torch.load('images.pt'), {labels}, {fitted}\n" + _lr(
        config, synthetic, "float(torch.load('lr.pt'))"
    )
    return Reader("torch", lines)


def _imagefolder(config: Config, synthetic: SyntheticSet) -> Reader:
    grey = "[transforms.Grayscale(), transforms.ToTensor()]" if synthetic.facts["shape"][0] == 1 else None
    transform = f"transforms.Compose({grey})" if grey else "transforms.ToTensor()"
    soft = ".softmax(dim=1)  # raw logits" if synthetic.learned.soft else "  # class indices"
    lines = (
        "import json\nfrom pathlib import Path\n\nfrom torchvision import transforms\n"
        "from torchvision.datasets import ImageFolder\n\n"
        f"{_ABOUT}folder = ImageFolder('.', {transform})\n"
        "images = torch.stack([image for image, _ in folder])\n"
        f"labels = torch.tensor([about['labels'][Path(path).as_posix()] for path, _ in folder.imgs]){soft}\n"
        + _as_trained(config, synthetic)
    )
    return Reader("torch torchvision", lines)


def _hf(config: Config, synthetic: SyntheticSet) -> Reader:
    axes = "[:, None]" if synthetic.facts["shape"][0] == 1 else ".permute(0, 3, 1, 2)"
    labels = (
        "torch.tensor(rows['soft_label'][:]).softmax(dim=1)  # raw logits"
        if synthetic.learned.soft
        else "torch.tensor(rows['label'][:])"
    )
    lines = (
        "import json\nfrom pathlib import Path\n\nimport numpy as np\nfrom datasets import load_dataset\n\n"
        f"{_ABOUT}rows = load_dataset('parquet', data_files='data/*.parquet', split='train')\n"
        f"images = torch.from_numpy(np.stack([np.asarray(image) for image in rows['image']])){axes} / 255\n"
        f"labels = {labels}\n" + _as_trained(config, synthetic)
    )
    return Reader("torch datasets pillow", lines)


def _as_trained(config: Config, synthetic: SyntheticSet) -> str:
    """The last lines of a reader of original values: they are preprocessed as for the run, and the lr is set."""
    preprocessed = f"{_CONSTANTS[synthetic.preprocessing.kind]}images = preprocess(images)\n"
    return preprocessed + _lr(config, synthetic, "about['lr']")


def _tabular(read: str) -> Make:
    def make(config: Config, synthetic: SyntheticSet) -> Reader:
        shape = [len(synthetic.learned.images), *synthetic.facts["shape"]]
        labels = (
            "torch.tensor(table[about['label_columns']].to_numpy()).float()  # probabilities"
            if synthetic.learned.soft
            else "torch.tensor([about['class_names'].index(str(name)) for name in table['label']])"
        )
        lines = (
            "import json\nfrom pathlib import Path\n\nimport pandas as pd\n\n"
            f"{_ABOUT}table = pd.{read}\n"
            f"images = torch.tensor(table[about['columns']].to_numpy()).float().view({shape})\n"
            f"labels = {labels}\n" + _as_trained(config, synthetic)
        )
        return Reader("torch pandas pyarrow", lines)

    return make


READERS: dict[str, Make] = {
    "pt": _pt,
    "ddranking": _ddranking,
    "imagefolder": _imagefolder,
    "hf": _hf,
    "csv": _tabular("read_csv('set.csv', dtype={'label': str})"),
    "parquet": _tabular("read_parquet('set.parquet')"),
}
