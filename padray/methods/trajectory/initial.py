"""Where a set starts that students train on: chosen real samples and what the experts say of them, or noise.

Legend: N training samples, M = K * IPC synthetic samples, E experts, K classes.
"""

import torch

from padray.errors import InputError
from padray.experts.votes import End, expert_logits
from padray.methods.method import Materials
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks.flat import FlatNetwork
from padray.synthetic import start
from padray.synthetic.set import Learned


def initial(settings: TrajectorySettings, network: FlatNetwork, materials: Materials) -> Learned:
    """Images, labels and the student's lr before the first iteration."""
    make = _noise if settings.init == "noise" else _real
    images, targets = make(settings, network, materials)
    return Learned(images.to(materials.dtype), targets, torch.tensor(settings.student_lr, dtype=materials.dtype))


def _noise(
    settings: TrajectorySettings, network: FlatNetwork, materials: Materials
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels to start from where nothing real may show."""
    targets = start.class_labels(materials.classes, settings.ipc)
    images = start.noise(len(targets), materials.shape, materials.seed)
    if settings.soft_labels:
        targets = start.plain_logits(targets, materials.classes).to(materials.dtype)
    return images, targets


def _real(
    settings: TrajectorySettings, network: FlatNetwork, materials: Materials
) -> tuple[torch.Tensor, torch.Tensor]:
    """Chosen real samples of the keep-list, and what the experts say of them."""
    voters, kept = _Voters(network, materials), materials.kept
    images_NCHW, labels_N = materials.images, materials.labels
    if len(kept) < len(labels_N):
        images_NCHW, labels_N = images_NCHW[kept], labels_N[kept]
    network.module.eval()
    with torch.no_grad():
        correct_EN = torch.zeros((0, len(labels_N)), dtype=torch.bool)
        if settings.init == "correct":
            correct_EN = voters.correct(images_NCHW, labels_N, settings.ipc)
        chosen_M = start.choose_samples(labels_N, correct_EN, settings.ipc, materials.seed, materials.classes)
        targets = start.class_labels(materials.classes, settings.ipc)
        if settings.soft_labels:
            targets = voters.soft(images_NCHW[chosen_M], targets, settings.labels.start)
    network.module.train()
    return images_NCHW[chosen_M].clone(), targets


class _Voters:
    """The experts after their last epoch, who say of samples which class they are."""

    def __init__(self, network: FlatNetwork, materials: Materials) -> None:
        self.network, self.device, self.classes = network, materials.device, materials.classes
        self.name = materials.experts.name
        self.ends = [self._checked(materials.experts.last(k)) for k in range(materials.experts.count)]

    def _checked(self, end: End) -> End:
        if end[1].keys() != self.network.buffers().keys():  # an older padray kept none
            raise InputError(f"{self.name} lacks its networks' running statistics: start again with --fresh")
        return end

    def soft(self, images_MCHW: torch.Tensor, labels_M: torch.Tensor, rule: str) -> torch.Tensor:
        """Where the learned labels of these samples start, (M, K) (DATM section 3.3)."""
        if rule == "one_expert":
            return self._logits(self.ends[0], images_MCHW)
        return start.soft_labels(torch.stack([self._logits(end, images_MCHW) for end in self.ends]), labels_M)

    def correct(self, images_NCHW: torch.Tensor, labels_N: torch.Tensor, ipc: int) -> torch.Tensor:
        """Which samples each expert gets right (E, N), for the first experts that together fill every class."""
        rows: list[torch.Tensor] = []
        for end in self.ends:
            rows.append(self._logits(end, images_NCHW).argmax(dim=1) == labels_N)
            filled = labels_N[torch.stack(rows).any(dim=0)].bincount(minlength=self.classes)
            if int(filled.min()) >= ipc:
                break  # later experts would change nothing, and there may be a hundred
        return torch.stack(rows)

    def _logits(self, end: End, images_NCHW: torch.Tensor) -> torch.Tensor:
        """What an expert says of samples, (N, K), on the CPU."""
        return expert_logits(self.network, end, images_NCHW, self.device).cpu()
