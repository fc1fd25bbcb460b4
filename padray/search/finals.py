"""The finals: the defaults and the best trials are judged again, by more networks, before one of them is chosen.

The highest of many values is also the luckiest, so the networks that compare had no part in finding it; network k
begins with the same weights for every finalist. One unit is a network. It notes what being right on each validation
sample adds, so that the choice can tell what the size of the split leaves open (decision.py).
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter

from padray.config import Config
from padray.evaluation.protocol import validation_credits
from padray.fingerprint import distill_inputs
from padray.machine.numerics import decide
from padray.search.judgement import judging_of
from padray.search.trial_run import SearchWork
from padray.search.trials import TrialRecord
from padray.stages import pipeline, stored
from padray.stages.base import Context, Make, Unit, make_missing
from padray.store.artifacts import Folder, StoredObject
from padray.store.records import read_record

PREFIX = "final-"


@dataclass(frozen=True)
class FinalRecord:
    """What one network says of a trial's set.

    Attributes:
        network: its number.
        value: its validation accuracy, the mean of `credits`: what each validation sample adds, in their order.
        diverged: it did, and counts as 0 %.
        set_sha256: the set that was judged.
    """

    trial: int
    network: int
    value: float
    credits: tuple[float, ...]
    diverged: bool
    set_sha256: str


_RECORD = TypeAdapter(FinalRecord)
Judged = dict[int, list[FinalRecord]]


def finalists(config: Config, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The defaults, if they finished, and the best other trials that have sets of their own and cost no more."""
    finished = [record for record in records if record.state == "finished"]
    chosen = [record for record in finished if record.number == 0]
    most = len(chosen) + config.search.finalists
    dearest = max((record.cost or 0.0 for record in chosen), default=math.inf)
    others = [record for record in finished if (record.cost or 0.0) <= dearest]
    for record in sorted(others, key=lambda record: (-(record.value or 0.0), record.number)):
        if len(chosen) < most and record.set_sha256 not in {other.set_sha256 for other in chosen}:
            chosen.append(record)
    return chosen


def units_of(work: SearchWork, asked: Sequence[TrialRecord]) -> list[Unit]:
    """A unit for each finalist and network; none where there is nothing to compare."""
    if len(asked) < 2:
        return []
    networks = range(work.config.search.final_seeds)
    names = [f"{PREFIX}{record.number:04d}-{k:04d}" for record in asked for k in networks]
    return [Unit("finals", name, work.identity.fingerprint) for name in names]


def present(folder: Folder, units: Sequence[Unit], asked: Sequence[TrialRecord]) -> dict[str, StoredObject]:
    """Of these units those that lie in storage and were made of the same sets. Raises InputError if one is none."""
    if not units:
        return {}
    sets = {record.number: record.set_sha256 for record in asked}
    loose = folder.loose(PREFIX, among={unit.id for unit in units})
    read = [(item, read_record(folder, item, _RECORD)) for item in loose]
    return {item.stem: item for item, record in read if record.set_sha256 == sets.get(record.trial)}


def make(context: Context, work: SearchWork, records: Sequence[TrialRecord]) -> tuple[Judged, list[StoredObject]]:
    """Judge the finalists, as far as that was not done, on the runner; what each network said, and the objects.

    Raises:
        InputError, WorkError: as the runner does; the same command goes on.
    """
    asked = finalists(work.config, records)
    units = units_of(work, asked)
    have = present(work.folder(), units, asked)
    if not units:
        return {}, []
    if len(have) < len(units):
        for record in asked:
            _require_set(context, work, record)
    final = FinalWork(work, {record.number: record for record in asked})
    objects = make_missing(context, final, units, have).objects
    return read(work.folder(), objects), objects


def read(folder: Folder, objects: Iterable[StoredObject]) -> Judged:
    """What the networks say, by trial."""
    judged: Judged = {}
    for item in objects:
        record = read_record(folder, item, _RECORD)
        judged.setdefault(record.trial, []).append(record)
    return judged


def _require_set(context: Context, work: SearchWork, record: TrialRecord) -> None:
    """See to it that a trial's set is there: others may have removed it since."""
    config = work.config_of(record.parameters)
    place = distill_inputs(config, work.inputs.data).identity(config)
    manifest = context.folder(place).present()
    if manifest is None or record.set_sha256 not in {item.sha256 for item in manifest.objects}:
        pipeline.run(work.context(config, context.runner), "distill")


@dataclass(frozen=True)
class FinalWork:
    """How to judge the finalists again. It travels; it holds settings and names."""

    search: SearchWork
    trials: dict[int, TrialRecord]

    @property
    def config(self) -> Config:
        return self.search.config

    def prepare(self) -> Make:
        device = decide(self.config.compute).use(self.config.compute.allocator)
        folder, inputs = self.search.folder(), self.search.inputs
        dataset = inputs.dataset()

        def make(unit: Unit) -> StoredObject:
            number, k = map(int, unit.id.removeprefix(PREFIX).split("-"))
            trial = self.trials[number]
            config = self.search.config_of(trial.parameters)
            place = distill_inputs(config, inputs.data).identity(config)
            distilled = Folder(inputs.location, place.folder, place.fingerprint)
            learned = stored.load_set(distilled, config.distill.iterations).learned.map(lambda x: x.to(device))
            judging = judging_of(config, dataset, learned, "finals")
            credits = validation_credits(learned, config.network, dataset, judging, k)
            shares = [0.0] * len(judging.held.labels) if credits is None else [round(x, 6) for x in credits.tolist()]
            value = 0.0 if credits is None else float(credits.mean())
            record = FinalRecord(number, k, value, tuple(shares), credits is None, trial.set_sha256)
            return folder.put(unit.id, "json", _to_json(record))

        return make


def _to_json(record: FinalRecord) -> bytes:
    """The record; credits that are whole numbers, as they are of the plain accuracy, as such."""
    whole = all(credit in (0.0, 1.0) for credit in record.credits)
    shown = replace(record, credits=tuple(int(credit) for credit in record.credits)) if whole else record
    return json.dumps(asdict(shown), sort_keys=True, separators=(",", ":")).encode()
