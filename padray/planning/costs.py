"""The lines of the chain: for every stage its units, what of them is in storage, and what one consists of.

Legend: N training samples, M samples of the set, P parameters, E epochs.
"""

import math

from padray import fingerprint
from padray.data.datasets import held_count
from padray.evaluation.controls import CHOOSING
from padray.evaluation.protocol import Source
from padray.evaluation.settings import EvaluationSettings
from padray.experts.schedule import counts_of_epochs
from padray.fingerprint import Identity
from padray.methods.method import Costs
from padray.networks import peak
from padray.networks.settings import NetworkSettings
from padray.planning.chain import Chain
from padray.planning.lines import Evidence, Line, Part, Task, Training
from padray.stages import checkpoints, effort, evaluate, imported, keeplist
from padray.stages.evaluate import Foreseen

_SCORE_ROW = 84  # bytes of a sample in a scoring network's table, about
_KEEP_ROW = 11  # bytes of a sample in a keep-list, about
_CELL = 450  # bytes of a cell's result, about
_COPIES = 3  # of an expert's snapshots while its shard is made
_VECTORS = 8  # (P,) that an optimiser, and GSAM, hold at most beside the network


def lines(chain: Chain) -> list[Line]:
    """The lines of `padray run`, in the order of the stages, without a search.

    Raises:
        InputError: imported experts are not there.
    """
    config = chain.config
    parts = [data(chain)]
    if config.needs_scores:
        parts.append(scores(chain))
    if chain.keep is not None:
        parts.append(keep_list(chain, chain.keep))
    if config.distill.needs_experts:
        parts.append(experts(chain))
    parts.append(distillation(chain))
    if config.evaluation.taught:
        parts.append(teacher(chain))
    return parts + cells(chain, evaluate.foresee(chain.context, chain.data, chain.distilled, chain.experts))


def data(chain: Chain) -> Line:
    """The dataset: one unit, whose time is not foreseen."""
    there = int(chain.context.folder(chain.data).manifest() is not None)
    size = chain.dataset_bytes
    return Line("data", "dataset", 1, there, 1 - there, unit_bytes=size, exact=True, memory=2 * size)


def scores(chain: Chain, place: Identity | None = None) -> Line:
    """One unit is a scoring network, or the ranking of a file."""
    config, known = chain.config, chain.known
    settings, place = config.scores, place or chain.scores
    rows = known.train + known.validation
    if settings.method == "file":
        there = chain.there(place, ["ranking"])
        return Line("scores", "ranking from a file", 1, there, 1 - there, unit_bytes=known.train * 20)
    names = [f"network-{k:04d}" for k in range(settings.networks)]
    there, epochs = chain.there(place, names), settings.epochs
    parts = (
        Part(Task("scores", settings.network, known.train), known.train * epochs),
        Part(Task("look", settings.network), rows * epochs),
    )
    seen = rows * (epochs * 9 + known.classes * 16)  # what is remembered of each epoch, and the last logits
    return Line(
        "scores",
        f"scoring network {settings.network.label}",
        len(names),
        there,
        len(names) - there,
        parts,
        steps=epochs * math.ceil(known.train / settings.batch),
        unit_bytes=rows * _SCORE_ROW,
        memory=_worker(chain, settings.network, settings.batch, rows) + seen,
        shared=chain.held(rows).shared,
        evidence=Evidence(frozenset({place.fingerprint})),
    )


def keep_list(chain: Chain, place: Identity) -> Line:
    """One unit is the whole list, whose time is not foreseen."""
    there = chain.there(place, [keeplist.OBJECT])
    return Line("keep", "keep-list", 1, there, 1 - there, unit_bytes=_KEEP_ROW * chain.known.train)


