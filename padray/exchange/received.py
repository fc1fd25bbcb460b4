"""What an import has stored, as `--json` prints it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Imported:
    """What was stored, where, and what to know and to do next.

    Attributes:
        imported: set or experts.
        artifact: where it lies.
        use: the command that goes on from it.
    """

    imported: str
    artifact: str
    fingerprint: str
    use: str
    notes: list[str]


@dataclass(frozen=True)
class ImportedSet(Imported):
    """A set; `label_kind`: soft or hard."""

    sha256: str
    images: int
    ipc: int
    label_kind: str
    lr: float


@dataclass(frozen=True)
class ImportedExperts(Imported):
    """Experts; `experts`: the digest that `experts.imported` names them by."""

    experts: str
    count: int
    epochs: int
