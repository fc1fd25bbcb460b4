"""Tiny ImageNet as it is downloaded: its validation files lie in one folder, and a table says their classes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from padray.config import DataSettings
from padray.data import sources, survey
from padray.errors import InputError

IDS = ("n02124075", "n01443537", "n04067472")  # as wnids.txt has them: in no order
WORDS = {"n01443537": "goldfish, Carassius auratus", "n02124075": "Egyptian cat", "n04067472": "reel"}


def picture(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), grey).save(path, "PNG")  # so that the grey levels stay what they are


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Three classes, two training files of each, two validation files of each, a test file without a label."""
    root = tmp_path / "tiny-imagenet-200"
    lines = []
    for kind, wnid in enumerate(IDS):
        for index in range(2):
            picture(root / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", 10 * kind + index)
            picture(root / "val/images" / f"val_{2 * kind + index}.JPEG", 100 + 10 * kind + index)
            lines.append(f"val_{2 * kind + index}.JPEG\t{wnid}\t0\t32\t44\t62\n")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t32\t44\t62\n")
    picture(root / "test/images/test_0.JPEG", 250)
    (root / "val/val_annotations.txt").write_text("".join(reversed(lines)))
    (root / "wnids.txt").write_text("\n".join(IDS) + "\n")
    (root / "words.txt").write_text("n00001740\tentity\n" + "".join(f"{w}\t{name}\n" for w, name in WORDS.items()))
    return root


def settings(root: Path, **kw: object) -> DataSettings:
    return DataSettings.model_validate({"dataset": "tiny", "path": str(root), **kw})


def refused(root: Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        sources.read(settings(root))
    assert str(caught.value).isprintable() and all(part in str(caught.value) for part in parts), caught.value


def test_val_is_the_test_split_and_classes_are_in_the_order_of_their_ids(tiny):
    raw = sources.read(settings(tiny))
    assert raw.class_names == ("goldfish", "Egyptian cat", "reel"), "by rising WordNet id, with their first word"
    assert raw.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert raw.train.images[:, 0, 0, 0].tolist() == [10, 11, 0, 1, 20, 21]
    assert raw.test.images[:, 0, 0, 0].tolist() == [100, 101, 110, 111, 120, 121]
    assert raw.test.labels.tolist() == [1, 1, 0, 0, 2, 2] and raw.test.place == "val/"


def test_a_survey_of_it_and_its_plan_for_the_test_split(tiny):
    found = survey.look(str(tiny), DataSettings())
    assert (found.names[0], found.test, found.test_place, found.shape) == ("goldfish", 6, "val/", (1, 4, 4))


def test_it_is_the_same_data_as_refoldered_by_hand(tiny):
    """What peers' scripts make of it: class folders in val/, the table and the flat test/ left where they were."""
    downloaded = sources.read(settings(tiny))
    for line in (tiny / "val/val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        (tiny / "val" / wnid).mkdir(exist_ok=True)
        (tiny / "val/images" / name).rename(tiny / "val" / wnid / name)
    (tiny / "val/images").rmdir()
    raw = sources.read(settings(tiny))
    assert raw.class_names == tuple(sorted(IDS))
    assert np.array_equal(raw.train.images, downloaded.train.images)
    by_grey = np.argsort(raw.test.images[:, 0, 0, 0])
    assert raw.test.labels[by_grey].tolist() == downloaded.test.labels.tolist()


def test_names_that_words_do_not_tell_apart_are_the_ids(tiny):
    (tiny / "words.txt").write_text("n01443537\tcrane, a bird\nn04067472\tcrane, a machine\n")
    assert sources.read(settings(tiny)).class_names == IDS[1:2] + IDS[0:1] + IDS[2:]
    (tiny / "words.txt").unlink()
    assert sources.read(settings(tiny)).class_names == tuple(sorted(IDS))


def test_its_digest_follows_the_labels_too(tiny):
    first = sources.source_digest(settings(tiny))
    (tiny / "wnids.txt").unlink()
    shutil.rmtree(tiny / "test")
    assert sources.source_digest(settings(tiny)) == first, "files that are not read do not count"
    table = tiny / "val/val_annotations.txt"
    table.write_text(table.read_text().replace("val_0.JPEG\tn02124075", "val_0.JPEG\tn04067472"))
    assert sources.source_digest(settings(tiny)) != first
    assert sources.read(settings(tiny)).test.labels.tolist() == [2, 1, 0, 0, 2, 2]


@pytest.mark.parametrize(
    "line, parts",
    [
        ("val_0.JPEG", ("line 7", "val_annotations.txt", "a tab")),
        ("val_0.JPEG\tn00000001", ("line 7", "'n00000001'", "no class of train/")),
        ("val_0.JPEG\tn04067472", ("line 7", "val_0.JPEG", "twice")),
        ("../test/images/test_0.JPEG\tn04067472", ("no file ../test/images/test_0.JPEG", "val/images")),
        ("val_9.JPEG\tn04067472", ("no file val_9.JPEG", "val/images")),
    ],
)
def test_faults_of_its_table(tiny, line, parts):
    with (tiny / "val/val_annotations.txt").open("a") as table:
        table.write(line + "\n")
    refused(tiny, *parts)


def test_a_picture_without_a_line_and_a_table_that_is_no_text(tiny):
    picture(tiny / "val/images/val_77.JPEG", 1)
    refused(tiny, "val/images/val_77.JPEG", "val_annotations.txt")
    (tiny / "val/val_annotations.txt").write_bytes(b"\xff\xfe\0")
    refused(tiny, "val_annotations.txt", "UTF-8")
    (tiny / "val/val_annotations.txt").unlink()
    refused(tiny, "no class of train/")
