"""Hostile input for every door: how many cases a property gets, in `make test` and under `make chaos`.

Each property says what share of the cases it takes; the shares of all files together make 1,000 cases in `make test`
and 10,000 under `make chaos`. Cases come from a fixed seed, so that a failure stays one until it is mended.
"""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("PADRAY_HOSTILE_CASES", "1000"))


def cases(share: float) -> Callable[[Any], Any]:
    """A property's settings: `share` of all cases, no deadline, no database of examples."""
    return settings(
        max_examples=max(1, round(CASES * share)),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
