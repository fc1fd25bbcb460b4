"""README and the pages of docs/ tell the truth: what they name is there, and nothing in them is left to fill in."""

import itertools
import re

import pytest

from padray.config import DataSettings
from padray.configuration import loading
from padray.data import sources
from padray.networks import factory
from tests.docs.pages import PAGES, README, ROOT, name, on_one_line, text

HOUSE, CHOOSING = ROOT / "docs/house.md", ROOT / "docs/choosing.md"
ALL = "\n".join(map(text, PAGES))
LINE = on_one_line(*PAGES)
each_page = pytest.mark.parametrize("page", PAGES, ids=name)


def test_readme_is_short():
    assert len(text(README).splitlines()) <= 130


def test_every_module_and_folder_of_padray_is_in_the_tree_once():
    tree = next(block for block in text(HOUSE).split("```")[1::2] if block.startswith("\npadray/"))
    named = [
        name for line in tree.splitlines() if line.startswith("  ") for name in re.findall(r"[a-z_]+(?:\.py|/)", line)
    ]
    there = [path.name + ("/" if path.is_dir() else "") for path in (ROOT / "padray").iterdir()]
    assert sorted(named) == sorted(set(there) - {"__init__.py", "__pycache__/", "presets/", "py.typed"})


def spelt_out(pattern: str) -> list[str]:
    """`a-{x,y}` is `a-x` and `a-y`."""
    parts = re.split(r"\{(.*?)\}", pattern)
    choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def test_every_preset_is_named_and_every_name_is_a_preset():
    table = next(block for block in text(CHOOSING).split("\n\n") if block.startswith("| preset |"))
    named = [
        name for line in table.splitlines() for pattern in re.findall(r"`(.+?)`", line) for name in spelt_out(pattern)
    ]
    assert sorted(named) == loading.preset_names()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"\b(?:tests|search_spaces|jobs|padray)/[\w/]+\.(?:py|json|yaml)", ALL)))
)
def test_every_file_that_is_named_exists(path):
    assert (ROOT / path).is_file()


def without_settings() -> str:
    """All pages but the one that is made from the models, which has settings of settings (search.space.NAME)."""
    return "\n".join(text(page) for page in PAGES if page.name != "settings.md")


def test_every_setting_that_is_named_exists():
    presets = ("demo", "dm-digits-ipc1", "dc-digits-ipc1", "coreset-digits-ipc10")  # of each family one
    known = {key for name in presets for key, _ in loading.effective(loading.load(name).config)}
    sections = "data|network|scores|schedule|experts|distill|evaluation|search|cluster|compute|storage"
    named = re.findall(rf"`((?:{sections})\.(?!yaml)[a-z_.]+)(?:: \w+)?`", without_settings())
    assert len(set(named)) > 60
    assert not [name for name in named if not any(f"{key}.".startswith(f"{name}.") for key in known)]


def test_which_iterate_a_set_is_is_said_where_presets_and_differences_are_listed():
    """Who compares with a paper's number must know that it is the best of many on the test split."""
    assert "no validation split can choose an iterate and the last one is the set" in LINE
    assert "the papers report the iterate that is best on test" in LINE
    assert "where there is none (the papers' presets) it is the last one" in LINE


def test_digits_has_as_many_test_samples_as_it_is_said():
    count = sources.outline(DataSettings()).test
    assert f"digits' test split has {count} samples, so one of them is {100 / count:.1f} points" in LINE


def test_the_disk_that_a_papers_experts_take():
    sizes = []
    for preset, shape, classes in (
        ("pad-cifar10-ipc10", (3, 32, 32), 10),
        ("pad-cifar100-ipc10", (3, 32, 32), 100),
        ("pad-tiny-ipc10", (3, 64, 64), 200),
    ):
        config = loading.settings_of(preset).config
        parameters = sum(one.numel() for one in factory.build(config.network, shape, classes, 0).parameters())
        sizes.append(4 * parameters * (config.experts.epochs + 1) * config.experts.count / 1e9)
    said = "keep {:.1f} GB of snapshots for CIFAR-10, {:.1f} GB for CIFAR-100 and {:.1f} GB for Tiny ImageNet"
    assert said.format(*sizes) in LINE


def test_the_size_of_a_whitening_matrix():
    assert f"{4 * (3 * 64 * 64) ** 2 / 1e6:.0f} MB at 64x64 in colour" in LINE


@each_page
def test_nothing_is_left_to_fill_in(page):
    assert not re.findall(r"^[A-Z]{4,}$", text(page), re.M)
    assert not re.findall(r"RAYLINES|TODO|FIXME|XXX", text(page))
