"""What pages and `--help` tell to type can be typed: padray's own parser reads it, and what it names is there."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from padray.commandline import cli, examples
from padray.configuration import arguments, loading
from padray.exchange.incoming import KINDS
from padray.exchange.targets import LAYOUTS
from tests.docs.pages import PAGES, ROOT, blocks, name, text

COMMANDS = typer.main.get_command(cli.app)
CONFIGS = {
    "CONFIG",
    "NAME",
    "FOLDER.yaml",
    "mine.yaml",
    "wines.yaml",
}  # to fill in, or written by the line before
SPACES = {"FILE", "mine-space.yaml"}
OTHERS = {"ray": {"up", "down", "job", "dashboard"}, "kubectl": {"create"}, "export": None, ".": None, "cd": None}


def typed(block: str) -> list[list[str]]:
    """The commands of a block, without their comments."""
    whole = block.replace("\\\n", " ")
    return [words for line in whole.splitlines() if (words := shlex.split(line, comments=True))]


def check(words: list[str]) -> None:
    """Raise unless a command can be typed so."""
    program, *rest = words
    if program == "padray":
        check_padray(rest)
    elif program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.M), rest
    elif program == "python":
        assert rest == ["train.py"] or (rest[0] == "-m" and importlib.util.find_spec(rest[1])), rest
    else:
        assert program in OTHERS and rest[0] in (OTHERS[program] or rest), words
        if rest[:2] == ["job", "submit"]:
            check_job(rest[rest.index("--") + 1 :])
        for word in rest:
            assert not word.endswith(".yaml") or (ROOT / word).is_file(), word


def check_job(words: list[str]) -> None:
    module = words[words.index("-m") + 1]
    assert importlib.util.find_spec(module), module
    check_padray([module.removeprefix("jobs.").replace("pipeline", "run"), *words[words.index("-m") + 2 :]])


def check_padray(words: list[str]) -> None:
    if words[0] in ("-h", "--help", "--version"):
        return
    if words[:2] == ["config", "show"]:
        given = COMMANDS.commands["config"].commands["show"].make_context("show", words[2:]).params
        return check_settings(given)
    assert words[0] in COMMANDS.commands, f"padray {words[0]} is no command"
    if words[1:] in (["-h"], ["--help"]):
        return
    given = arguments.parameters(COMMANDS, words[0], words[1:])
    if words[0] == "submit":
        line = arguments.parse(COMMANDS, tuple(given["line"]))
        return check_settings({**line.options, "path" if line.command == "study" else "config": line.names[0]})
    check_settings(given)


def check_settings(given: dict) -> None:
    """What the words mean: presets, overrides, files, layouts, runners."""
    if "space" in given and given["space"] not in {None, *SPACES}:
        loading.load_space(str(ROOT / given["space"]))
    if given.get("path", "").startswith("search_spaces/"):
        assert (ROOT / given["path"]).is_file()
    config = given.get("config")
    if config is not None:
        assert config in {*CONFIGS, *loading.preset_names()}, f"{config} is no preset"
        base = config if config in loading.preset_names() else "demo"
        loading.settings_of(base, tuple(given.get("overrides") or ()))
    assert given.get("layout") in {None, *LAYOUTS} and given.get("kind") in {None, *KINDS}
    assert given.get("runner") in {None, "ray", "inline"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_of_a_page_can_be_typed(page):
    for language in re.findall(r"^ *```(\w+)$", text(page), re.M):
        assert language in ("bash", "python", "yaml"), f"{language}: commands are marked bash, or nobody checks them"
    for block in blocks(page, "bash"):
        for words in typed(block):
            check(words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_yaml_on_a_page_is_a_search_space(page, tmp_path):
    for block in blocks(page, "yaml"):
        (tmp_path / "space.yaml").write_text(block)
        space = loading.settings_of("digits-ipc1", space=str(tmp_path / "space.yaml")).config.search.space
        assert len(space) == len(re.findall(r"^\S", block, re.M)) > 0


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_option_that_a_sentence_names_is_one(page):
    """`padray verify --repair` and the like: the command is there and has these options."""
    for words in re.findall(r"`padray ((?:config )?[a-z][\w-]*)([^`\n]*)`", text(page)):
        command = COMMANDS
        for part in words[0].split():
            assert part in command.commands, f"padray {words[0]}"
            command = command.commands[part]
        if words[0] != "submit":
            assert set(re.findall(r"(--[a-z-]+)", words[1])) <= options(command), words


def options(command: typer.core.TyperCommand) -> set[str]:
    return {option for each in command.params for option in each.opts if option.startswith("--")} | {"--help"}


def test_the_table_of_commands_has_all_of_them_with_options_that_they_have():
    table = next(part for part in text(ROOT / "docs/commands.md").split("\n\n") if part.startswith("| command |"))
    said = set()
    for line in table.splitlines()[2:]:
        for use in re.findall(r"`([^`]+)`", line.replace("\\|", "/").split(" | ")[0]):
            said.add(use.split()[0])
            if use.split()[0] != "config":
                assert set(re.findall(r"(--[a-z-]+)", use)) <= options(COMMANDS.commands[use.split()[0]]), use
    assert said == set(COMMANDS.commands)


def test_a_misspelt_option_preset_setting_or_file_is_seen():
    for wrong in (
        "padray run demo --storge runs",
        "padray run demmo",
        "padray run demo --set distill.icp=1",
        "padray tune demo --space search_spaces/nothing.yaml",
        "padray submit run demo --adress URL",
        "padray submit run demo --address URL --storge runs",
        "padray export SET DEST --to png",
        "padray runn demo",
        "make demoo",
        "python -m padray.configuration.nothing",
        "ray job submit --address URL -- python -m jobs.tune demo --spaces FILE",
        "rm -rf runs",
    ):
        with pytest.raises(Exception):  # noqa: B017 (typer's, ours, or an assertion)
            check(shlex.split(wrong))


# -- examples of --help


def test_every_command_has_examples():
    """Those of `config` are its command's."""
    assert set(examples.EXAMPLES) == {*COMMANDS.commands, "config show"} - {"config"}


@pytest.mark.parametrize("command", sorted(examples.EXAMPLES))
def test_examples_can_be_typed_and_help_shows_them(command):
    for example in examples.EXAMPLES[command]:
        words = shlex.split(example)
        assert words[: 1 + len(command.split())] == ["padray", *command.split()], "an example of its own command"
        check(words)
    shown = CliRunner().invoke(cli.app, [*command.split(), "--help"], env={"COLUMNS": "200"}).output
    assert all(example in shown for example in examples.EXAMPLES[command])


def test_pages_are_there():
    assert len(PAGES) > 12 and isinstance(PAGES[0], Path)
