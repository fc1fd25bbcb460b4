"""What trained experts say of samples.

Legend: M samples, C, H, W of each, P parameters, K classes.
"""

import torch

from padray.networks.flat import FlatNetwork

_PART = 1000  # samples that pass the network in one go
End = tuple[torch.Tensor, dict[str, torch.Tensor]]  # an expert's last parameters (P,) and its last buffers by name


@torch.no_grad()
def expert_logits(network: FlatNetwork, end: End, images_MCHW: torch.Tensor, device: torch.device) -> torch.Tensor:
    """An expert's logits (M, K), on `device`, where the network is; the images may lie elsewhere."""
    theta_P, buffers = (
        end[0].to(device, images_MCHW.dtype),
        {name: buffer.to(device) for name, buffer in end[1].items()},
    )
    return torch.cat([network(theta_P, part.to(device), buffers) for part in torch.split(images_MCHW, _PART)])
