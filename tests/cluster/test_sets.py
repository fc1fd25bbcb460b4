"""Several stored sets on a Ray that nobody has started yet: the command itself starts it, once."""

import json

import pytest

from tests.cluster.conftest import command, make_context

pytestmark = pytest.mark.ray


def test_two_sets_are_evaluated_together(settings, tmp_path):
    from padray.stages import pipeline

    root = tmp_path / "runs"
    names = []
    for seed in (0, 1):
        context = make_context(settings, root, "inline", (f"distill.seed={seed}",))
        names.append(pipeline.run(context, "distill").identities["distill"].folder)
    done = command("evaluate", *names, "--storage", root, "--json", "--set", "cluster.max_actors=1")
    out, err = done.communicate(timeout=180)
    assert done.returncode == 0, err
    rows = json.loads(out)["evaluation"]
    assert [row["set"] for row in rows if row["source"] == "distilled"] == [
        n for n in names for _ in range(len(rows) // 4)
    ]
    controls = [row["values"] for row in rows if row["source"] == "random"]
    assert controls[: len(controls) // 2] == controls[len(controls) // 2 :], "sets of one size share their control"
