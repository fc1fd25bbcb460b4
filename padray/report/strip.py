"""How a set came about: some of its samples after a few iterations, and what they are in the set."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from padray.methods.figure_data import Floats
from padray.report import info
from padray.synthetic.set import SyntheticSet

Frame = tuple[int, Tensor]  # an iteration, and the first sample of the first classes then (R, C, H, W)


class StripInfo(NamedTuple):
    """The first sample of some classes after some iterations, (R, T, …) as in `ImagesInfo`; the last is the set's."""

    images: Floats
    iterations: tuple[int, ...]
    names: tuple[str, ...]
    content: str
    classes: int

    @property
    def caption(self) -> str:
        """What the columns are."""
        rows = "every class" if len(self.names) == self.classes else f"the first {len(self.names)} classes"
        return (
            f"The first sample of {rows} after {', '.join(f'{number:,}' for number in self.iterations[:-1])} "
            f"iterations, and in the set, which is the iterate after {self.iterations[-1]:,}."
        )


def strip_info(synthetic: SyntheticSet, frames: Sequence[Frame]) -> StripInfo | None:
    """The frames that lead to the set, in the order of their iterations; None where none was kept."""
    until = int(synthetic.facts["iteration"])
    before = [(iteration, part) for iteration, part in sorted(frames, key=lambda frame: frame[0]) if iteration < until]
    if not before:
        return None
    shown = min(len(part) for _, part in before)
    own = synthetic.learned.images[:: synthetic.ipc][:shown]
    moments = [*(part[:shown] for _, part in before), own]
    names = tuple(str(name) for name in synthetic.facts["class_names"][:shown])
    images = np.stack([info.seen(synthetic, part) for part in moments], axis=1)
    numbers = (*(iteration for iteration, _ in before), until)
    return StripInfo(images, numbers, names, synthetic.preprocessing.content, synthetic.classes)
