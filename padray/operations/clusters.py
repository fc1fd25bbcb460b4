"""What a preflight says of a cluster, and how a job stands there, as `--json` prints them; without Ray."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class NodeLine:
    """A node that is up; `problems`: what is wrong with it, a sentence each."""

    node: str
    type: str
    problems: list[str]


@dataclass(frozen=True)
class AnsweredLine(NodeLine):
    """A node that has answered.

    Attributes:
        devices: by their names why they cannot be used, empty if they can.
        memory_bytes: free ones; None where the system does not say.
        clock_s: how far its clock is ahead of the driver's, as exactly as `within_s` says.
    """

    versions: dict[str, str]
    devices: dict[str, str]
    memory_bytes: int | None
    clock_s: float
    within_s: float


@dataclass(frozen=True)
class WorkingLine(AnsweredLine):
    """One that can use the storage too, so fast."""

    write_mb_s: float
    read_mb_s: float


@dataclass(frozen=True)
class PreflightResult:
    """All nodes that are up, and the types of nodes that may be started and are not; `driver`: its versions."""

    storage: str
    driver: dict[str, str]
    nodes: list[WorkingLine | AnsweredLine | NodeLine]
    not_up: list[str]
    problems: list[str]


@dataclass(frozen=True)
class Ended:
    """A job that came to its end. `code` is the driver's exit code, or that of failed work where there was none."""

    status: str
    code: int
    message: str
    tail: tuple[str, ...] = ()  # the last lines of the log of a job that failed


@dataclass(frozen=True)
class Submitted:
    """A job as `--json` prints it: how it was sent, or is found at work already, and how it ended if it was followed.

    Attributes:
        exit_code: of its driver; None while it goes on.
        message: what there is to know; of a job that failed, why.
        log_tail: the last lines of the log of one that failed.
    """

    job: str
    address: str
    entrypoint: str
    metadata: dict[str, str]
    uploaded_bytes: int
    status: str
    exit_code: int | None
    message: str
    log_tail: Sequence[str]
    follow: str
    stop: str

    def at(self, end: Ended) -> "Submitted":
        """The same at its end."""
        return replace(self, status=end.status, exit_code=end.code, message=end.message, log_tail=end.tail)
