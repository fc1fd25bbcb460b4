"""What the benchmarks of storage share: a real S3 server for as long as one runs, and what the machine was."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from padray.store.s3 import S3Location
from tests.swift import BUCKET, SWIFT, Swift, point, problem

SERVER = f"{SWIFT}, four processes on the same machine, without memcached"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A storage root on a fresh server whose files lie in `folder`; this process and its children see it."""
    if reason := problem(folder):
        sys.exit(reason)
    server = Swift(folder / "swift")
    try:
        server.start()
        with pytest.MonkeyPatch.context() as patched:
            point(patched, server.environment())
            S3Location(f"s3://{BUCKET}").client().create_bucket(Bucket=BUCKET)
            yield f"s3://{BUCKET}/benchmark"
    finally:
        server.kill()


def machine() -> dict[str, object]:
    """The machine, and how busy it is just now: processes that want a core, over the last minute."""
    return {
        "cores": os.cpu_count(),
        "kind": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
    }
