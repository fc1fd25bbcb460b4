"""Import: what files of others hold, and who reads them."""

from padray.errors import InputError
from padray.exchange.buffers import import_experts
from padray.exchange.received import Imported
from padray.exchange.sets import ImportOptions, import_set
from padray.stages.base import Context
from padray.store.location import check_writable

KINDS = ("pt", "mtt-buffer")


def import_artifact(context: Context, source: str, kind: str, options: ImportOptions) -> Imported:
    """Store a set (pt) or experts (mtt-buffer) of others. Raises InputError as these do."""
    if kind not in KINDS:
        raise InputError(f"--from {kind} is not known; there are {' and '.join(KINDS)}")
    if kind == "mtt-buffer" and options != ImportOptions():
        raise InputError("--labels and --lr are about a distilled set; experts have neither")
    check_writable(context.location)
    return import_set(context, source, options) if kind == "pt" else import_experts(context, source)
