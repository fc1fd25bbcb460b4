"""What a report says of gradient matching."""

from padray.methods.gradient.settings import GradientSettings

_DISTANCES = {
    "rows": "1 - cosine, row by row of every weight",
    "cosine": "1 - cosine of all parameters as one vector",
    "mse": "the squared distance of all parameters as one vector",
}


def networks(settings: GradientSettings) -> str:
    """Which network an iteration sees, as the end of a sentence."""
    steps = settings.outer_steps
    return "each iteration has another network" if steps == 1 else f"each network serves {steps} iterations in a row"


def notes(settings: GradientSettings, noun: str) -> list[str]:
    """What was matched, how, and in which networks."""
    alpha, inner = settings.selection.alpha, settings.inner
    without = f", without what begins in the first {100 * alpha:g} % of the parameters" if alpha else ""
    scaled = ", divided by the share that is kept" if settings.selection.rescale == "kept" else ""
    trained = (
        f"Between two of them it is trained for {inner.epochs} epochs on the synthetic set (lr {inner.lr:g}, batches "
        f"of up to {inner.batch})"
        if settings.outer_steps > 1
        else "It is not trained"
    )
    return [
        f"Matched are gradients of the loss on up to {settings.real_batch} real {noun}s of a class and on its "
        f"synthetic ones, by {_DISTANCES[settings.distance]}{without}{scaled}; {networks(settings)}. {trained}. The "
        f"{noun}s keep the labels of their classes, and no learning rate is learned."
    ]
