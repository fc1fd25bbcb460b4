"""Named crash points: `PADRAY_CRASH_AT=stage:point:n` kills this process with SIGKILL when it gets there.

They make the tests of resuming deterministic; without the variable they cost one dictionary look-up.
"""

import os
import signal


def crash_point(stage: str, point: str, number: int) -> None:
    """Die here, without a chance to clean up, if the environment asks for it."""
    if os.environ.get("PADRAY_CRASH_AT") == f"{stage}:{point}:{number}":
        os.kill(os.getpid(), signal.SIGKILL)
