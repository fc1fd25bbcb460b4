"""Ctrl-C or a kill within a unit: whoever makes it goes on some seconds before that, and stores the same bytes."""

from pathlib import Path

import pytest

from padray.errors import Interrupted
from padray.experts.optimisers import SGD
from padray.stages import unfinished
from tests.conftest import TINY
from tests.roots import chain, different, inspect, stored

# Batch statistics, GSAM, a learning rate that falls by half with a new optimiser, one network trained twice over.
SETTINGS = (
    "distill.validation.seeds=0",  # an iterate that was judged in part is judged anew
    "scores.epochs=3",
    "experts.rho=0.05",
    "distill.ema_decay=0.9",
    "evaluation.double_training=true",
    "evaluation.architectures=[{name: convnet, width: 4, depth: 1, norm: batch}]",
)
TAUGHT = (
    "distill.validation.seeds=0",
    "evaluation.protocol=rded-kd",
    "evaluation.batch=8",
    "evaluation.teacher={network: {name: convnet, width: 4, depth: 2}, epochs: 8, teacher_batch: 32, lr: 0.05}",
)
CORESET = """
data: {dataset: digits, limit_per_class: 25}
network: {name: convnet, width: 4, depth: 2}
distill:
  family: coreset
  method: forgetting
  ipc: 2
  scoring: {network: {name: convnet, width: 4, depth: 2, norm: batch}, epochs: 4, batch: 64, lr: 0.01}
evaluation: {seeds: 1, epochs: 4, augment: crop, controls: {lrs: [0.01], tuning_seeds: 1}}
"""


class Steps:
    """Counts the optimisers' steps, and interrupts before every `every`th."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made, self.every, self.since = 0, 0, 0
        ours = SGD.step

        def step(optimiser: SGD) -> None:
            self.since += 1
            if self.every and self.since > self.every:
                self.since = 0
                raise KeyboardInterrupt
            self.made += 1
            ours(optimiser)

        monkeypatch.setattr(SGD, "step", step)


@pytest.mark.parametrize("text, overrides, every", [(TINY, SETTINGS, 23), (TINY, TAUGHT, 5), (CORESET, (), 3)])
def test_no_batch_is_made_twice_and_the_bytes_are_those_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, overrides: tuple[str, ...], every: int
):
    settings = tmp_path / "settings.yaml"
    settings.write_text(text)
    steps, once, often = Steps(monkeypatch), str(tmp_path / "once"), str(tmp_path / "often")
    chain(settings, once, *overrides)
    undisturbed, steps.made, steps.every = steps.made, 0, every
    monkeypatch.setattr(unfinished, "EVERY_S", 0.0)
    monkeypatch.setattr(unfinished.Rhythm, "took", lambda *arguments: None)  # storing takes more than 2 % here
    for _ in range(undisturbed // every + 5):
        try:
            chain(settings, often, *overrides)
            break
        except (KeyboardInterrupt, Interrupted):
            steps.since = 0
            assert not [kind for kind in inspect(often).values() if kind not in ("unfinished", "orphan")]
    else:
        pytest.fail("it never comes to its end")
    assert steps.made == undisturbed
    assert different(stored(once), stored(often)) == [], "and nothing unfinished is left"
