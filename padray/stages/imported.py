"""Experts of others, which `padray import` has stored: checked before they are matched, never trained."""

from padray.errors import InputError
from padray.fingerprint import Identity
from padray.networks import factory
from padray.networks.flat import spans_of
from padray.stages.base import Context
from padray.stages.facts import dataset_facts
from padray.store.shards import rows_of


def require(context: Context, identity: Identity, data: Identity) -> None:
    """See that the experts of `experts.imported` are there.

    Raises:
        InputError: too few are, or they are others.
        LostObjectError: some of them are gone.
    """
    config, folder = context.config, context.folder(identity)
    settings, manifest = config.experts, folder.manifest()
    if manifest is None:
        raise InputError(
            f"the experts {settings.imported} for this network and dataset are not in {context.location.uri}; "
            f"`padray import FOLDER --from mtt-buffer --config CONFIG` stores them"
        )
    if gone := folder.gone(manifest):
        raise folder.lost(min(gone), "is gone")
    count = len(manifest.objects)
    if count < settings.count:
        raise InputError(f"there are {count} imported experts, but experts.count is {settings.count}; lower it")
    facts = dataset_facts(context.folder(data))
    parameters = spans_of(factory.build(config.network, facts.shape, facts.classes, 0))[-1].stop
    for item in manifest.objects[: settings.count]:
        rows = rows_of(item)
        if rows.count - 1 != settings.epochs:
            raise InputError(
                f"the imported experts have {rows.count - 1} epochs, but experts.epochs is {settings.epochs}; set it"
            )
        if rows.size != parameters:
            raise InputError(
                f"{item.key} holds {rows.size:,} parameters, but {config.network.label} has {parameters:,}: import the "
                f"experts again"
            )
