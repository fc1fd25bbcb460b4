"""Every random draw of padray comes from here: fresh generators, never a global one.

The recipe: the first 8 bytes, big endian, of SHA-256 over the text `seed/stage/unit/step`, shifted right by
one so that it is a non-negative 64-bit integer, seed a CPU `torch.Generator`. A draw thus depends on what it
is for and on nothing that ran before it, so any unit and any iteration can be made again alone.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_for(seed: int, stage: str, unit: str | int = "", step: str | int = "") -> int:
    """The seed of one draw, in [0, 2**63)."""
    digest = hashlib.sha256(f"{seed}/{stage}/{unit}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, stage: str, unit: str | int = "", step: str | int = "") -> torch.Generator:
    """A fresh CPU generator for one draw; CPU so that every device sees the same numbers."""
    return torch.Generator().manual_seed(seed_for(seed, stage, unit, step))


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Run PyTorch's own initialisers, which only know the global generator, from `seed`; then restore it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
