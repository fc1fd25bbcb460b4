"""What a storage root is kept in order with: verify and repair, remove.

A repair deletes nothing but what a finding names, and leaves each folder so that the command that made it makes again
exactly what is missing: a manifest that lists less is extended, a folder without one is taken up as unfinished work.
"""

import re
from dataclasses import dataclass, field, replace

from padray.errors import InfrastructureError, InputError
from padray.fingerprint import Identity, set_fingerprint, set_iterations
from padray.stages import facts
from padray.stages.progress import Notify, Progress
from padray.store.artifacts import MANIFEST, Folder, Manifest, read_manifest, split_key
from padray.store.audit import FAULTS, Audit, Finding, Judge, Standing, audit
from padray.store.location import Leftover, Location
from padray.store.roots import POSITION, check_root, folders, read_manifests, the_one

# The units that the next run of a stage takes up where its manifest does not list them yet.
_TAKEN_UP = {
    "scores": ("network-",),
    "experts": ("expert-",),
    "distill": ("set-", "history-", "checkpoint-", "unit-"),
    "evaluation": ("cell-",),
    "search": ("trial-", "final-"),
    "study": ("cell-",),
}
_IN_FLIGHT_S = 3600.0  # a write that began so long ago is over, unless an age was given
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Line:
    """A finding, and what repair does about it: a sentence, and whether it does anything."""

    finding: Finding
    remedy: str
    acts: bool
    leftover: Leftover | None = None


@dataclass(frozen=True)
class FindingLine:
    """A finding as it is printed; `repair`: what repair does about it."""

    artifact: str
    key: str
    kind: str
    problem: str
    repair: str
    repaired: bool


@dataclass(frozen=True)
class Verified:
    """What was checked, and what was found; `wrong`: how many faults are left."""

    storage: str
    artifacts: int
    objects: int
    bytes: int
    findings: list[FindingLine]
    wrong: int


@dataclass
class Inspection:
    """What was checked and found. `repaired`: the keys of the findings that were dealt with."""

    location: Location
    audits: list[Audit]
    lines: list[Line]
    repaired: set[str] = field(default_factory=set)

    @property
    def wrong(self) -> int:
        """How many faults are left; unfinished work is none."""
        return sum(line.finding.kind in FAULTS and line.finding.key not in self.repaired for line in self.lines)

    def summary(self) -> Verified:
        """What `--json` prints."""
        listed = [item for audited in self.audits if audited.manifest for item in audited.manifest.objects]
        size = sum(item.size for item in listed)
        findings = [self._line(line) for line in self.lines]
        return Verified(self.location.uri, len(self.audits), len(listed), size, findings, self.wrong)

    def _line(self, line: Line) -> FindingLine:
        of, repaired = line.finding, line.finding.key in self.repaired
        return FindingLine(of.folder, of.key, of.kind, of.problem, line.remedy, repaired)


