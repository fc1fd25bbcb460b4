"""What a report says of distribution matching."""

from padray.methods.distribution.settings import DistributionSettings


def notes(settings: DistributionSettings, noun: str) -> list[str]:
    """What was matched, and in which networks."""
    outputs = {
        "embedding": "the features before the classifier",
        "blocks": f"the outputs of its blocks and its logits, without the first {100 * settings.outputs.alpha:g} %",
        "units": f"the outputs of all its modules, without the first {100 * settings.outputs.alpha:g} % of the numbers",
    }[settings.outputs.which]
    return [
        f"Every iteration draws a fresh network, which is not trained, and up to {settings.real_batch} real {noun}s of "
        f"each class; matched are the means of {outputs}. The {noun}s keep the labels of their classes, and no "
        f"learning rate is learned."
    ]
