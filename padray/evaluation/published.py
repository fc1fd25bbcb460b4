"""The protocols by which papers evaluate a set, one row each. A new protocol is a new row.

A protocol says how a fresh network is trained on the set; which networks, how many of them, and the controls are the
user's. Every value that `evaluation` sets itself stands in the row's place.

What is the same in all rows, and so is ours where a paper has it otherwise: the last epoch counts and test is read once
(IDC takes the best of four readings, DeepCore that of all epochs, RDED that of the last fifth); labels are used as they
are, soft ones through their softmax; the lr is the one that was learned with the set or, where none was, the row's;
rotated and scaled images are sampled with aligned corners, as MTT has it.
"""

from dataclasses import dataclass
from typing import Literal

from padray.settings.sections import FULL_AUGMENTATION

Decay = Literal["none", "half", "sixths", "cosine"]  # see experts/decay.py
Name = Literal["tm1001", "dc300", "dsa1000", "idc", "rded-kd", "deepcore"]
DEFAULT: Name = "tm1001"
TAUGHT: Name = "rded-kd"


@dataclass(frozen=True)
class Protocol:
    """How a fresh network is trained.

    Attributes:
        lr: where the set brings none.
        nesterov: momentum is Nesterov's.
        decay: how the lr falls.
        augment: operations joined by `_` are drawn from, those joined by `+` follow each other.
        cutmix: with which probability a batch, and its labels, are mixed (CutMix, one draw for the batch).
    """

    epochs: int
    batch: int
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    decay: Decay = "half"
    augment: str = FULL_AUGMENTATION
    cutmix: float = 0.0


PROTOCOLS: dict[Name, Protocol] = {
    # MTT, TESLA, FTD, DATM, PAD. MTT and TESLA have batches of 256; 128 is DATM's and PAD's.
    "tm1001": Protocol(epochs=1001, batch=128),
    # DC: 300 epochs by name, and indices 0 to 300 in its code.
    "dc300": Protocol(epochs=301, batch=256, augment="none"),
    # DSA, DM: 1000 by name, 0 to 1000 in the code.
    "dsa1000": Protocol(epochs=1001, batch=256),
    # IDC, DREAM, at 32x32.
    "idc": Protocol(epochs=1000, batch=64, decay="sixths", augment="flip+color+crop_scale_rotate", cutmix=0.5),
    # RDED at factor 1, where its random crops are the whole image. Optimiser, teacher and mixing are
    # `evaluation.teacher`'s. Its batches are 10, 50 and 100 at IPC 1, 10 and 50; one for all is ours.
    "rded-kd": Protocol(epochs=300, batch=100, augment="flip"),
    # DeepCore, whose crops shift by 4 of 32 pixels: as much of other sizes is ours. Its lr falls to 1e-4.
    "deepcore": Protocol(epochs=200, batch=256, lr=0.1, nesterov=True, decay="cosine", augment="reflectcrop+flip"),
}
WHOSE: dict[Name, str] = {
    "tm1001": "trajectory matching’s",
    "dc300": "DC’s",
    "dsa1000": "DSA’s and DM’s",
    "idc": "IDC’s",
    "rded-kd": "RDED’s",
    "deepcore": "DeepCore’s",
}
