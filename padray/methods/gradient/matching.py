"""Gradient matching as a method: an iteration is the sum over classes, in one network that is fresh or little trained.

L = sum over classes of D(dl(real)/dtheta, dl(synthetic)/dtheta), l the mean cross-entropy of one class's batch and D as
in distances.py: a plain sum, divided by nothing. All images make one step along it; then the network is trained on the
synthetic set, and after `outer_steps` of these another is drawn. Sources: DC (Zhao et al. 2021) Algorithm 1, DSA (Zhao
& Bilen 2021) Eq. 4, PAD Tables 6 and 7a. Ours: draws by names instead of a clock, what a batch norm knows (inner.py).

Legend: M = K * IPC synthetic samples, K classes, P parameters.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch.nn import functional as F

from padray.experts.training import Draws, Samples
from padray.methods.classwise import ClasswiseMatching
from padray.methods.figure_data import Figure, History, class_losses
from padray.methods.gradient import costs, inner, report
from padray.methods.gradient.distances import Distance, distance_of
from padray.methods.gradient.settings import GradientSettings
from padray.methods.method import Contribution, Costs, Metrics, Rehearsal, Sizes
from padray.methods.state import State
from padray.networks.derivatives import Derivatives, Execution, derivatives
from padray.networks.flat import FlatNetwork, Span, spans_of
from padray.networks.layers import Network
from padray.synthetic.set import Learned


class GradientMatching(ClasswiseMatching[GradientSettings]):
    """Of gradients, one contribution a class. The state's own `network` (P,) is what training has made of it.

    It is there between two outer steps of a network, and not before its first one: then it is the one that is drawn.
    """

    lower = "lower distill.lr_images or distill.inner.lr"
    _current: tuple[State, Derivatives] | None = None

    @cached_property
    def distance(self) -> Distance:
        """What compares gradients."""
        return distance_of(self.settings, spans_of(self._network(0)))

    @cached_property
    def execution(self) -> Execution:
        """How gradients are made that have no graph: compiled or not, and never in bfloat16, for they are the goal."""
        return replace(self.materials.execution, bf16=())

    def start(self) -> State:
        assert self.distance, "refused before anything is made"
        return super().start()

    def contribute(self, state: State, number: int, snapshots: Sequence[torch.Tensor]) -> Contribution:
        """The loss of a class, and its gradient."""
        batches, matched = self._batches(state, number), self._matched(state)
        flat = matched.network
        (label,), (real,), (fake,) = batches.classes, batches.real, batches.fake
        _, wanted_P = matched.gradient(flat.flatten(), real, _labels(real, label))
        loss = F.cross_entropy(flat.module(fake), _labels(fake, label))
        reached = torch.autograd.grad(loss, list(flat.module.parameters()), create_graph=True)
        distance = self.distance(flat.parts(wanted_P), reached)
        (grad_images,) = torch.autograd.grad(distance, batches.images)
        return {"loss": distance.detach().reshape(1), "grad_images": grad_images}

    def _matched(self, state: State) -> Derivatives:
        """Of the network of the state's next iteration; they are kept, for all classes are matched in it."""
        if self._current is None or self._current[0] is not state:
            network = self._trained_network(state)
            if inner.batch_norms(network):
                count, step = inner.STATISTICS_SAMPLES, state.iteration
                classes = range(self.materials.classes)
                samples = [self._draw(label, count, f"statistics-{label}", step) for label in classes]
                inner.fix_statistics(network, torch.cat(samples))
            batch = min(self.settings.real_batch, max(map(len, self.real)))
            self._current = state, derivatives(FlatNetwork(network), self.execution, batch)
        return self._current[1]

    def _trained_network(self, state: State) -> Network:
        network = self._network(state.iteration // self.settings.outer_steps)
        if "network" in state.own:
            FlatNetwork(network).load(state.own["network"])
        return network

    def step(self, state: State, contributions: Sequence[Contribution]) -> tuple[State, Metrics]:
        """One step of all images along the sum over classes, then the network's training on them.

        It follows from the state and the contributions alone, so every worker makes it for itself.

        Raises:
            DivergedError: no class was finite, again and again, or the step leaves values that are not finite.
        """
        moved, metrics = super().step(state, contributions)
        if moved.iteration % self.settings.outer_steps == 0:
            return replace(moved, own={}), metrics
        network = self._trained_network(state)
        samples = Samples(moved.learned.images, moved.learned.labels.to(moved.learned.images.device))
        draws = Draws(self.materials.seed, "distill", f"inner-{state.iteration}")
        recipe = inner.recipe_of(self.settings.inner, self.settings.augment, self.execution)
        inner.train_inner(network, samples, recipe, draws)
        return replace(moved, own={"network": FlatNetwork(network).flatten()}), metrics

    @classmethod
    def notes(cls, settings: GradientSettings, learned: Learned, noun: str) -> list[str]:
        return report.notes(settings, noun)

    @classmethod
    def figures(
        cls, settings: GradientSettings, history: History, spans: Sequence[Span], classes: Sequence[str]
    ) -> list[Figure]:
        return [class_losses(history, classes, report.networks(settings))]

    @classmethod
    def costs(cls, settings: GradientSettings, sizes: Sizes) -> Costs:
        return costs.of(settings, sizes)

    @classmethod
    def rehearsal(cls, settings: GradientSettings) -> Rehearsal:
        return costs.rehearsal(settings)


def _labels(images_BCHW: torch.Tensor, label: int) -> torch.Tensor:
    """A batch (B,) of one class."""
    return torch.full((len(images_BCHW),), label, device=images_BCHW.device)
