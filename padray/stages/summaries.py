"""What commands that compute print with `--json`: the end of a chain, and of a search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from padray.evaluation.ceiling import Ceiling
from padray.evaluation.summary import Row
from padray.report.choice import Choice
from padray.report.front import Front


@dataclass(frozen=True)
class SetDigest:
    """The set's digest and the bytes that were learned; None where the run did not come so far."""

    sha256: str | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class RunResult:
    """The end of a chain.

    Attributes:
        artifacts: where each stage's artefact lies.
        seconds: that each stage took.
        reused: the stages that had nothing to do.
        evaluation: the table of accuracies.
        report: where the page lies.
        ceiling: what the whole training split taught networks; None where nobody knows.
        notes: what to know before believing the table, and what to change next.
    """

    config: str
    artifacts: dict[str, str]
    seconds: dict[str, float]
    reused: list[str]
    set: SetDigest
    evaluation: Sequence[Row]
    report: str | None
    ceiling: Ceiling | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class BestTrial:
    """The settings that a search chose, what they came to on validation as a trial, and the file that holds them."""

    settings: dict[str, Any]
    validation: float | None
    trial: int
    file: str


@dataclass(frozen=True)
class TrialCounts:
    """How many trials came to which end, and what they took; `missing` were not begun, as `limit` says why."""

    finished: int
    stopped: int
    failed: int
    iterations: int
    judges: int
    missing: int
    limit: str
    reasons: list[str]


@dataclass(frozen=True, kw_only=True)
class SearchResult(RunResult):
    """The end of a search: of the chain of the settings that it chose.

    Attributes:
        verdict: what was chosen, and how sure that is; `choice`: the numbers behind it.
        front: what accuracy costs, where the search had two objectives.
        warnings: what keeps the choice from meaning much.
        default: the table of the defaults; empty where they came to no result.
    """

    best: BestTrial
    verdict: str
    warnings: list[str]
    choice: Choice
    front: Front | None
    trials: TrialCounts
    default: Sequence[Row]
