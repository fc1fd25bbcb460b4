"""A study from its plan to its table: what cells share is made once, distillations are spread, then one sweep.

Datasets, scores and experts are shared by their fingerprints. Each distinct distillation is one unit; its object says
which set came out, or that it diverged. Whatever fails, experts too, takes its own cells with it and no others; what
storage or machines did is told in the table and stored nowhere, so that the same command tries it again.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import TypeAdapter

from padray import fingerprint
from padray.config import Config
from padray.errors import DivergedError, InfrastructureError, WorkError
from padray.evaluation.summary import Row
from padray.fingerprint import Identity, set_name
from padray.stages import pipeline, sweep
from padray.stages.base import Context, Make, Unit, by_stem, make_missing
from padray.stages.inline import InlineRunner
from padray.stages.sweep import StoredSet
from padray.store.artifacts import Folder, StoredObject
from padray.store.location import Location
from padray.store.records import read_record
from padray.studies.definition import Study
from padray.studies.grid import Cell

# The digest of the set that came out, or why none did; "failed" is only ever stored by older versions.
Outcome = dict[Literal["set", "diverged", "failed"], str]
_OUTCOME = TypeAdapter(Outcome)


@dataclass(frozen=True)
class Chain:
    """One distinct distillation: its settings and the identities along its chain."""

    config: Config
    data: Identity
    distilled: Identity

    @property
    def set_fingerprint(self) -> str:
        return fingerprint.set_fingerprint(self.distilled, self.config.distill.iterations)

    @property
    def id(self) -> str:
        """Distinct for every set and every way of evaluating it."""
        proof = json.dumps(self.config.evaluation.model_dump(mode="json"), sort_keys=True)
        return f"cell-{self.set_fingerprint[:8]}{hashlib.sha256(proof.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class CellWork:
    """Distils in the worker that gets the unit; its experts are there already."""

    config: Config
    name: str
    location: Location
    study: Identity
    chains: dict[str, Chain]

    def prepare(self) -> Make:
        folder = Folder(self.location, self.study.folder, self.study.fingerprint)

        def make(unit: Unit) -> StoredObject:
            chain = self.chains[unit.id]
            context = Context(self.name, chain.config, self.location, InlineRunner(), stored_data=chain.data)
            try:
                outcome = {"set": pipeline.run(context, "distill").set_digest}
            except DivergedError as error:
                outcome = {"diverged": str(error)}
            return folder.put(unit.id, "json", json.dumps(outcome, sort_keys=True).encode())

        return make


@dataclass(frozen=True)
class CellResult:
    """What a cell came to: the table of every distillation that was evaluated, and why others were not."""

    cell: Cell
    chains: tuple[Chain, ...]
    evaluated: tuple[Chain, ...]
    rows: tuple[list[Row], ...]
    failed: str = ""


@dataclass(frozen=True)
class StudyCells:
    """A study's identity, its cells' results in the order of the plan, and the objects that say how each set came."""

    identity: Identity
    results: list[CellResult]
    units: list[StoredObject]


def identify(name: str, study: Study, planned: list[tuple[Cell, list[Chain]]]) -> Identity:
    """A study means its file under its profile, and the sets and evaluations of its cells."""
    grid = [[cell.row, cell.column, [chain.id for chain in chains]] for cell, chains in planned]
    seeds = [chains[0].config.evaluation.seeds if chains else 0 for _, chains in planned]
    content = study.model_dump(mode="json", exclude={"profiles"})
    return Identity("study", name, fingerprint.fingerprint("study", {"file": content, "seeds": seeds}, {"grid": grid}))


def make(context: Context, study: Study, cells: list[Cell]) -> StudyCells:
    """Make what the cells need and do not have; their results.

    Raises:
        InputError: a cell's settings cannot be used; nothing of it was begun.
        WorkError: the experts of all cells failed, or all evaluations; what was finished is kept.
    """
    planned = [(cell, _chains(context, cell, study.distillations)) for cell in cells]
    identity = identify(context.name, study, planned)
    chains = {chain.id: chain for _, own in planned for chain in own}
    without = _make_experts(context, chains)
    chains = {id: chain for id, chain in chains.items() if id not in without}
    units, outcomes = _distil(context, identity, chains)
    sets = [
        StoredSet(id, chain.config, chain.data, chain.distilled)
        for id, chain in chains.items()
        if "set" in outcomes[id]
    ]
    tables, reasons = _evaluate(context, sets)
    outcomes |= {id: {"failed": reason} for id, reason in (without | reasons).items()}
    return StudyCells(identity, [_result(cell, own, outcomes, tables) for cell, own in planned], units)


def _evaluate(context: Context, sets: list[StoredSet]) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """The tables of the sets, and why the others have none."""
    if not sets:
        return {}, {}
    try:
        return sweep.run(sets, context.location, context.runner, context.notify), {}
    except sweep.SomeFailed as error:
        return error.tables, error.reasons


def _chains(context: Context, cell: Cell, distillations: int) -> list[Chain]:
    """The chains of a cell's distillations, with the dataset stored and all settings checked against it."""
    if cell.config is None:
        return []
    chains = []
    for config in cell.distillations(distillations):
        data = pipeline.run(_quiet(context, config), "data").identities["data"]
        chains.append(Chain(config, data, fingerprint.distill_inputs(config, data).identity(config)))
    return chains


