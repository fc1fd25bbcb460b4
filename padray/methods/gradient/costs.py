"""What gradient matching takes: what a plan counts beside the time of an iteration."""

import math

import torch
from torch.nn import functional as F

from padray.methods.classwise import CLASS_BYTES, METRICS_BYTES
from padray.methods.gradient import inner
from padray.methods.gradient.distances import distance_of
from padray.methods.gradient.settings import GradientSettings
from padray.methods.method import Costs, Rehearsal, Sizes
from padray.networks.peak import peak_of, training_peak
from padray.networks.settings import CURVATURE_PASSES, GRADIENT_PASSES

MOST_EPOCHS = 2  # of the training between two steps, where its time is measured


def of(settings: GradientSettings, sizes: Sizes) -> Costs:
    """See `Costs`: a real batch, a synthetic one and its second derivatives; the samples once more, class by class."""
    count, numbers, dtype = sizes.classes * settings.ipc, math.prod(sizes.shape), _dtype(sizes)
    trains = settings.outer_steps > 1
    batch = min(settings.inner.batch, count)
    seen = min(settings.real_batch, sizes.train / sizes.classes)
    matched = GRADIENT_PASSES * seen + CURVATURE_PASSES * settings.ipc
    trained = settings.trainings * settings.inner.epochs * count

    def peak() -> int:
        step = training_peak(sizes.network, sizes.shape, sizes.classes, batch, dtype) if trains else 0
        return max(_matching_peak(settings, sizes), step) + sizes.train * numbers * dtype.itemsize

    return Costs(
        looks=0,
        passes=settings.iterations * sizes.classes * matched + GRADIENT_PASSES * trained,
        steps=settings.trainings * settings.inner.epochs * math.ceil(count / settings.inner.batch),
        peak=peak,
        own_numbers=sizes.network.size if trains else 0,
        contribution_numbers=settings.ipc * numbers + 1,
        metrics_bytes=METRICS_BYTES + CLASS_BYTES * sizes.classes,
    )


def rehearsal(settings: GradientSettings) -> Rehearsal:
    """A few epochs of a network's training stand for all; of `outer_steps` of the images it follows all but one."""
    if settings.outer_steps == 1:
        return Rehearsal(settings, 1.0)
    epochs = min(settings.inner.epochs, MOST_EPOCHS)
    quick = settings.model_copy(update={"inner": settings.inner.model_copy(update={"epochs": epochs})})
    share = 1 - 1 / settings.outer_steps
    note = f"the {settings.inner.epochs} epochs of training between two iterations are calculated from {epochs}"
    return Rehearsal(
        quick, 1.0, note if epochs < settings.inner.epochs else "", step_times=share * settings.inner.epochs / epochs
    )


def _dtype(sizes: Sizes) -> torch.dtype:
    return next(sizes.network.module.parameters()).dtype


def _matching_peak(settings: GradientSettings, sizes: Sizes) -> int:
    """Bytes of one class's contribution."""
    network, parameters = sizes.network.module, list(sizes.network.module.parameters())
    distance = distance_of(settings, sizes.network.spans)

    def batch(count: int, wanted: bool = False) -> torch.Tensor:
        return torch.empty(count, *sizes.shape, device="meta", dtype=_dtype(sizes), requires_grad=wanted)

    def loss(images: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(images), torch.zeros(len(images), device="meta", dtype=torch.int64))

    def run() -> None:
        if inner.batch_norms(network):
            with torch.no_grad():
                network(batch(inner.STATISTICS_SAMPLES * sizes.classes))
        wanted = torch.autograd.grad(loss(batch(min(settings.real_batch, sizes.train))), parameters)
        fake = batch(settings.ipc, True)
        reached = torch.autograd.grad(loss(fake), parameters, create_graph=True)
        torch.autograd.grad(distance(wanted, reached), fake)

    return peak_of(run)
