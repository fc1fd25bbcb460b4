"""The network that gradients are matched in: fresh, or trained on the synthetic set for a while.

A batch norm has to know its statistics while gradients are compared, for a batch of one class, or of one sample, has
none of its own worth the name. They are those of real samples of all classes. Ours: DC's code makes the same pass, but
folds it in at a momentum of 0.1 and so leaves nine tenths of what a network is born with; here they are the pass's own.
The training on the synthetic set is in train mode, as it is where sets are evaluated.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from padray.errors import DivergedError
from padray.experts.training import Draws, Recipe, Samples, train
from padray.methods.gradient.settings import InnerTrainingSettings
from padray.networks.derivatives import Execution

STATISTICS_SAMPLES = 16  # of each class, whose statistics a batch norm takes


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The layers that keep running statistics."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


@torch.no_grad()
def fix_statistics(network: nn.Module, images_NCHW: torch.Tensor) -> None:
    """Give every batch norm the statistics of these samples, and let it keep them."""
    norms = batch_norms(network)
    for norm in norms:
        norm.momentum = 1.0
    network.train()(images_NCHW)
    for norm in norms:
        norm.eval()


def recipe_of(settings: InnerTrainingSettings, augment: str, execution: Execution) -> Recipe:
    """SGD without momentum on the synthetic set (DC)."""
    return Recipe(
        settings.epochs,
        settings.batch,
        settings.lr,
        momentum=0.0,
        weight_decay=0.0,
        augment=augment,
        execution=execution,
    )


def train_inner(network: nn.Module, samples: Samples, recipe: Recipe, draws: Draws) -> None:
    """Train in place. A network whose loss is lost stays as it is: its classes are not finite, and are left out."""
    try:
        for _ in train(network, samples, recipe, draws):
            pass
    except DivergedError:
        return
