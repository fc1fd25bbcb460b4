"""Experts of others, which `padray import` has stored: checked before they are matched, never trained."""

from padray.errors import InputError
from padray.fingerprint import Identity
from padray.stages.base import Context
from padray.store.shards import rows_of


def require(context: Context, identity: Identity) -> None:
    """See that the experts of `experts.imported` are there. Raises InputError if too few are, or they are others."""
    settings, manifest = context.config.experts, context.folder(identity).manifest()
    if manifest is None:
        raise InputError(
            f"the experts {settings.imported} for this network and dataset are not in {context.location.uri}; "
            f"`padray import FOLDER --from mtt-buffer --config CONFIG` stores them"
        )
    count, epochs = len(manifest.objects), rows_of(manifest.objects[0]).count - 1
    if count < settings.count:
        raise InputError(f"there are {count} imported experts, but experts.count is {settings.count}; lower it")
    if epochs != settings.epochs:
        raise InputError(f"the imported experts have {epochs} epochs, but experts.epochs is {settings.epochs}; set it")
