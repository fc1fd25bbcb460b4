"""What a report shows of distribution matching: the loss of every class.

Legend: K classes, T iterations.
"""

from collections.abc import Sequence

import numpy as np

from padray.methods.distribution.settings import DistributionSettings
from padray.methods.figures import Figure, History, RowsInfo, in_bins

_MOST_CLASSES = 20


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


def figures(history: History, classes: Sequence[str]) -> list[Figure]:
    """The loss of every class, relative to where it was in the first bin of iterations."""
    losses_TK = np.array([row["classes"] for row in history], dtype=np.float64)[:, :_MOST_CLASSES]
    values, edges = in_bins(losses_TK, float(history[0]["iteration"]))
    names = tuple(classes[: values.shape[0]])
    shown = f"the first {len(names)} of {len(classes)}" if len(names) < len(classes) else f"all {len(names)}"
    caption = f"The mean loss of {shown} classes over bins of iterations; each iteration has another network."
    scale = "loss of the class; 1 = as at first"
    info = RowsInfo(values / values[:, :1], edges, names, (), None, caption, scale)
    return [Figure("classes", "Loss per class", "Loss per class over iterations", info)]
