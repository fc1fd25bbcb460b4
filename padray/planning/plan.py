"""`padray plan`: what a run would take. Nothing is written, and nothing is asked for outside the storage."""

from dataclasses import dataclass, replace

from padray import fingerprint
from padray.errors import InputError
from padray.methods.families import method_of
from padray.planning import calibrate, costs, measured, prices, search_lines, wall
from padray.planning.chain import Chain
from padray.planning.lines import Line, Pace
from padray.planning.outline import NOWHERE, digest_of, know
from padray.planning.prices import PriceTable
from padray.planning.result import ClusterPlan, DataSummary, Plan, Total
from padray.stages import data, pipeline
from padray.stages.base import Context
from padray.stages.facts import dataset_facts


@dataclass(frozen=True)
class Asked:
    """What a plan is to say.

    Attributes:
        calibrated: measure here what no finished unit says; otherwise those seconds are unknown.
        price: of one device for one hour, or a price table's file.
        nodes: also say the wall hours on so many nodes.
    """

    calibrated: bool = False
    price: str | None = None
    nodes: int | None = None


def plan(context: Context, asked: Asked) -> Plan:
    """The stages' lines, their sum, and what is worth knowing of them.

    Raises:
        InputError: settings, data or storage cannot be used, as the run itself would say; no price or price table.
    """
    price = prices.read(asked.price)
    if isinstance(price, PriceTable) and asked.nodes is None:
        raise InputError("a price table is for a number of nodes: add --nodes N")
    pipeline.check(context.config)
    chain = _open(context)
    own, more = costs.lines(chain), list[Line]()
    if context.config.search.space:
        own, more = search_lines.lines(chain, own)
    timed, calibrated = _timed(chain, own + more, asked.calibrated)
    lines = wall.Lines(timed[: len(own)], timed[len(own) :])
    per_hour, known = price if isinstance(price, float) else None, chain.known
    return Plan(
        config=context.name,
        storage=context.location.uri,
        data=DataSummary(known.source, known.shape, known.classes, known.train, known.validation, known.test),
        device=calibrate.device_name(context.config) if calibrated else None,
        stages=[line.planned(pace) for line, pace in timed],
        total=_total(timed, per_hour),
        cluster=None if asked.nodes is None else _cluster(chain, lines, asked.nodes, price),
        notes=_notes(chain, timed, calibrated),
    )


def _timed(chain: Chain, lines: list[Line], calibrated: bool) -> tuple[list[tuple[Line, Pace | None]], bool]:
    """The lines with their seconds: of finished units, or else measured here; and whether anything was."""
    events = measured.read(chain.context.location)
    timed = [(line, measured.pace(line, events)) for line in lines]
    unknown = [line for line, pace in timed if pace is None and line.left and line.parts]
    if not (calibrated and unknown):
        return timed, False
    paces = calibrate.measure(chain.config, chain.known, unknown, chain.context.notify)
    return [(line, pace or calibrate.pace(line, paces)) for line, pace in timed], True


def _cluster(chain: Chain, lines: wall.Lines, nodes: int, price: prices.Price | None) -> ClusterPlan:
    table = price if isinstance(price, PriceTable) else prices.one_device(chain.config, price or 0.0)
    return wall.plan(chain, lines, nodes, table, price is not None)


def _open(context: Context) -> Chain:
    """The chain, once the settings are known to fit the dataset."""
    digest = digest_of(context.config.data)
    place = fingerprint.data_identity(context.config, digest)
    folder = context.folder(place)
    manifest = folder.manifest()
    known = know(context.config.data, dataset_facts(folder, manifest) if manifest else None)
    data.check(known.facts(), context.config)
    return Chain(replace(context, stored_data=None), known, place)


def _total(timed: list[tuple[Line, Pace | None]], price: float | None) -> Total:
    waiting = [(line, pace) for line, pace in timed if line.left]
    hours = [pace.seconds * line.left / 3600 if pace else None for line, pace in waiting if line.parts]
    total = sum(h for h in hours if h is not None) if all(h is not None for h in hours) else None
    return Total(
        units=sum(line.units for line, _ in timed),
        to_do=sum(line.to_do for line, _ in timed),
        at_most=any(line.at_most for line, _ in waiting),
        hours=total,
        bytes=sum(line.unit_bytes * line.to_do for line, _ in timed),
        memory=max((line.memory for line, _ in waiting), default=0),
        memory_shared=max((line.shared for line, _ in waiting), default=0),
        price_per_hour=price,
        money=None if price is None or total is None else price * total,
    )


def _notes(chain: Chain, timed: list[tuple[Line, Pace | None]], calibrated: bool) -> list[str]:
    """What a reader must know to use the numbers."""
    config, waiting = chain.config, [line for line, _ in timed if line.left]
    dataset, rehearsed = config.data.dataset, method_of(config.distill).rehearsal(config.distill)
    rules = [
        (
            chain.data == fingerprint.data_identity(config, NOWHERE),
            f"{dataset} is taken as it was published; what of this run is in storage shows with data.path",
        ),
        (any(line.stage == "data" for line in waiting), "reading and storing the dataset is not in the hours"),
        (
            any(line.parts for line in waiting),
            "hours are those of one device that makes one unit after the other; memory comes on top of the "
            "interpreter and its libraries (about 0.6 GB)",
        ),
        (
            bool(config.search.space and waiting),
            "trials may share more than is counted here; each is taken to cost what the defaults cost",
        ),
        (
            bool(config.search.space and waiting and config.search.stopping != "none"),
            "hours and money are those of trials of which none is stopped early",
        ),
        (
            calibrated and bool(rehearsed.note),
            rehearsed.note,
        ),
    ]
    sentences = [text for applies, text in rules if applies]
    shares = config.search.space and config.distill.needs_experts and config.experts.imported is None
    return [*sentences, search_lines.note(chain)] if shares else sentences
