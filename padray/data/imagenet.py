"""The six subsets of ImageNet that MTT introduced: ten classes each, chosen from all 1000 class folders.

Source: MTT's class lists. A number is a class's place among the 1000 WordNet ids in rising order; a subset's classes
are numbered in the order of its list.
"""

from pathlib import Path

from padray.errors import InputError

CLASSES = 1000
SUBSETS = {
    "imagenette": (0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
    "imagewoof": (193, 182, 258, 162, 155, 167, 159, 273, 207, 229),
    "imagefruit": (953, 954, 949, 950, 951, 957, 952, 945, 943, 948),
    "imageyellow": (309, 986, 954, 951, 987, 779, 599, 291, 72, 11),
    "imagemeow": (281, 282, 283, 284, 285, 291, 292, 290, 289, 287),
    "imagesquawk": (84, 130, 88, 144, 145, 22, 96, 9, 100, 89),
}


def is_subset(dataset: str) -> bool:
    """Whether the dataset is one of the six."""
    return dataset in SUBSETS


def choose(dataset: str, folders: tuple[str, ...], place: Path) -> tuple[str, ...]:
    """The subset's class folders out of all `folders` in rising order; a folder of just ten is the subset itself.

    Raises InputError for any other number of folders: places in the order would mean other classes.
    """
    if len(folders) == len(SUBSETS[dataset]):
        return folders
    if len(folders) != CLASSES:
        raise InputError(
            f"{place} has {len(folders)} class folders; {dataset} is chosen from ImageNet's {CLASSES}, or is ten "
            f"folders of its own: use another data.dataset for other classes"
        )
    return tuple(folders[index] for index in SUBSETS[dataset])
