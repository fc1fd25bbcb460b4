"""What a report is about: everything that it tells of, read from the storage by who asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from padray.config import Config
from padray.evaluation.summary import Row
from padray.methods.families import method_of
from padray.methods.figure_data import Figure, History
from padray.networks.flat import Span
from padray.report import words
from padray.report.difficulty import Difficulty
from padray.report.real import RealPart
from padray.report.remarks import Observed
from padray.report.search import SearchSummary
from padray.report.strip import Frame
from padray.synthetic.set import SyntheticSet


class Link(NamedTuple):
    """A stage in the chain of fingerprints, and the numerics under which it was made."""

    stage: str
    folder: str
    fingerprint: str
    numerics: dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """Everything that a report tells of.

    Attributes:
        name, overrides: what was typed: a preset's or file's name, and its `--set`s.
        rows: the evaluation's table, the network that the set was made with first.
        history: the distillation's metrics, iteration by iteration.
        spans: the parameter tensors of that network.
        splits: how many samples each split of the dataset has.
        experts: each expert's last validation accuracy; empty without a validation split.
        set_key, set_sha256, set_size: the set's file under the storage root, its digest and its bytes.
        chain: the artefacts that led here, in order.
        search: the search that found the settings, if one did.
        difficulty: the scores that the experts' schedule was made from, if it has one.
        kept: how many training samples the keep-list has, and which; empty without one.
        fitted_key: the file of the set's preprocessing, where that is not in the set's.
        frames: what the set was after some of its iterations, as far as that was kept.
        real: what the real samples say of the set's.
        test_split: where the test samples come from, if the data have no test split of their own.
        observed: what the run says of itself.
    """

    name: str
    overrides: tuple[str, ...]
    config: Config
    synthetic: SyntheticSet
    rows: Sequence[Row]
    history: History
    spans: Sequence[Span]
    splits: dict[str, int]
    experts: tuple[float, ...]
    set_key: str
    set_sha256: str
    set_size: int
    chain: tuple[Link, ...]
    search: SearchSummary | None = None
    difficulty: Difficulty | None = None
    kept: str = ""
    fitted_key: str | None = None
    frames: Sequence[Frame] = ()
    real: RealPart | None = None
    test_split: str = ""
    observed: Observed = field(default_factory=Observed)

    @cached_property
    def samples(self) -> int:
        """M, the number of synthetic images."""
        return len(self.synthetic.learned.images)

    @cached_property
    def own_figures(self) -> list[Figure]:
        """What the family shows of its iterations."""
        distill, names = self.config.distill, [str(name) for name in self.synthetic.facts["class_names"]]
        return method_of(distill).figures(distill, self.history, self.spans, names)

    @property
    def ids(self) -> list[int]:
        """Of the training samples that the set consists of; empty where it was distilled."""
        ids: list[int] = self.synthetic.facts.get("selected", [])
        return ids

    @property
    def kind(self) -> str:
        """How the set's samples came about."""
        return words.kind(self.ids, "distilled")

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return "image" if self.synthetic.preprocessing.content == "image" else "sample"
