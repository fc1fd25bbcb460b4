"""Checkpoints: what goes in comes out, and those of an earlier format are still read."""

from pathlib import Path

import pytest
import torch

from padray.errors import InputError
from padray.methods import state as states
from padray.methods.state import Best, State
from padray.store.pieces import whole
from padray.synthetic.set import Learned

FACTS = {"fingerprint": "f", "numerics": {}, "history": []}
FORMAT_1 = Path(__file__).with_name("checkpoint-format1.safetensors")
FORMAT_2 = Path(__file__).with_name("checkpoint-format2.safetensors")


def learned(value: float) -> Learned:
    return Learned(torch.full((2, 1, 1, 2), value), torch.full((2, 2), value + 0.5), torch.tensor(value / 10))


def equal(left: Learned, right: Learned) -> bool:
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in ("images", "labels", "lr"))


def test_a_state_with_everything_round_trips():
    weights, momentum, average = torch.rand(3), torch.rand(3), torch.rand(2, 1, 1, 2)
    own = {"weights": weights, "weights_momentum": momentum}
    made = State(7, learned(1), learned(2), own, average, Best(5, 0.75, learned(3)), barren=4)
    content = whole(states.encode(made, FACTS))
    read, facts = states.decode(content)
    assert facts == FACTS
    assert (read.iteration, read.barren) == (7, 4)
    assert equal(read.learned, made.learned) and equal(read.momentum, made.momentum)
    assert torch.equal(read.own["weights"], weights)
    assert torch.equal(read.own["weights_momentum"], momentum)
    assert torch.equal(read.average, average)
    assert (read.best.iteration, read.best.accuracy) == (5, 0.75) and equal(read.best.learned, learned(3))
    assert whole(states.encode(states.to_device(read, torch.device("cpu")), FACTS)) == content


def test_a_state_without_weights_or_average_has_none_after_reading():
    read, _ = states.decode(whole(states.encode(states.start(learned(1), None), FACTS)))
    assert (read.own, read.average, read.best) == ({}, None, None)


def test_format_1_is_read_with_weights_that_stand_still():
    """A checkpoint that padray 0.1 wrote."""
    read, facts = states.decode(FORMAT_1.read_bytes())
    assert facts == FACTS
    assert read.iteration == 7
    assert equal(read.learned, learned(1)) and equal(read.momentum, learned(2))
    assert read.own["weights"].tolist() == [0.5, 1.0, 1.5]
    assert read.own["weights_momentum"].tolist() == [0.0, 0.0, 0.0]
    assert read.average is None
    assert (read.best.iteration, read.best.accuracy) == (5, 0.75) and equal(read.best.learned, learned(3))


def test_format_2_is_read_with_its_whole_history_in_parts():
    """A checkpoint from before checkpoints held the latest metrics."""
    read, facts = states.decode(FORMAT_2.read_bytes())
    assert (read.iteration, read.barren, read.best.accuracy) == (7, 0, 0.75)
    assert equal(read.learned, learned(1)) and equal(read.momentum, learned(2)) and equal(read.best.learned, learned(3))
    assert torch.equal(read.average, torch.full((2, 1, 1, 2), 4.0))
    assert torch.equal(read.own["weights_momentum"], torch.tensor([0.1, 0.2, 0.3]))
    assert len(facts["history"]) == 1 and facts.keys() == FACTS.keys()


def test_a_best_iterate_that_is_this_very_state_is_stored():
    made = State(7, learned(1), learned(2)).judged(0.5)
    assert made.best.learned is made.learned
    assert equal(states.decode(whole(states.encode(made, FACTS)))[0].best.learned, learned(1))


def test_a_newer_checkpoint_is_refused(monkeypatch):
    monkeypatch.setattr(states, "CHECKPOINT_FORMAT", 4)
    content = whole(states.encode(states.start(learned(1), None), FACTS))
    monkeypatch.undo()
    with pytest.raises(InputError, match="format 4; this padray reads up to 3"):
        states.decode(content)


def test_what_is_judged_and_kept_has_the_averaged_images_and_the_newest_labels():
    made = State(3, learned(1), learned(0), average=torch.full((2, 1, 1, 2), 9.0)).judged(0.5)
    assert torch.equal(made.best.learned.images, made.average)
    assert torch.equal(made.best.learned.labels, made.learned.labels)
    assert made.best.learned.lr == made.learned.lr
    assert made.judged(0.5).best is made.best  # the earlier one wins a tie
