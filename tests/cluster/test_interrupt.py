"""A driver that is told to stop, by Ctrl-C or `ray job stop`: its Train workers store their last state first."""

import json
import re
import shutil
import signal

import pytest

from tests.cluster.conftest import command, objects, wait_for

pytestmark = pytest.mark.ray
SELDOM = "distill.checkpoint_seconds=60"  # so that only the stop stores a state


def test_a_driver_that_is_told_to_stop_has_its_workers_store_their_last_state(
    local_ray, chain, settings, inline, tmp_path
):
    root, once = tmp_path / "runs", tmp_path / "once"
    for each in (root, once):
        shutil.copytree(inline[0], each, ignore=shutil.ignore_patterns("distilled", "evaluations", "events"))
    overrides = [part for text in (SELDOM, "distill.iterations=4000", "cluster.workers=2") for part in ("--set", text)]
    run = command("distill", settings, "--storage", root, *overrides, environment=local_ray)

    def begun() -> bool:  # a line on the terminal comes later, when many more iterations are over
        signs = [json.loads(path.read_text()) for path in root.glob("running/*")]
        return any(stage["stage"] == "distill" and stage["done"] for sign in signs for stage in sign["stages"])

    wait_for("the first iterations", begun, 100)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=100)
    assert run.returncode == 130 and "Traceback" not in err, err
    found = re.search(
        r"interrupted; the state after (\d+) of 4000 iterations is kept, and the same command goes on", err
    )
    assert found, err
    further = (SELDOM, f"distill.iterations={int(found[1]) + 2}")
    for each in (root, once):
        chain(each, "inline", *further, until="distill")
    assert objects(root, "distilled") == objects(once, "distilled")


def test_a_search_that_is_told_to_stop_ends_without_a_word_of_rays(local_ray, settings, tmp_path):
    """Tune's thread would ask Ray while that shuts down, and so join the cluster once more."""
    space = tmp_path / "space.yaml"
    space.write_text("distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}\n")
    overrides = [part for text in ("search.trials=8", "distill.iterations=4000") for part in ("--set", text)]
    line = ["tune", settings, "--space", space, "--storage", tmp_path / "runs", *overrides]
    run = command(*line, environment=local_ray)
    wait_for("a trial that was begun", lambda: list(tmp_path.rglob("begun-*")), 60)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=100)
    assert run.returncode == 130, err
    assert "padray: interrupted; everything finished is kept" in err
    assert "Traceback" not in err and "Ray cluster" not in err, err