def experts(chain: Chain, place: Identity | None = None) -> Line:
    """One unit is an expert; how many samples its epochs see is FIEX's to say."""
    config, known = chain.config, chain.known
    settings, place = config.experts, place or chain.experts
    names = [f"expert-{k:04d}" for k in range(settings.count)]
    if settings.imported is not None:
        imported.require(chain.context, place, chain.data)
        return Line("experts", "imported expert", len(names), len(names), 0)
    there = chain.there(place, names)
    listed = chain.listed_per_class
    counts = [sum(listed)] * settings.epochs
    if config.scores_experts:
        counts = counts_of_epochs(listed, settings.epochs, config.schedule).sum(dim=1).tolist()
    parts = (
        Part(Task("experts", config.network, max(counts)), sum(counts)),
        Part(Task("look", config.network), known.validation * settings.epochs),
    )
    kept = sum(settings.keeps(epoch) for epoch in range(settings.epochs + 1))
    size, seen = kept * chain.snapshot_bytes(config.network), known.train + known.validation
    return Line(
        "experts",
        f"expert {config.network.label}",
        len(names),
        there,
        len(names) - there,
        parts,
        steps=sum(math.ceil(count / settings.batch) for count in counts),
        unit_bytes=size,
        exact=True,
        memory=_worker(chain, config.network, settings.batch, seen) + _COPIES * size,
        shared=chain.held(seen).shared,
        evidence=Evidence(frozenset({place.fingerprint})),
    )


def distillation(chain: Chain) -> Line:
    """One unit is the set, of which the iterations up to the newest checkpoint may be there."""
    known, settings = chain.known, chain.config.distill
    place, iterations = chain.distilled, settings.iterations
    there = chain.there(place, [fingerprint.set_name(iterations)])
    done = iterations if there else checkpoints.reached(chain.context.folder(place), iterations)
    return Line(
        "distill",
        f"set of {iterations} iterations",
        1,
        there,
        1 - done / iterations,
        parts_of_set(chain),
        steps=costs_of(chain).steps,
        unit_bytes=_set_bytes(chain) + _state_bytes(chain) + _recent_bytes(chain),
        memory=chain.held(known.train).own + _iteration(chain),
        shared=chain.held(known.train).shared,
        evidence=Evidence(frozenset({place.fingerprint})),
    )


