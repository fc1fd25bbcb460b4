"""Import: what files of others hold, and who reads them."""

from typing import Any

from padray.errors import InputError
from padray.exchange.buffers import import_experts
from padray.exchange.sets import Told, import_set
from padray.stages.base import Context
from padray.store.location import check_writable

KINDS = ("pt", "mtt-buffer")


def bring(context: Context, source: str, kind: str, told: Told) -> dict[str, Any]:
    """Store a set (pt) or experts (mtt-buffer) of others; what `--json` prints. Raises InputError as these do."""
    if kind not in KINDS:
        raise InputError(f"--from {kind} is not known; there are {' and '.join(KINDS)}")
    if kind == "mtt-buffer" and told != Told():
        raise InputError("--labels and --lr are about a distilled set; experts have neither")
    check_writable(context.location)
    return import_set(context, source, told) if kind == "pt" else import_experts(context, source)
