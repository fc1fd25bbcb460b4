"""Stage `report`: the page that tells what a set is worth, from manifests, tables and the set itself.

What draws and renders is imported where a page is made: a report that is there needs neither Matplotlib nor Jinja.
"""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from padray import fingerprint
from padray.evaluation.summary import Row
from padray.fingerprint import Identity
from padray.networks import factory
from padray.networks.flat import spans_of
from padray.report.remarks import Observed
from padray.report.search import SearchSummary
from padray.stages import evaluate, frames, keeplist, observed, stored
from padray.stages.base import Context, Progress
from padray.stages.facts import dataset_facts
from padray.store.artifacts import Manifest, StoredObject

if TYPE_CHECKING:
    from padray.report.difficulty import Difficulty
    from padray.report.subject import Link, Subject

PAGE = "report.html"


def report_identity(
    context: Context, distilled: Identity, set_sha256: str, rows: list[Row], search: SearchSummary | None
) -> Identity:
    """A report means all that is written in it: the set, the rows, the settings, the search, and what was typed."""
    config = context.config
    shown = {
        "settings": config.model_dump(mode="json", exclude_defaults=True, exclude={"storage"}),
        "rows": [asdict(row) for row in rows],
        "name": context.name,
        "overrides": list(context.overrides),
    }
    if search is not None:
        shown["search"] = search.meaning()
    of_set = fingerprint.set_fingerprint(distilled, config.distill.iterations)
    inputs = {"set": of_set, "set_sha256": set_sha256}
    return Identity("report", distilled.name, fingerprint.fingerprint("report", shown, inputs))


class StoredPage(NamedTuple):
    """Where the page is, and what the run says of itself."""

    uri: str
    observed: Observed


def make(
    context: Context, identities: dict[str, Identity], rows: list[Row], search: SearchSummary | None = None
) -> StoredPage:
    """Write the page if it is not there. `search`: how the settings were found."""
    began = time.monotonic()
    distilled = context.folder(identities["distill"]).require()
    item = stored.set_object(distilled, context.config.distill.iterations)
    identity = report_identity(context, identities["distill"], item.sha256, rows, search)
    manifest = context.whole(identity, "report")
    reused = manifest is not None
    context.notify(Progress("report", int(reused), 1, identity.name))
    if manifest is None:
        manifest = _write(context, identity, gather(context, identities, rows, item, search))
    said = observed.of_report(manifest) or observed.of_run(context, identities, rows)
    key = f"{identity.folder}/{PAGE}"
    if context.location.size(key) is None:  # a name to open and to link to; the manifest vouches for the other one
        context.location.put(key, context.folder(identity).get(manifest.object("report")))
    context.notify(Progress("report", 1, 1, identity.name))
    context.finished(identity, began, reused)
    return StoredPage(f"{context.location.uri}/{key}", said)


def _write(context: Context, identity: Identity, subject: "Subject") -> Manifest:
    """Draw, render, store, and commit last."""
    from padray.report import page, rendering

    folder, drawn = context.folder(identity), rendering.pictures(subject)
    objects = [folder.put("report", "html", page.render(subject, drawn).encode())]
    for stem, picture in drawn.items():
        objects += [folder.put(stem, "png", picture.light), folder.put(f"{stem}-numbers", "csv", picture.table)]
    inputs = {link.stage: link.fingerprint for link in subject.chain}
    manifest = context.manifest(identity, objects, inputs=inputs, facts=observed.as_facts(subject.observed))
    folder.commit(manifest)
    return manifest


def gather(
    context: Context,
    identities: dict[str, Identity],
    rows: list[Row],
    item: StoredObject,
    search: SearchSummary | None = None,
) -> "Subject":
    """Everything that the page tells, read from the storage; `item` is the set's object."""
    from padray.report.real import real_part
    from padray.report.subject import Subject

    config, data = context.config, context.folder(identities["data"])
    facts, distilled = dataset_facts(data), context.folder(identities["distill"])
    synthetic = stored.load_set(distilled, config.distill.iterations)
    network, difficulty = factory.build(config.network, facts.shape, facts.classes, 0), _difficulty(context, identities)
    noun = "image" if synthetic.preprocessing.content == "image" else "sample"
    return Subject(
        name=context.name,
        overrides=context.overrides,
        config=config,
        synthetic=synthetic,
        rows=rows,
        history=stored.load_history(distilled, config.distill.iterations),
        spans=spans_of(network),
        splits=asdict(facts.splits),
        experts=observed.expert_accuracies(context, identities.get("experts")),
        set_key=item.key,
        set_sha256=item.sha256,
        set_size=item.size,
        chain=(*_chain(context, identities), *_searched(context, search, identities["distill"])),
        search=search,
        difficulty=difficulty,
        kept=_kept(context, identities.get("keep")),
        observed=observed.of_run(context, identities, rows),
        fitted_key=stored.fitted_object(data.require()).key if synthetic.preprocessing.known_digest else None,
        frames=frames.load(distilled, config.distill.iterations, facts.shape),
        test_split=facts.read_from["test"] if facts.splits_off else "",
        real=real_part(synthetic, stored.load_dataset(data), difficulty, noun),
    )


def _kept(context: Context, keep: Identity | None) -> str:
    """What there was of the training samples, where that was not all of them."""
    if keep is None:
        return ""
    facts = keeplist.facts_of(context.folder(keep))
    return f"{facts.kept:,} ({facts.which}) of {facts.of:,}"


def _difficulty(context: Context, identities: dict[str, Identity]) -> "Difficulty | None":
    """The scores of the experts' schedule; None where the experts saw everything."""
    from padray.report.difficulty import Difficulty

    config = context.config
    if "scores" not in identities or not config.scores_experts:
        return None
    tables = stored.score_tables(context.folder(identities["scores"]), config.scores)
    sizes = list(dataset_facts(context.folder(identities["data"])).train_per_class)
    return Difficulty(config.scores, config.schedule, tables, sizes, config.experts.epochs)


def _chain(context: Context, identities: dict[str, Identity]) -> "tuple[Link, ...]":
    """The stages with their fingerprints and numerics, the set itself, and the evaluations of each source."""
    from padray.report.subject import Link

    links = [_link(context, stage, identity) for stage, identity in identities.items()]
    of_set = fingerprint.set_fingerprint(identities["distill"], context.config.distill.iterations)
    links.append(Link("set", fingerprint.set_name(context.config.distill.iterations), of_set, {}))
    sources = evaluate.identities(context.config, identities["data"], identities["distill"])
    proofs = {str(source): identity for source, identity in sources.items()}
    if context.config.evaluation.taught:
        proofs["teacher"] = fingerprint.teacher_identity(context.config, identities["data"])
    return (*links, *(_link(context, f"evaluate {source}", identity) for source, identity in proofs.items()))


def _searched(context: Context, search: SearchSummary | None, distilled: Identity) -> "tuple[Link, ...]":
    """The search, and the set of the defaults that it is measured by, if that is not the set itself."""
    if search is None:
        return ()
    stages = {"search": search.identity, "distill (defaults)": search.default_set}
    new = {stage: identity for stage, identity in stages.items() if identity and identity != distilled}
    return tuple(_link(context, stage, identity) for stage, identity in new.items())


def _link(context: Context, stage: str, identity: Identity) -> "Link":
    from padray.report.subject import Link

    return Link(stage, identity.folder, identity.fingerprint, context.folder(identity).require().numerics)