def seconds_of(age: str) -> float:
    """`7d` -> 604800. Raises InputError if it is no age."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age.strip())
    if match is None:
        raise InputError(f"--older-than {age} is not an age: give a number with s, m, h, d or w, such as 7d")
    return float(match[1]) * _SECONDS[match[2]]


def verify(location: Location, identifier: str | None, older_than: str | None, notify: Notify) -> Inspection:
    """Check every object of a root, or of one artefact; nothing is changed.

    Args:
        identifier: the start of the one artefact's folder, name or fingerprint.
        older_than: repair leaves what is younger, and removes unfinished work that is not.

    Raises:
        InputError: no storage, an identifier that does not fit one artefact, or no age.
    """
    limit = None if older_than is None else seconds_of(older_than)
    check_root(location)
    artefacts = folders(location)
    chosen = list(artefacts) if identifier is None else [_one(location, identifier)[0]]
    audits, judge = [], Judge(_standing, facts.wrong)
    for place, path in enumerate(chosen):
        notify(Progress("verify", place, len(chosen), path))
        audits.append(audit(location, path, artefacts[path], judge))
    notify(Progress("verify", len(chosen), len(chosen)))
    findings = [(checked, finding) for checked in audits for finding in checked.findings]
    lines = [_line(location, checked, finding, limit) for checked, finding in findings]
    lines += _leftovers(location, None if identifier is None else chosen, limit)
    return Inspection(location, audits, lines)


def _leftovers(location: Location, chosen: list[str] | None, limit: float | None) -> list[Line]:
    """The writes that are under way, or never came to their end: told apart by their age."""
    try:
        writes = location.leftovers()
    except InputError as error:  # the right to list them is one of its own
        return [Line(Finding("", location.uri, "unreadable", str(error)), "leaves it: look for yourself", acts=False)]
    lines = []
    for each in writes:
        if chosen is not None and each.key.rsplit("/", 1)[0] not in chosen:
            continue
        name = f"{each.key}?uploadId={each.upload}" if each.upload else each.key
        if each.age < (_IN_FLIGHT_S if limit is None else limit):
            finding = Finding("", name, "unfinished", f"a write that began {each.age:.0f} s ago")
            lines.append(Line(finding, "leaves it: it may still go on; --older-than AGE removes it", acts=False))
        else:
            finding = Finding("", name, "leftover", "a write that never came to its end")
            lines.append(Line(finding, "removes it", acts=True, leftover=each))
    return lines


def _standing(manifest: Manifest, stem: str) -> Standing:
    """What a valid object is that a manifest does not list."""
    listed = {item.stem for item in manifest.objects}
    if stem in listed or stem.removeprefix(POSITION) in listed:
        return "orphan"  # another writer's, or what was there before the folder was extended
    if stem.startswith("begun-"):
        return "kept"  # a search's notes, which no manifest lists
    if stem.startswith("checkpoint-") and any(stem < other for other in listed if other.startswith("checkpoint-")):
        return "orphan"  # nothing refers to it
    taken_up = (*_TAKEN_UP.get(manifest.stage, ()), POSITION)
    return "unfinished" if stem.startswith(taken_up) else "orphan"


def _line(location: Location, checked: Audit, finding: Finding, limit: float | None) -> Line:
    """A finding with its remedy."""
    if location.leads_out(checked.path):
        return Line(finding, "leaves it: it lies outside the root, behind a link", acts=False)
    if finding.kind in ("damaged", "missing"):
        assert checked.manifest is not None, "only a manifest says that an object is damaged"
        return Line(finding, _remedy(checked.manifest, _lost(checked), finding.key), acts=True)
    if finding.kind == "broken":
        return Line(finding, "removes the manifest; the same command takes up the folder's objects", acts=True)
    if finding.kind == "stranger" and finding.removable:
        return Line(finding, "removes it", acts=True)
    if finding.kind == "orphan":
        return _if_old(location, finding, limit)
    if finding.kind == "unfinished":
        if limit is None:
            return Line(finding, "leaves it: the same command goes on; --older-than AGE removes it", acts=False)
        return _if_old(location, finding, limit)
    return Line(finding, "leaves it: look for yourself", acts=False)


def _if_old(location: Location, finding: Finding, limit: float | None) -> Line:
    """Remove it, unless an age was given that it does not have."""
    if limit is None:
        return Line(finding, "removes it", acts=True)
    keys = location.keys(finding.key) if finding.key == finding.folder else [finding.key]
    young = min((location.age(key) for key in keys), default=limit) < limit
    return Line(finding, "leaves it: it is younger" if young else "removes it", acts=not young)


def _lost(checked: Audit) -> frozenset[str]:
    return frozenset(finding.key for finding in checked.findings if finding.kind in ("damaged", "missing"))


def _starts_anew(manifest: Manifest, lost: frozenset[str]) -> bool:
    """Whether the manifest has to go with these objects, or else its stage would take itself for finished."""
    names = [split_key(key)[0] for key in lost]
    left = [item for item in manifest.objects if item.key not in lost]
    parts = any(name.startswith("history-") for name in names)  # only distilling brings them back
    return not left or parts or manifest.stage in ("data", "report") or _is_imported(manifest)


def _is_imported(manifest: Manifest) -> bool:
    return bool(manifest.facts.get("provenance") == "imported")


def _remedy(manifest: Manifest, lost: frozenset[str], key: str) -> str:
    """What repair does about an object that is damaged or missing."""
    command = "`padray import`" if _is_imported(manifest) else "the same command"
    if _starts_anew(manifest, lost):
        return f"removes it and the manifest; {command} makes what is missing"
    if split_key(key)[0].startswith("checkpoint-"):
        return "removes it from the folder; the set stays, only a longer run would begin anew"
    return f"removes it from the folder; {command} makes it again"


def repair(inspection: Inspection) -> None:
    """Do what the lines say. What a manifest has come to list in the meantime stays.

    Raises InputError or InfrastructureError for the first thing that could not be done, once all others are.
    """
    refused: list[InputError | InfrastructureError] = []
    for checked in inspection.audits:
        lines = [line for line in inspection.lines if line.acts and line.finding.folder == checked.path]
        lost = _lost(checked) & {line.finding.key for line in lines}
        try:
            if lost:
                _forget(inspection.location, checked, lost)
        except (InputError, InfrastructureError) as error:
            refused.append(error)
            continue
        for line in lines:
            _attempt(inspection, line, refused)
    for line in inspection.lines:
        if line.leftover:
            _attempt(inspection, line, refused)
    if refused:
        raise refused[0]


def _attempt(inspection: Inspection, line: Line, refused: list[InputError | InfrastructureError]) -> None:
    try:
        if line.leftover:
            inspection.location.discard(line.leftover)
        else:
            _remove(inspection.location, line.finding)
        inspection.repaired.add(line.finding.key)
    except (InputError, InfrastructureError) as error:
        refused.append(error)


def _forget(location: Location, checked: Audit, lost: frozenset[str]) -> None:
    """Take objects out of their manifest, before they go, so that none is listed that is not there."""
    assert checked.manifest is not None, "only a manifest says that an object is damaged"
    folder = Folder(location, checked.path, checked.manifest.fingerprint)
    manifest = folder.present()  # what has gone since is not listed again
    if manifest is None or _starts_anew(manifest, lost):
        location.delete(f"{checked.path}/{MANIFEST}")
    else:
        left = tuple(item for item in manifest.objects if item.key not in lost)
        folder.commit(replace(manifest, objects=left))


def _remove(location: Location, finding: Finding) -> None:
    """Delete what a finding names: an object, or all objects of a folder that is still unfinished."""
    key = f"{finding.folder}/{MANIFEST}"
    if finding.kind == "broken":
        return location.delete(key)
    finished = location.size(key) is not None
    if finding.key == key:  # a stranger, unless a manifest has taken its place meanwhile
        return None if finished else location.delete(key)
    if finding.key != finding.folder:
        listed = {item.key for item in read_manifest(location, key).objects} if finished else set()
        return None if finding.key in listed else location.delete(finding.key)
    for one in [] if finished else location.keys(finding.folder):
        if split_key(one)[1]:
            location.delete(one)
    return None


def _one(location: Location, identifier: str) -> tuple[str, Manifest | InputError | None]:
    """The artefact that an identifier fits. Raises InputError if none does, or several."""
    read = dict(read_manifests(location))
    return the_one(identifier, location, ((path, read.get(path)) for path in folders(location)), "padray du")


@dataclass(frozen=True)
class Removed:
    """What was removed; `dependants`: what was made from it, and is still there."""

    removed: str
    objects: int
    bytes: int
    dependants: list[str]


def remove(location: Location, identifier: str, force: bool) -> Removed:
    """Remove an artefact, finished or not.

    Raises:
        InputError: none or several fit, or others were made from it and `force` does not say to remove it even so.
    """
    check_root(location)
    path, manifest = _one(location, identifier)
    if location.leads_out(path):
        raise InputError(f"{path} lies outside {location.uri}, behind a link; remove it where it is")
    needing = dependants(location, path, manifest)
    if needing and not force:
        raise InputError(
            f"{len(needing)} artefacts were made from {path}: {', '.join(needing)}; remove them first, or add --force"
        )
    sizes = location.sizes(path).values()
    Folder(location, path, "").delete()
    return Removed(path, len(sizes), sum(sizes), needing)


def dependants(location: Location, path: str, manifest: Manifest | InputError | None) -> list[str]:
    """The folders of the artefacts whose manifests name this one, or a set of it, among their inputs."""
    names = {path[-12:]}
    if isinstance(manifest, Manifest):
        distillation = Identity("distill", "", manifest.fingerprint)
        iterations = {set_iterations(item.stem) for item in manifest.objects}
        names |= {set_fingerprint(distillation, count) for count in iterations if count is not None}

    def uses(other: Manifest | InputError) -> bool:
        given = other.inputs.values() if isinstance(other, Manifest) else ()
        flat = [one for value in given for one in (value if isinstance(value, list) else [value])]
        return any(str(one).startswith(tuple(names)) for one in flat)

    return [folder for folder, other in read_manifests(location) if folder != path and uses(other)]
