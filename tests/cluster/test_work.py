"""The job that `padray submit` makes of a command line: what travels, and what is refused before anything is sent."""

import json
import shlex
from pathlib import Path

import pytest

from padray import __version__
from padray.cluster import package
from padray.configuration import arguments
from padray.errors import InputError
from tests.cluster.sending import NOWHERE, SPACE, sent
from tests.conftest import TINY, Run

STUDY = "search_spaces/study_iadd_teachers.yaml"


def test_only_the_named_files_and_variables_travel(mine, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:9000")
    space = tmp_path / "my space.yaml"
    space.write_text(SPACE)
    plain = sent("demo", "--storage", "/s", "--set", "experts.count=3")
    assert plain.entrypoint == "python -m padray.commandline.job run demo --storage=/s --set=experts.count=3"
    assert not plain.files and not plain.variables and plain.size == 0
    named = ("AWS_ENDPOINT_URL_S3", "A=b=c")
    job = sent("tune", mine, f"--space={space}", "--storage=s3://b/p", variables=named)
    assert job.entrypoint == (
        "python -m padray.commandline.job tune settings/tiny.yaml --space 'space/my space.yaml' --storage=s3://b/p"
    )
    assert job.files == {"settings/tiny.yaml": mine, "space/my space.yaml": space}
    assert job.size == len(TINY) + len(SPACE)
    assert job.variables == {"AWS_ENDPOINT_URL_S3": "http://store:9000", "A": "b=c"}


def test_a_price_table_travels_with_its_search_and_a_price_as_it_is(mine, tmp_path):
    space, prices = tmp_path / "space.yaml", tmp_path / "prices.yaml"
    space.write_text(SPACE)
    prices.write_text("nodes: {}")
    line = ("tune", mine, f"--space={space}", "--storage=/s", "--money", 5)
    table = sent(*line, "--price", prices)
    assert table.files["prices/prices.yaml"] == prices
    assert table.entrypoint.endswith("--price prices/prices.yaml --storage=/s --money=5.0")
    assert "--price 0.4 " in sent(*line, "--price", 0.4).entrypoint


@pytest.mark.parametrize(
    "words, entrypoint",
    [
        *[((command, "demo"), f"{command} demo") for command in arguments.COMMANDS if command not in ("tune", "study")],
        (("demo",), "run demo"),
        (("demo", "--fresh"), "run demo --fresh"),
        (("experts", "--fresh", "demo", "--set", "seed=1"), "experts demo --set=seed=1 --fresh"),
        (("tune", "demo"), "tune demo"),
        (("--set", "seed=1", "scores", "demo"), "scores demo --set=seed=1"),
        (("evaluate", "some-set", "another"), "evaluate some-set another"),
        (("evaluate", "some-set", "--set", "evaluation.seeds=2"), "evaluate some-set --set=evaluation.seeds=2"),
        (("study", STUDY, "--profile", "small"), "study study/study_iadd_teachers.yaml --profile=small"),
        (
            ("study", STUDY, "--profile", "small", "--validation", "0.1"),
            "study study/study_iadd_teachers.yaml --profile=small --validation=0.1",
        ),
    ],
)
def test_every_command_that_computes_is_sent_as_it_is_typed(monkeypatch, words, entrypoint):
    monkeypatch.chdir(Path(__file__).parents[2])
    command, *rest = entrypoint.split()
    names = [word for word in rest if not word.startswith("--")]
    wanted = ["python", "-m", "padray.commandline.job", command, *names, "--storage=/s", *rest[len(names) :]]
    assert sent(*words, "--storage", "/s").entrypoint.split() == wanted


def test_what_a_search_starts_from_travels_as_values(tmp_path):
    (tmp_path / "best.yaml").write_text("distill: {lr_images: 0.75}")
    made = sent("tune", "demo", "--set", f"search.start=[{tmp_path}/best.yaml]", "--storage", "/s")
    values = {"distill.selection.alpha": 0.0, "distill.lr_images": 0.75}
    assert made.entrypoint.endswith(shlex.quote(f"--set=search.start={json.dumps([values])}")) and not made.files


def test_a_space_alone_means_a_search(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    for words in (("demo", "--space", tmp_path / "space.yaml"), (f"--space={tmp_path}/space.yaml", "demo")):
        assert sent(*words, "--storage=/s").entrypoint == (
            "python -m padray.commandline.job tune demo --space space/space.yaml --storage=/s"
        )


@pytest.mark.parametrize(
    "words, told",
    [
        (("verify", "--storage=/s"), "padray verify is no work for a cluster; there are run, data, scores"),
        (("run", "demo", "--spice=x", "--storage=/s"), "No such option: --spice"),
        (("run", "demo", "--storage=/s", "--space", "x.yaml"), "No such option: --space"),
        (("run", "--storage=/s"), "Missing argument 'CONFIG'"),
        (("experts", "dmo", "--storage=/s"), "'dmo' is neither a preset nor a .yaml file"),
        (("evaluate", "mine.yaml", "--storage=/s"), "cannot read the settings file mine.yaml"),
        (("evaluate", "a-set", "another", "--storage=runs"), "--storage runs is relative"),
        (("study", "nowhere.yaml", "--storage=/s"), "cannot read the study nowhere.yaml"),
        (("study", STUDY, "--set", "data.path=here", "--storage=/s"), "--set data.path here is relative"),
        (("run", "digits-ipc1", "--set", "data.validation=0", "--storage=/s"), "needs a validation split"),
        (("tune", "digits-ipc1", "--storage=/s"), "there is nothing to search: give --space"),
        (("tune", "demo", "--set", "cluster.workers=0", "--storage=/s"), "cluster.workers"),
    ],
)
def test_a_line_that_cannot_run_there_is_refused_here(run: Run, monkeypatch, words, told):
    monkeypatch.chdir(Path(__file__).parents[2])
    said = run("submit", *words, "--address", NOWHERE)
    assert said.code == 2 and told in said.err and len(said.err.splitlines()) == 1 and not said.out, said


def test_files_that_are_too_large_do_not_travel(mine, monkeypatch):
    monkeypatch.setattr(package, "MOST_BYTES", len(TINY) - 1)
    with pytest.raises(
        InputError, match=rf"the files of this job have {len(TINY):,} bytes, and no more than .*tiny.yaml"
    ):
        sent(mine, "--storage=/s")
    monkeypatch.setattr(package, "MOST_BYTES", len(TINY))
    assert sent(mine, "--storage=/s").size == len(TINY)


def test_the_metadata_say_which_work_it_is(mine, tmp_path):
    told = sent(mine, "--storage=/s").metadata
    assert told | {"digest": ""} == {"padray": __version__, "command": "run", "config": "tiny", "digest": ""}
    assert all(isinstance(value, str) for value in told.values()), "Ray takes nothing else"
    same = sent("run", mine, "--storage", "/s").metadata
    others = [
        sent(mine, "--storage=/t").metadata,
        sent(mine, "--storage=/s", variables=("A=b",)).metadata,
        sent("experts", mine, "--storage=/s").metadata,
    ]
    mine.write_text(TINY.replace("iterations: 12", "iterations: 13"))
    others.append(sent(mine, "--storage=/s").metadata)
    digests = [each["digest"] for each in (told, *others)]
    assert same == told and len(set(digests)) == len(digests)


def test_a_ranking_on_the_cluster_need_not_be_here():
    ranked = ("--set", "scores.method=file", "--set", "scores.path=/shared/order.npy")
    assert sent("digits-ipc1", "--storage=/s", *ranked).command == "run"


@pytest.mark.parametrize("key", ["data: {dataset: own, path: here}", "storage: {cache: here}"])
def test_relative_paths_in_a_settings_file_are_refused_too(tmp_path, key):
    (tmp_path / "mine.yaml").write_text(key)
    with pytest.raises(InputError, match=r"(data\.path|storage\.cache) here is relative"):
        sent(tmp_path / "mine.yaml", "--storage", "s3://b/p")
