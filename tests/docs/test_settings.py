"""docs/settings.md is what the models say, and the models say something of every setting."""

import re

import pytest
from pydantic import BaseModel, ValidationError

from padray.config import Config
from padray.configuration import loading, reference, trees
from padray.configuration.reference import Setting
from padray.errors import InputError
from padray.methods.families import FAMILIES
from padray.settings.sections import Section
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
KNOWN = {"ours", "PAD", "IADD", "DATM", "MTT", "FTD", "DM", "DC", "DeepCore", "RDED"}


def of_family(name: str) -> dict[str, Setting]:
    """The settings of a configuration with a distillation of that family, by their names."""
    found = [row for row in reference.settings_of(Config, "") if not row.key.startswith("distill.")]
    return {row.key: row for row in (*found, *reference.settings_of(FAMILIES[name].settings, "distill."))}


each_family = pytest.mark.parametrize("family", FAMILIES)


def test_the_page_is_made_from_the_models():
    assert reference.page() == PAGE, "python -m padray.configuration.reference > docs/settings.md"


@each_family
def test_every_setting_is_there_with_its_meaning_and_whose_default_it_is(family):
    rows = of_family(family)
    config = Config.model_validate({"distill": {"family": family}})
    for key, _ in loading.effective(config):
        near = [row for row in rows.values() if f"{key}.".startswith(f"{row.key}.")]
        assert near or key == "search.space", key
    for row in rows.values():
        assert f"| `{row.key}`" in PAGE
        assert row.meaning.endswith((".", ")")) and len(row.meaning.split()) >= 2, row
        assert row.source in KNOWN and row.allowed, row


def test_a_setting_without_a_text_is_refused():
    class Silent(Section):
        width: int = 1

    with pytest.raises(ValueError, match=r"Silent\.width needs a text below it"):
        list(reference.settings_of(Silent, ""))


@each_family
def test_defaults_are_those_of_the_settings(family):
    """Read as YAML, for the page shows what would be typed."""
    values = dict(loading.effective(Config.model_validate({"distill": {"family": family}})))
    seen = 0
    for key, row in of_family(family).items():
        if key in values and key not in ("network.width", "network.depth"):  # the page says: the family's usual ones
            assert trees.parse_value(row.default, key) == values[key], key
            seen += 1
    assert seen > 90


def test_every_choice_that_is_listed_is_known_to_the_models():
    """Of another setting a choice may ask more; the sentence is then about that."""
    rows, tried = of_family("trajectory"), 0
    for key, row in rows.items():
        if key.startswith("search.space.") or not re.fullmatch(r"(`[\w-]+`(, )?)+", row.allowed):
            continue
        for value in re.findall(r"`([\w-]+)`", row.allowed):
            tried += 1
            try:
                loading.settings_of("digits-ipc1", (f"{key}={value}",))
            except loading.UnfitError as error:
                assert "must be" not in str(error) and "input should be" not in str(error), (key, value)
        with pytest.raises(InputError):
            loading.settings_of("digits-ipc1", (f"{key}=nothing-of-that-name",))
    assert tried > 60


@pytest.mark.parametrize("model", [Config, *(family.settings for family in FAMILIES.values())])
def test_bounds_are_those_that_hold(model: type[BaseModel]):
    """A value just outside a bound that the page tells is refused, by each setting that has one."""
    for row in reference.settings_of(model, ""):
        for word, number in re.findall(r"^(?:whole )?number, (at least|above) ([\d.,]+\d)", row.allowed):
            wrong = float(number.replace(",", "")) - (1 if word == "at least" else 0)
            value = int(wrong) if row.allowed.startswith("whole") else wrong
            tree: dict = {}
            inner = tree
            for part in row.key.split(".")[:-1]:
                inner = inner.setdefault(part, {})
            inner[row.key.split(".")[-1]] = value
            if model is not Config:
                tree["family"] = next(name for name, each in FAMILIES.items() if each.settings is model)
            if "NAME" not in row.key:
                with pytest.raises(ValidationError):
                    model.model_validate(tree)