def _quiet(context: Context, config: Config) -> Context:
    return Context(context.name, config, context.location, context.runner)


def _make_experts(context: Context, chains: dict[str, Chain]) -> dict[str, str]:
    """Scores and experts, once for all cells that share them, as many as the most demanding of these asks for.

    Returns:
        Why chains have none, by their ids. Raises WorkError where no chain has any.
    """
    sharing: dict[str, list[str]] = {}
    for id, chain in chains.items():
        sharing.setdefault(fingerprint.distill_inputs(chain.config, chain.data).needed, []).append(id)
    reasons: dict[str, str] = {}
    for ids in sharing.values():
        chain = max((chains[id] for id in ids), key=_asks)
        own = replace(_quiet(context, chain.config), stored_data=chain.data, notify=context.notify)
        try:
            pipeline.run(own, "experts")
        except WorkError as error:
            reasons |= dict.fromkeys(ids, str(error))
            if len(reasons) == len(chains):
                raise
    return reasons


def _asks(chain: Chain) -> tuple[int, int]:
    """How many experts, and how many scoring networks."""
    return chain.config.experts.count, chain.config.scores.networks


def _distil(
    context: Context, identity: Identity, chains: dict[str, Chain]
) -> tuple[list[StoredObject], dict[str, Outcome]]:
    """Every distinct distillation as a unit; the objects of those that came to an end, and how each came out, by id.

    In one process each is asked for by itself, so that one whose machine fails does not cost the others.
    """
    units = [Unit("distill", id, identity.fingerprint) for id in chains]
    work = CellWork(context.config, context.name, context.location, identity, chains)
    have = {id: item for id, (item, _) in _settled(context, identity, chains).items()}
    failed: dict[str, Outcome] = {}
    alone = context.runner.name == "inline"
    for place, group in enumerate([[unit] for unit in units] if alone else [units]):
        try:
            make_missing(context, work, group, have, earlier=place, later=len(units) - len(group) - place)
        except InfrastructureError as error:
            failed |= {unit.id: {"failed": str(error)} for unit in group}
    settled = _settled(context, identity, chains)
    return [item for item, _ in settled.values()], failed | {id: outcome for id, (_, outcome) in settled.items()}


def _settled(context: Context, identity: Identity, chains: dict[str, Chain]) -> dict[str, tuple[StoredObject, Outcome]]:
    """The distillations that need not be tried again: those that diverged, and those whose sets are there."""
    folder = context.folder(identity)
    records = {item.stem: (item, read_record(folder, item, _OUTCOME)) for item in folder.loose("cell-")}
    return {id: records[id] for id in chains if id in records and _is_kept(context, chains[id], records[id][1])}


def _is_kept(context: Context, chain: Chain, record: Outcome) -> bool:
    if "set" not in record:
        return "diverged" in record
    manifest = context.folder(chain.distilled).present()
    name = set_name(chain.config.distill.iterations)
    return manifest is not None and name in by_stem(manifest.objects)


def _result(cell: Cell, chains: list[Chain], outcomes: dict[str, Outcome], tables: dict[str, list[Row]]) -> CellResult:
    failed = [reason for chain in chains for kind, reason in outcomes[chain.id].items() if kind != "set"]
    evaluated = tuple(chain for chain in chains if chain.id in tables)
    rows = tuple(tables[chain.id] for chain in evaluated)
    return CellResult(cell, tuple(chains), evaluated, rows, failed[0] if failed else "")
