"""Folders of image files: one folder for each class, or Tiny ImageNet as it is downloaded.

Tiny ImageNet's training files lie in class folders, `train/<id>/images/`, but its labelled test files, those of
validation, all in `val/images/`; the table `val/val_annotations.txt` says their classes. `test/` has no labels and is
not read. Classes are in the order of their WordNet ids, and called by the first of their words in `words.txt`.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from padray.data import imagenet
from padray.data.listing import Listing, Listings, Source, some
from padray.data.pictures import SUFFIXES
from padray.errors import InputError
from padray.machine.files import entries, is_folder, quoted, read_regular, shown

_TABLE, _WORDS = "val_annotations.txt", "words.txt"
_FLAT = "images"  # the folder of Tiny ImageNet's validation files
_MOST_TEXT = 2**26  # bytes of a table; Tiny ImageNet's words are 2.6 million


def find(root: Path, dataset: str) -> Source:
    """The image files of all classes, or of those that make a subset of ImageNet. Raises InputError without a test."""
    folders = [entry.name for entry in entries(root / "train") if is_folder(entry) and entry.name[0] != "."]
    classes, wanted = tuple(sorted(folders)), tuple[str, ...]()
    if imagenet.is_subset(dataset):
        classes = wanted = imagenet.choose(dataset, classes, root / "train")
    train = _image_files(root / "train", wanted)
    if not wanted and (flat := _flat_test(root, classes)):
        tables = (root / "val" / _TABLE, root / _WORDS)
        return Source("folder", root, train, flat, classes, tuple(path for path in tables if path.exists()))
    return Source("folder", root, train, _test(root, classes, wanted), classes)


def whole(root: Path) -> Source | None:
    """Class folders without a split; None if there are no two in which images lie, and not deeper: `Test/cat/1.png`."""
    folders = [Path(entry.path) for entry in entries(root) if is_folder(entry) and entry.name[0] != "."]
    images = {
        folder: sorted(filter(_is_image, (entry.name for entry in entries(folder)))) for folder in sorted(folders)
    }
    classes = {folder: names for folder, names in images.items() if names}
    files = tuple(folder / name for folder, names in classes.items() for name in names)
    return Source("folder", root, files, (), tuple(folder.name for folder in classes)) if len(classes) > 1 else None


def _is_image(name: str) -> bool:
    return name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES


def _flat_test(root: Path, classes: tuple[str, ...]) -> tuple[Path, ...]:
    """The validation files of Tiny ImageNet as it is downloaded; none in any other layout."""
    is_tiny = _FLAT not in classes and os.path.lexists(root / "val" / _TABLE)
    return _image_files(root / "val", (_FLAT,)) if is_tiny else ()


def _test(root: Path, classes: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[Path, ...]:
    """The first part that has files of a class; else the first that has any, which are told to be strays."""
    parts = [files for name in ("test", "validation", "val") if (files := _image_files(root / name, wanted))]
    if not parts:
        raise InputError(
            f"{shown(root)} holds train/ but no test/<class>/ images (or validation, val): add the samples to test on"
        )
    known = frozenset(classes)
    return next((files for files in parts if any(_class_of(path, root) in known for path in files)), parts[0])


def listings(source: Source) -> Listings:
    """Train, test and the class names. Raises InputError for files of no class."""
    level = 1 if source.test else 0
    train = _labelled(source, source.train, [_class_of(path, source.root, level) for path in source.train])
    if not source.test:
        return train, train, source.classes
    if not source.tables:
        return train, _labelled(source, source.test, [_class_of(p, source.root) for p in source.test]), source.classes
    test = _labelled(source, source.test, _annotated(source))
    return train, test, _names(source)


def _class_of(path: Path, root: Path, level: int = 1) -> str:
    """`<root>/train/cat/1.png` is of class `cat`; without a split, at level 0, so is `<root>/cat/1.png`."""
    return path.relative_to(root).parts[level]


def _labelled(source: Source, files: tuple[Path, ...], classes: list[str]) -> Listing:
    """The files of one split, each of the class that stands in its place."""
    relative = [shown(path.relative_to(source.root).as_posix()) for path in files]
    numbers = {name: i for i, name in enumerate(source.classes)}
    labels = np.array([numbers.get(name, -1) for name in classes], dtype=np.int64)
    if (labels < 0).any():
        stray = relative[int(np.argmin(labels))]
        raise InputError(f"{stray} belongs to no class of train/, which has {some(source.classes) or 'none'}")
    place = (relative[0].split("/")[0] if source.test else shown(source.root.name)) if relative else "train"
    return Listing(f"{place}/", labels, lambda rows: (files[r] for r in rows), lambda row: relative[row])


# -- the files below a folder


def _image_files(folder: Path, classes: tuple[str, ...]) -> tuple[Path, ...]:
    """Image files below the class folders (all, or some), hidden ones left out, sorted by their relative names."""
    if not os.path.isdir(folder):
        return ()
    tops = [folder / name for name in classes] or [folder]
    files = (path.relative_to(folder).parts for path in _walk([top for top in tops if os.path.isdir(top)]))
    images = (parts for parts in files if len(parts) > 1 and _is_image(parts[-1]))
    return tuple(folder.joinpath(*parts) for parts in sorted(images))


def _walk(tops: list[Path]) -> Iterator[Path]:
    """Every file below some folders but hidden ones; links are followed, for classes are often links elsewhere.

    Raises InputError for a folder that is reached twice: by links that lead back, this would go on for ever, and by
    others its samples would count twice.
    """
    waiting, known = tops, set[tuple[int, int]]()
    while waiting:
        folder = waiting.pop()
        listed = entries(folder)
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in known:
            raise InputError(f"{shown(folder)} is a link to a folder that is read under another name; remove the link")
        known.add((status.st_dev, status.st_ino))
        for entry in listed:
            if entry.name[0] == ".":
                continue
            if is_folder(entry):
                waiting.append(Path(entry.path))
            else:
                yield Path(entry.path)


# -- Tiny ImageNet's tables


def _annotated(source: Source) -> list[str]:
    """The class of every test file. Raises InputError for a table that does not fit the files."""
    table, known = source.tables[0], frozenset(source.classes)
    place, class_of = f"{table.parent.name}/{table.name}", dict[str, str]()
    for number, line in enumerate(_lines(table), start=1):
        if not line.strip():
            continue
        name, tab, rest = line.partition("\t")
        wnid = rest.split("\t")[0].strip()
        if not tab or not wnid:
            raise InputError(f"line {number} of {place} must hold a file's name, a tab and a WordNet id")
        if wnid not in known:
            raise InputError(f"line {number} of {place} names {quoted(wnid)}, which is no class of train/")
        if name in class_of:
            raise InputError(f"line {number} of {place} lists {shown(name)} twice")
        class_of[name] = wnid
    names = [path.name for path in source.test]
    lost = next(iter(class_of.keys() - set(names)), None)
    if lost is not None:
        raise InputError(f"{place} says the class of {shown(lost)}, but there is no file {shown(lost)} in val/{_FLAT}/")
    strays = [name for name in names if name not in class_of]
    if strays:
        raise InputError(f"val/{_FLAT}/{shown(strays[0])} has no class in {place}; add its line, or remove the file")
    return [class_of[name] for name in names]


def _names(source: Source) -> tuple[str, ...]:
    """The first word for each class, or its id where there is none or where another class has the same."""
    words = dict[str, str]()
    for line in _lines(source.root / _WORDS) if len(source.tables) > 1 else ():
        wnid, _, rest = line.partition("\t")
        words[wnid] = rest.split(",")[0].strip()
    uses = Counter(words.get(name) for name in source.classes)
    return tuple(words[name] if words.get(name) and uses[words[name]] == 1 else name for name in source.classes)


def _lines(path: Path) -> list[str]:
    """The lines of a text file."""
    content = read_regular(path, "the table", _MOST_TEXT)
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError:
        raise InputError(f"the table {shown(path)} is not UTF-8 text") from None
