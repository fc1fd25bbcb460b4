"""A manifest tells the numerics of those who did the work, who may be other machines than the driver's."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from padray.stages import base, deciding, pipeline
from padray.stages.inline import InlineRunner
from tests.cluster.conftest import make_context


class Elsewhere(InlineRunner):
    """As if the units were made on other machines; each unit after the first ones on yet another."""

    def __init__(self, machines: list[str]) -> None:
        self.machines = machines

    def map(self, work, units) -> Iterator[base.Done]:
        for place, done in enumerate(super().map(work, units)):
            machine = self.machines[place % len(self.machines)]
            yield replace(done, numerics={**done.numerics, "machine": machine})


@pytest.fixture
def manifests(settings, tmp_path, monkeypatch):
    def made(machines: list[str], *overrides: str) -> dict[str, dict]:
        decide = deciding.decide
        monkeypatch.setattr(deciding, "decide", lambda compute: replace(decide(compute), machine="trainer"))
        context = make_context(settings, tmp_path / "runs", "inline", overrides)
        context.runner = Elsewhere(machines)
        pipeline.run(context, "evaluate")
        found = [json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("manifest.json")]
        return {manifest["stage"]: manifest["numerics"] for manifest in found}

    return made


def test_the_workers_numerics_are_recorded(manifests):
    found = manifests(["worker"])
    assert {stage: numerics["machine"] for stage, numerics in found.items() if stage != "data"} == {
        "scores": "worker",
        "experts": "worker",
        "distill": "trainer",
        "evaluation": "worker",
    }
    assert found["data"]["machine"] not in ("worker", "trainer"), "the driver reads the data itself"


def test_machines_that_differ_are_all_told(manifests):
    experts = manifests(["one", "two"])["experts"]
    assert experts["machine"] == "one"
    assert [other["machine"] for other in experts["others"]] == ["two"]


def test_units_that_are_there_already_keep_what_was_recorded(manifests, tmp_path):
    assert manifests(["worker"])["experts"]["machine"] == "worker"
    for path in (tmp_path / "runs" / "distilled").rglob("manifest.json"):
        path.unlink()
    assert manifests(["later"])["experts"]["machine"] == "worker"
