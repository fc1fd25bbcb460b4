"""Several sets evaluated at once: every (set, network, seed) cell is handed to the runner in one go."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from padray import loading, pipeline
from padray.config import Config
from padray.errors import InputError
from padray.evaluation.table import Row
from padray.fingerprint import Identity
from padray.stages import evaluate
from padray.stages.base import Context, Notify, Runner
from padray.store.artifacts import Manifest, all_manifests
from padray.store.location import Location


@dataclass(frozen=True)
class StoredSet:
    """A distilled set in storage, with the settings that made it; its source files are not needed."""

    label: str
    config: Config
    data: Identity
    distilled: Identity


def is_set(name: str, location: Location) -> bool:
    """Whether `name` means a set in storage rather than settings."""
    return name not in loading.preset_names() and bool(_fitting(name, location))


def find(name: str, overrides: tuple[str, ...], location: Location) -> StoredSet:
    """The stored set whose folder, name or fingerprint starts with `name`; `overrides` may change its evaluation.

    Raises:
        InputError: none or several fit, an override is not about the evaluation, or what it was made from is gone.
    """
    fitting = _fitting(name, location)
    if len(fitting) != 1:
        fits = "nothing" if not fitting else f"{len(fitting)} sets ({', '.join(folder for folder, _ in fitting[:4])})"
        raise InputError(f"{fits} in {location.uri} fits {name!r}; `padray ls` lists what is there")
    folder, manifest = fitting[0]
    settings = {key: value for key, value in manifest.settings.items() if key not in {"name", "search"}}
    for override in overrides:
        if not override.startswith(("evaluation.", "compute.", "cluster.")):
            raise InputError(f"--set {override}: of a stored set only evaluation, compute and cluster can be changed")
    config = loading.from_settings(settings, overrides, folder)
    by_fingerprint = {found.fingerprint: (path, found) for path, found in all_manifests(location)}
    experts = by_fingerprint.get(manifest.inputs.get("experts", ""))
    data = by_fingerprint.get(experts[1].inputs.get("data", "")) if experts else None
    if data is None:
        raise InputError(f"the experts or the dataset that {folder} was made from are no longer in {location.uri}")
    return StoredSet(name, config, _identity("data", *data), _identity("distill", folder, manifest))


def _fitting(name: str, location: Location) -> list[tuple[str, Manifest]]:
    return [
        (folder, manifest)
        for folder, manifest in all_manifests(location)
        if manifest.stage == "distill"
        and any(text.startswith(name) for text in (folder, folder.split("/", 1)[-1], manifest.fingerprint))
    ]


def _identity(stage: str, folder: str, manifest: Manifest) -> Identity:
    return Identity(stage, folder.split("/", 1)[-1].rsplit("-", 1)[0], manifest.fingerprint)


def run(sets: Sequence[StoredSet], location: Location, runner: Runner, notify: Notify) -> dict[str, list[Row]]:
    """The tables of all sets, by label. On a cluster their cells are queued together; in one process one by one."""

    def one(stored: StoredSet) -> list[Row]:
        context = Context(stored.label, stored.config, location, runner, notify)
        pipeline.check_networks(context, stored.data)
        return evaluate.make(context, stored.data, stored.distilled)

    if runner.name == "inline":
        return {stored.label: one(stored) for stored in sets}
    runner.open()
    with ThreadPoolExecutor(max_workers=len(sets)) as pool:
        return dict(zip([stored.label for stored in sets], pool.map(one, sets), strict=True))
