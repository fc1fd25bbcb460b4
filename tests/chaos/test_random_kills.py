"""A writer killed at random moments, again and again: the same command ends with the same bytes, and nothing is wrong.

`PADRAY_KILLS_SEED=n` repeats the moments of a session; where the kills hit depends on the machine all the same.
"""

import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from padray.store.opening import open_location
from tests.cluster.conftest import command
from tests.roots import NewRoot, chain, different, inspect, stored

pytestmark = pytest.mark.chaos
KILLS = 20


@pytest.fixture(scope="module")
def undisturbed(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = str(tmp_path_factory.mktemp("undisturbed") / "runs")
    chain(settings, root)
    return stored(root)


@dataclass
class Hunt:
    """One command on one root after another, and when each of them was killed."""

    settings: Path
    new_root: NewRoot
    chance: random.Random
    span: tuple[float, float] = (0.0, 0.0)  # seconds after its start between which a command writes
    moments: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """When an undisturbed command has its first object in the storage, and when it ends."""
        root, began = self.new_root(), time.monotonic()
        run = self._start(root)
        location = open_location(root)
        while not location.keys("datasets"):
            assert run.poll() is None and time.monotonic() - began < 60
            time.sleep(0.05)
        first = time.monotonic() - began
        assert run.wait(120) == 0, run.communicate()
        self.span = first, time.monotonic() - began
        run.communicate()

    def _start(self, root: str) -> subprocess.Popen[str]:
        return command("evaluate", self.settings, "--storage", root, "--runner", "inline", environment={**os.environ})

    def survives(self, root: str, moment: float) -> bool:
        """Whether a command on this root ends before the moment at which it is killed."""
        run = self._start(root)
        try:
            _, err = run.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            if run.returncode != -signal.SIGKILL:
                return True
            self.moments.append(round(moment, 2))
            return False
        assert run.returncode == 0, err
        return True

    def kill_until_it_survives(self, root: str) -> None:
        while len(self.moments) < KILLS and not self.survives(root, self.chance.uniform(*self.span)):
            pass


def test_a_writer_killed_at_random_moments_leaves_what_the_same_command_finishes(settings, undisturbed, new_root):
    seed = int(os.environ.get("PADRAY_KILLS_SEED") or random.SystemRandom().randrange(10**6))
    hunt = Hunt(settings, new_root, random.Random(seed))
    hunt.measure()
    while len(hunt.moments) < KILLS:
        root = new_root()
        hunt.kill_until_it_survives(root)
        about = f"PADRAY_KILLS_SEED={seed}, killed after {hunt.moments} s of {hunt.span}"
        assert hunt.survives(root, 120.0), about
        assert different(stored(root), undisturbed) == [], about
        found = inspect(root, repair=True)
        assert set(found.values()) <= {"leftover"}, (about, found)
        assert inspect(root) == {} and different(stored(root), undisturbed) == [], about
