"""Several sets evaluated at once: every (set, network, seed) cell is handed to the runner in one go."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from padray.config import Config
from padray.configuration import loading
from padray.errors import InputError, WorkError
from padray.evaluation.summary import Row
from padray.fingerprint import FOLDERS, Identity
from padray.stages import evaluate, pipeline
from padray.stages.base import Context, Notify, Runner
from padray.stages.facts import dataset_facts
from padray.stages.stored import load_set
from padray.store.artifacts import Manifest
from padray.store.location import Location
from padray.store.roots import all_manifests, is_called, read_manifests, the_one

MOST_THREADS = 8  # sets that are evaluated at a time

End = list[Row] | InputError | WorkError


@dataclass(frozen=True)
class StoredSet:
    """A distilled set in storage, with the settings that made it; its source files are not needed."""

    label: str
    config: Config
    data: Identity
    distilled: Identity


def is_set(name: str, location: Location) -> bool:
    """Whether `name` means a set in storage rather than settings."""
    return name not in loading.preset_names() and any(is_called(name, *each) for each in _sets(location))


def find(name: str, overrides: tuple[str, ...], location: Location) -> StoredSet:
    """The stored set whose folder, name or fingerprint starts with `name`; `overrides` may change its evaluation.

    Raises:
        InputError: none or several fit, an override is not about the evaluation, or what it was made from is gone.
    """
    folder, manifest = named(name, location)
    apart = {"name", "search", "storage", "cluster"}  # how its makers' work was spread is not how ours is
    settings = {key: value for key, value in manifest.settings.items() if key not in apart}
    for override in overrides:
        if not override.startswith(("evaluation.", "compute.", "cluster.", "storage.cache", "storage.tensorboard")):
            changeable = "evaluation, compute, cluster and the cache"
            raise InputError(f"--set {override}: of a stored set only {changeable} can be changed")
    config = loading.from_settings(settings, overrides, folder)
    by_fingerprint = {each.fingerprint: (path, each) for path, each in all_manifests(location)}
    experts = by_fingerprint.get(manifest.inputs.get("experts", ""))
    makers = experts[1].inputs if experts else manifest.inputs  # an imported set has no experts
    data = by_fingerprint.get(makers.get("data", ""))
    if data is None:
        raise InputError(f"the experts or the dataset that {folder} was made from are no longer in {location.uri}")
    return StoredSet(name, config, _identity("data", *data), _identity("distill", folder, manifest))


def named(name: str, location: Location) -> tuple[str, Manifest]:
    """The folder and manifest of the one set that `name` fits. Raises InputError if none does, or several."""
    folder, manifest = the_one(name, location, _sets(location))
    if isinstance(manifest, InputError):
        raise manifest
    return folder, manifest


def _sets(location: Location) -> list[tuple[str, Manifest | InputError]]:
    """All sets, and the errors of those that cannot be read."""
    return [each for each in read_manifests(location) if each[0].startswith(f"{FOLDERS['distill']}/")]


def _identity(stage: str, folder: str, manifest: Manifest) -> Identity:
    return Identity(stage, folder.split("/", 1)[-1].rsplit("-", 1)[0], manifest.fingerprint)


class SomeFailed(WorkError):
    """Some sets could not be evaluated; `tables` holds those of the others, `reasons` what was wrong, by label."""

    def __init__(self, tables: dict[str, list[Row]], reasons: dict[str, str]) -> None:
        self.tables, self.reasons = tables, reasons
        first = next(iter(reasons))
        super().__init__(
            f"{len(reasons)} of {len(tables) + len(reasons)} sets could not be evaluated, the others were and their "
            f"results are kept; the first, {first}: {reasons[first]}"
        )


def run(sets: Sequence[StoredSet], location: Location, runner: Runner, notify: Notify) -> dict[str, list[Row]]:
    """The tables of all sets, by label. On a cluster their cells are queued together; in one process one by one.

    Raises:
        SomeFailed: some sets could not be evaluated.
        InputError, WorkError: none of them could; the first one's reason.
    """
    locks = {stored.data: Lock() for stored in sets}

    def one(stored: StoredSet) -> End:
        context = Context(stored.label, stored.config, location, runner, notify)
        try:
            _check_set(context, stored)
            pipeline.check_networks(context, stored.data)
            with locks[stored.data]:  # controls are made by one thread; the others find them
                evaluate.make_controls(context, stored.data, stored.distilled)
            return evaluate.make(context, stored.data, stored.distilled)
        except (InputError, WorkError) as error:
            return error

    ends = [one(stored) for stored in sets] if runner.name == "inline" else _together(one, sets, runner)
    tables: dict[str, list[Row]] = {}
    errors: dict[str, InputError | WorkError] = {}
    for stored, end in zip(sets, ends, strict=True):
        if isinstance(end, list):
            tables[stored.label] = end
        else:
            errors[stored.label] = end
    if errors and not tables:
        raise next(iter(errors.values()))
    if errors:
        raise SomeFailed(tables, {label: str(error) for label, error in errors.items()})
    return tables


def _check_set(context: Context, stored: StoredSet) -> None:
    """Refuse a set that does not say of itself what its dataset and settings say. Raises InputError."""
    distill, facts = stored.config.distill, dataset_facts(context.folder(stored.data))
    synthetic = load_set(context.folder(stored.distilled), distill.iterations)
    shape = synthetic.facts["shape"]
    if (tuple(shape), synthetic.classes, synthetic.ipc) != (facts.shape, facts.classes, distill.ipc):
        raise InputError(
            f"{stored.distilled.folder} holds {synthetic.ipc} samples of the shape {list(shape)} for each of "
            f"{synthetic.classes} classes, but its settings ask for {distill.ipc}, and its dataset has {facts.classes} "
            f"classes of the shape {list(facts.shape)}: distil it again, or import it again"
        )


def _together(one: Callable[[StoredSet], End], sets: Sequence[StoredSet], runner: Runner) -> list[End]:
    """Several sets at a time; when this is interrupted, those that wait are not begun (`map` sees to it)."""
    runner.open()
    with ThreadPoolExecutor(max_workers=min(len(sets), MOST_THREADS)) as pool:
        return list(pool.map(one, sets))
