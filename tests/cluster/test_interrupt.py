"""A driver that is told to stop, by Ctrl-C or `ray job stop`: its Train workers store their last state first."""

import re
import shutil
import signal

import pytest

from tests.cluster.conftest import command, objects

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
    told = ""
    while "distill " not in told:  # the first iterations are over
        line = run.stderr.readline()
        assert line, told
        told += line
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
