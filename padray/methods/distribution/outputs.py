"""Which outputs of a network are matched: FIEM's share of shallow ones is left out (PAD Table 7b).

The paper's text leaves the rule open; both rules here are ours, see OutputSettings. Legend: B samples, L outputs.
"""

import torch

from padray.methods.distribution.settings import OutputSettings
from padray.networks.derivatives import Execution
from padray.networks.layers import Network
from padray.networks.logits import features_of


def outputs_of(network: Network, images_BCHW: torch.Tensor, settings: OutputSettings) -> list[torch.Tensor]:
    """The matched outputs, each flattened (B, F), from shallow to deep."""
    if settings.which == "embedding":
        return [network.features(images_BCHW)]
    if settings.which == "blocks":
        blocks = network.block_outputs(images_BCHW)
        everything = [*blocks, network.classifier(blocks[-1].flatten(1))]
        first = int(settings.alpha * len(everything))
        return [output.flatten(1) for output in everything[first:]]
    units = [output.flatten(1) for output in network.unit_outputs(images_BCHW)]
    total = sum(output.shape[1] for output in units)
    return [torch.cat(units, dim=1)[:, int(settings.alpha * total) :]]


def outputs_without_graph(
    network: Network, images_BCHW: torch.Tensor, settings: OutputSettings, execution: Execution
) -> list[torch.Tensor]:
    """The same of samples that nothing is differentiated for; embeddings by a compiled program where one is used."""
    if settings.which == "embedding":
        return [features_of(network, images_BCHW, execution)]
    with torch.no_grad():
        return outputs_of(network, images_BCHW, settings)
