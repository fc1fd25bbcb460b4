"""Coresets as a method: a unit is a class, and the set is its chosen samples as they are.

What is looked at is one network of `distill.scoring`, which every worker trains for itself from the same seed. Ours,
and not DeepCore's: it is seen without augmentation and in evaluation mode, its gradients are per sample, and forgetting
is counted from epoch to epoch with a sample that was never learned as the hardest (padray/experts/scorers.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from padray.draws import generator, seed_for
from padray.errors import DivergedError
from padray.experts.scorers import SCORES, observe
from padray.experts.training import Draws, Recipe, Samples, train
from padray.methods.coreset import rules
from padray.methods.coreset.rules import Chosen, Seen
from padray.methods.coreset.settings import CoresetSettings
from padray.methods.method import Contribution, Costs, Rehearsal, Selected, Selective, Sizes
from padray.networks import factory, peak
from padray.networks.layers import Network
from padray.networks.settings import GRADIENT_PASSES
from padray.synthetic.set import Learned
from padray.synthetic.start import class_labels

_PART = 1000  # samples that pass the network in one go
_NAMES = {
    "random": "drawn without replacement",
    "herding": "by herding: their mean embedding follows the class's",
    "k_center": "farthest first (k-center greedy) among embeddings",
    "forgetting": "as those that were forgotten most often, never learned ones first",
    "glister": "by Glister: their gradients lower the loss of {held} fastest",
    "craig": "by CRAIG: facility location among last-layer gradients; the weights say how many samples each stands for",
    "gradmatch": "by GradMatch: their weighted gradients match the class's mean gradient",
}


@dataclass(frozen=True)
class _Scored:
    """A trained network, and how often each kept sample was forgotten (N,), where that was asked for."""

    network: Network
    forgotten: torch.Tensor | None


class CoresetSelection(Selective[CoresetSettings]):
    """A unit has the rows of its picks in the training split, `rows` (IPC,), and maybe `weights` (IPC,)."""

    contribution = "class"

    def make(self, number: int) -> Contribution:
        """Choose of one class. Raises DivergedError if the network cannot be trained."""
        kept, labels = self.materials.kept, self.materials.labels
        own = (labels[kept] == number).nonzero().flatten()
        chosen = self._choose(number, own)
        weights = {} if chosen.weights is None else {"weights": chosen.weights}
        return {"rows": kept[own[chosen.places]], **weights}

    def _choose(self, label: int, own: torch.Tensor) -> Chosen:
        """Places among `own`, the class's places in the keep-list."""
        settings, count = self.settings, self.settings.ipc
        draw = generator(self.materials.seed, "distill", f"coreset-{label}")
        if settings.method == "random":
            return rules.random(len(own), count, draw)
        if settings.method == "forgetting":
            assert self.scored.forgotten is not None, "it was asked for"
            return rules.hardest(self.scored.forgotten[own], count)
        rows = self.materials.kept[own]
        seen = self._look(Samples(self.images[rows], self.materials.labels[rows]))
        if settings.method == "herding":
            return rules.herding(seen.features, count)
        if settings.method == "k_center":
            return rules.k_center(seen.features, count, draw)
        if settings.method == "glister":
            return rules.glister(seen, self._held(label) or seen, count, settings.glister_lr)
        if settings.method == "craig":
            return rules.craig(rules.gram(seen), count)
        return rules.gradmatch(rules.gram(seen), count, settings.ridge)

    def _held(self, label: int) -> Seen | None:
        """What is said of the class's validation samples; None without any."""
        held = self.materials.held
        own = (held.labels == label).nonzero().flatten()
        return self._look(Samples(held.images[own], held.labels[own])) if len(own) else None

    @cached_property
    def images(self) -> torch.Tensor:
        """The training samples, preprocessed once."""
        return self.materials.images

    @cached_property
    def scored(self) -> _Scored:
        """The scoring network, trained on the keep-list."""
        given, settings = self.materials, self.settings.scoring
        seed = seed_for(given.seed, "distill", "scoring")
        network = factory.build(settings.network, given.shape, given.classes, seed).to(given.device, given.dtype)
        recipe = Recipe(
            settings.epochs,
            settings.batch,
            settings.lr,
            settings.momentum,
            settings.weight_decay,
            self.settings.augment,
            execution=given.execution,
            nesterov=settings.nesterov,
            keeper=given.keeper,
        )
        samples = Samples(self.images, given.labels.to(given.device))
        epochs = train(network, samples, recipe, Draws(given.seed, "distill", "scoring"), lambda epoch: given.kept)
        try:
            if self.settings.method != "forgetting":
                for _ in epochs:
                    pass
                return _Scored(network.eval(), None)
            part = Samples(self.images[given.kept], given.labels[given.kept])
            unused = generator(given.seed, "distill", "scoring")  # lots, of which none is asked
            return _Scored(network, SCORES["forgetting"](observe(network, epochs, [part], unused, given.keeper)))
        except DivergedError:
            raise DivergedError(
                f"the scoring network of the coreset diverged: lower distill.scoring.lr ({settings.lr:g})"
            ) from None

    def _look(self, samples: Samples) -> Seen:
        """Embeddings and logits in float64, on the CPU."""
        network = self.scored.network
        with torch.no_grad():
            features = torch.cat([network.features(part) for part in torch.split(samples.images, _PART)])
            logits = network.classifier(features)
        if not bool(logits.isfinite().all()):
            raise DivergedError(
                f"the scoring network of the coreset gives values that are not finite: lower distill.scoring.lr "
                f"({self.settings.scoring.lr:g})"
            )
        return Seen(features.cpu().double(), logits.cpu().double(), samples.labels.cpu())

    def assemble(self, units: Sequence[Contribution]) -> Learned:
        """The chosen samples as they are, class after class."""
        given, rows = self.materials, torch.cat([unit["rows"] for unit in units])
        return Learned(self.images[rows].clone(), class_labels(given.classes, self.settings.ipc))

    def selected(self, units: Sequence[Contribution]) -> Selected:
        rows = torch.cat([unit["rows"] for unit in units])
        weights = torch.cat([unit["weights"] for unit in units]) if "weights" in units[0] else None
        return Selected(rows, weights)

    @classmethod
    def notes(cls, settings: CoresetSettings, learned: Learned, noun: str) -> list[str]:
        """How the samples were chosen, and what was looked at."""
        held = "the class's validation samples or, without any, of its training samples"
        how = _NAMES[settings.method].format(held=held)
        said = f"The {noun}s are real: of each class {settings.ipc}, {'' if settings.method == 'random' else 'chosen '}"
        if not settings.looks:
            return [f"{said}{how}."]
        scoring = settings.scoring
        return [
            f"{said}{how}. What was looked at is a {scoring.network.label}, trained on the same samples for "
            f"{scoring.epochs} epochs (SGD, lr {scoring.lr:g}, augmentation {settings.augment.replace('_', ', ')})."
        ]

    @classmethod
    def costs(cls, settings: CoresetSettings, sizes: Sizes) -> Costs:
        """The scoring network's training, and the inner products of a class's gradients."""
        if not settings.looks:
            return Costs(0, 0, 0, lambda: 0, own_numbers=0, contribution_numbers=2 * settings.ipc)
        scoring, dtype = settings.scoring, next(sizes.network.module.parameters()).dtype
        flat = peak.shaped(scoring.network, sizes.shape, sizes.classes, dtype)
        assert isinstance(flat.module, Network)
        largest = math.ceil(sizes.train / sizes.classes)
        pairs = 3 * largest**2 if settings.method in ("craig", "gradmatch") else 0
        seen = 3 * largest * (flat.module.classifier.in_features + sizes.classes)

        def most() -> int:
            step = peak.training_peak(flat, sizes.shape, sizes.classes, min(scoring.batch, sizes.train), dtype)
            return step + 8 * (pairs + seen)

        return Costs(
            looks=0,
            passes=GRADIENT_PASSES * scoring.epochs * sizes.train,
            steps=scoring.epochs * math.ceil(sizes.train / scoring.batch),
            peak=most,
            own_numbers=0,
            contribution_numbers=2 * settings.ipc,
            scoring=scoring.network,
            scored=scoring.epochs * sizes.train,
        )

    @classmethod
    def rehearsal(cls, settings: CoresetSettings) -> Rehearsal:
        """A class's choice; the network's training is counted by itself."""
        quick = settings.model_copy(update={"scoring": settings.scoring.model_copy(update={"epochs": 1})})
        return Rehearsal(quick, 1.0, f"a choice is timed on {settings.samples_asked} samples of a class")