def parts_of_set(chain: Chain) -> tuple[Part, ...]:
    """The start, the iterations, and the judging of some of them."""
    config, known, settings = chain.config, chain.known, chain.config.distill
    network, judging, count = config.network, settings.validation, chain.set_samples
    judged, asked = judging.seeds * (settings.iterations // judging.every), costs_of(chain)
    scoring = asked.scoring and Part(Task("scores", asked.scoring, known.train), asked.scored)
    return (
        *((scoring,) if scoring else ()),
        Part(Task("iteration", network), settings.iterations),
        Part(Task("judged", network, count), judged * judging.epochs * count),
        Part(Task("look", network), asked.looks + judged * known.validation),
    )


def teacher(chain: Chain) -> Line:
    """The teacher of `evaluation.protocol: rded-kd`; its unit is one of the stage `evaluate`."""
    config, known, settings = chain.config, chain.known, chain.config.evaluation.teacher
    place = fingerprint.teacher_identity(config, chain.data)
    there, size = chain.there(place, ["teacher"]), chain.snapshot_bytes(settings.network)
    parts = (
        Part(Task("teacher", settings.network, known.train), known.train * settings.epochs),
        Part(Task("look", settings.network), known.test),
    )
    return Line(
        "evaluate",
        f"teacher {settings.network.label}",
        1,
        there,
        1 - there,
        parts,
        steps=settings.epochs * math.ceil(known.train / settings.teacher_batch),
        unit_bytes=size,
        exact=True,
        memory=_worker(chain, settings.network, settings.teacher_batch, known.train + known.test),
        shared=chain.held(known.train + known.test).shared,
        evidence=Evidence(frozenset({place.fingerprint})),
    )


def cells(chain: Chain, foreseen: list[Foreseen]) -> list[Line]:
    """A line for each network's cells on sets and controls of their size, and one for those on the full data."""
    evaluation = chain.config.evaluation
    groups: dict[tuple[NetworkSettings, str], list[Foreseen]] = {}
    for one in foreseen:
        groups.setdefault((one.network, _how(evaluation, one.source)), []).append(one)
    return [_cell_line(chain, network, how, group) for (network, how), group in groups.items()]


def _how(evaluation: EvaluationSettings, source: Source) -> str:
    """What is particular about the training of a source's cells, as the end of their line's name."""
    return " on the full data" if source == "full" else " trained twice" if evaluation.twice(source) else ""


def _cell_line(chain: Chain, network: NetworkSettings, how: str, group: list[Foreseen]) -> Line:
    evaluation, known = chain.config.evaluation, chain.known
    units, there = sum(one.cells for one in group), sum(one.there for one in group)
    full = group[0].source == "full"
    epochs = evaluation.controls.full_epochs if full else evaluation.epochs_on(group[0].source)
    count = known.train if full else chain.set_samples
    places = evaluate.identities(chain.config, chain.data, chain.distilled, chain.experts)
    alike = frozenset(places[source].fingerprint for source in places if _how(evaluation, source) == how)
    held = count + choosing(chain) + known.test
    return Line(
        "evaluate",
        f"{network.label}{how}",
        units,
        there,
        units - there,
        parts_of_cell(chain, network, count, epochs),
        steps=epochs * math.ceil(count / evaluation.training.batch),
        unit_bytes=_CELL,
        memory=_worker(chain, network, min(evaluation.training.batch, count), held),
        shared=chain.held(held).shared,
        evidence=Evidence(alike, f"/cell-{network.label}-seed"),
        at_most=any(one.at_least for one in group),
    )


def parts_of_cell(chain: Chain, network: NetworkSettings, count: int, epochs: int) -> tuple[Part, ...]:
    """A training on `count` samples, and the looks at what it is judged on; a student chooses among its epochs.

    A set's own cells choose nothing, and look a little less.
    """
    known, taught = chain.known, chain.config.evaluation.taught
    looks = (1 + max(1, epochs // 5)) * known.validation if taught else choosing(chain)
    task = Task(kind_of_cells(chain.config.evaluation), network, count)
    return Part(task, epochs * count), Part(Task("look", network), looks + known.test)


def kind_of_cells(evaluation: EvaluationSettings) -> Training:
    """How a network of a cell is trained: as those that judge are, where it is by the same protocol."""
    return "taught" if evaluation.taught else "judged" if evaluation.training == evaluation.judging else "cell"


def choosing(chain: Chain) -> int:
    """How many samples choices look at: the validation split or, for want of one, a share of the training split."""
    return chain.known.validation or sum(held_count(count, CHOOSING) for count in chain.known.train_per_class)


def _worker(chain: Chain, network: NetworkSettings, batch: int, samples: int) -> int:
    """Bytes of a worker that trains: what it has of the dataset to itself, and a step or a look."""
    return chain.held(samples).own + training(chain, network, batch, samples)


def training(chain: Chain, network: NetworkSettings, batch: int, samples: int) -> int:
    """Bytes of a step at this batch, or of a look at the samples, and of the vectors that are kept."""
    flat, known = chain.network(network), chain.known
    step = peak.training_peak(flat, known.shape, known.classes, batch, chain.dtype)
    look = peak.look_peak(flat, known.shape, samples, chain.dtype)
    return max(step, look) + _VECTORS * chain.parameter_bytes(network)


def costs_of(chain: Chain) -> Costs:
    """What the family says of its distillation."""
    return effort.costs_of(chain.config, chain.known.facts())


def contributions(chain: Chain) -> int:
    """How many contributions an iteration is made of."""
    return chain.config.distill.contributions(chain.config.network, chain.known.classes).count


def _iteration(chain: Chain) -> int:
    """Bytes of an iteration, or of the look at the training samples that comes before the first one."""
    costs, known, flat = costs_of(chain), chain.known, chain.network(chain.config.network)
    said = contributions(chain) * costs.contribution_numbers * chain.dtype.itemsize
    look = peak.look_peak(flat, known.shape, known.train, chain.dtype) if costs.looks else 0
    return said + _state_bytes(chain) + max(costs.peak_bytes, look)


def _state_bytes(chain: Chain) -> int:
    """Of a checkpoint: what is learned, its momentum, the family's own, the average, the best iterate."""
    settings, item, averaged = chain.config.distill, chain.dtype.itemsize, chain.averaged_bytes
    judged = bool(settings.validation.seeds and settings.iterations >= settings.validation.every)
    return (2 + judged) * chain.learned_bytes + costs_of(chain).own_numbers * item + (1 + judged) * averaged


def _set_bytes(chain: Chain) -> int:
    """Of the set's file."""
    return chain.learned_bytes + chain.averaged_bytes + chain.set_preprocessing_bytes


def _recent_bytes(chain: Chain) -> int:
    """Of what the last checkpoint tells of the iterations since the history was last cut; of a small set the most."""
    return chain.config.distill.iterations % checkpoints.CUT * costs_of(chain).metrics_bytes
