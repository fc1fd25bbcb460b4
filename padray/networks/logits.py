"""What a network says of samples, and its features: by its module or, where that is worth it, by a compiled program.

Axes: P parameters, N samples, C H W, K classes, F features.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from padray.networks.derivatives import REFERENCE, Execution, blueprint_of, is_compiled, largest_map, most_samples
from padray.networks.flat import FlatNetwork
from padray.networks.layers import Network
from padray.networks.programs import Program

BATCH = 1000  # samples of one call of a module
# Floating-point operations of one look from which on compiling it (14 CPU seconds) has paid off once two dozen networks
# have looked: a module makes 40 thousand million of them a second, a program takes half of its time.
PAYS_TO_LOOK = 5e10


@torch.no_grad()
def logits_of(network: nn.Module, images_NCHW: Tensor, execution: Execution = REFERENCE) -> Tensor:
    """Logits (N, K) without augmentation, in evaluation mode.

    Args:
        execution: whether by a compiled program, which sees as many samples at a time as fit into the cache.

    Raises:
        InputError: a program is asked for, and there is no compiler.
        InfrastructureError: the compiler fails.
    """
    network.eval()
    if is_compiled(network, execution, len(images_NCHW), PAYS_TO_LOOK):
        return _by_program("logits", network, images_NCHW, most_samples(largest_map(network)), execution.threads)
    return torch.cat([network(part) for part in torch.split(images_NCHW, BATCH)])


@torch.no_grad()
def features_of(network: Network, images_NCHW: Tensor, execution: Execution = REFERENCE) -> Tensor:
    """What the classifier sees (N, F), of all samples at once: a batch norm looks at them as its mode says.

    Args, Raises: see `logits_of`; `auto` compiles nothing, for only who asks knows how often.
    """
    if is_compiled(network, execution, passes=0):
        enough = 1 << (len(images_NCHW) - 1).bit_length()  # a power of two: classes of unequal sizes share programs
        size = min(most_samples(largest_map(network)), enough)
        return _by_program("features", network, images_NCHW, size, execution.threads)
    features_NF: Tensor = network.features(images_NCHW)
    return features_NF


def _by_program(
    kind: Literal["logits", "features"], network: nn.Module, images_NCHW: Tensor, size: int, threads: int
) -> Tensor:
    """By a program that sees `size` samples at a time."""
    blueprint, theta_P = blueprint_of(network), FlatNetwork(network).flatten()
    assert blueprint is not None, "`is_compiled` has seen to it"
    settings, shape, classes = blueprint
    precision = str(theta_P.dtype).removeprefix("torch.")
    program = Program(kind, settings, shape, classes, size, size, False, precision, threads=threads).load()
    parts = torch.split(images_NCHW.detach().contiguous(), size)
    return torch.cat([program(theta_P, _padded(part, size))[0][: len(part)] for part in parts])


def _padded(images_NCHW: Tensor, size: int) -> Tensor:
    """As many samples as a program takes; those that are added are zeros."""
    missing = size - len(images_NCHW)
    return F.pad(images_NCHW, (0, 0) * 3 + (0, missing)) if missing else images_NCHW
