"""Every path on the device against the CPU in float64: what an expert, a contribution, an evaluation comes to.

The error of a tensor is relative: || a - b || / || b || with b the reference's. Of a path it is the largest over its
tensors, and the median over problems. An exact variant may be at most twice as far off as eager float32 on the CPU.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from padray.evaluation.protocol import recipe_for
from padray.evaluation.settings import EvaluationSettings
from padray.experts.training import Draws, Samples, logits_of, train
from padray.machine.numerics import decide
from padray.networks.flat import FlatNetwork
from padray.settings.machine import ComputeSettings
from tests.benchmarks import ours
from tests.benchmarks.gpu.record import VARIANTS, Programme, Variant, toy
from tests.benchmarks.workloads import LR, Case, Made, Way

Tensors = dict[str, torch.Tensor]
Ready = Callable[[], Tensors]  # all settled
MOST = 2.0  # times eager float32's error
PROBLEMS = 10
_EPOCHS = 4
_EAGER = Way("padray", {"device": "cpu", "compile": "off"})
_REFERENCE = Way("padray", {**_EAGER.compute, "precision": "float64"})


def expert(case: Case, way: Way) -> Ready:
    """How far an expert's parameters have gone after two epochs."""
    network, epochs = ours.expert(case, ours.Machine.of(way))
    flat = FlatNetwork(network)
    start_P = flat.flatten()

    def run() -> Tensors:
        loss = [next(epochs) for _ in range(2)][-1]
        return {"moved": flat.flatten() - start_P, "loss": torch.tensor(loss)}

    return run


def trajectory(case: Case, way: Way) -> Ready:
    """One trajectory's contribution."""
    matching = ours.trajectory(case, ours.Machine.of(way), way)

    def run() -> Tensors:
        found = matching.method.contribute(matching.state, 0, matching.rows)
        return {name: part for name, part in found.items() if name != "layers"}

    return run


def distribution(case: Case, way: Way) -> Ready:
    """The contribution of the first class."""
    matching = ours.distribution(case, ours.Machine.of(way))
    return lambda: dict(matching.method.contribute(matching.state, 0, ()))


def gradient(case: Case, way: Way) -> Ready:
    """The contribution of the first class."""
    matching = ours.gradient(case, ours.Machine.of(way))
    return lambda: dict(matching.method.contribute(matching.state, 0, ()))


def evaluation(case: Case, way: Way) -> Ready:
    """Where a network trained on a set has gone, and what it says of other samples."""
    machine = ours.Machine.of(way)
    made, network = Made.of(case, machine.device, machine.dtype), ours.built(case, machine)
    recipe = recipe_for(EvaluationSettings(augment=case.augment).judging, _EPOCHS, LR)
    flat, recipe = FlatNetwork(network), replace(recipe, execution=replace(machine.execution, bf16=()))
    start_P = flat.flatten()

    def run() -> Tensors:
        list(train(network, Samples(made.images, made.shares()), recipe, Draws(case.seed, "evaluation", "cell")))
        return {"moved": flat.flatten() - start_P, "logits": logits_of(network, made.real)}

    return run


Path = tuple[Callable[[Case, Way], Ready], dict[str, Any], dict[str, Any]]  # what, of the case, of `distill`
PATHS: dict[str, Path] = {
    "expert": (expert, {"kind": "expert"}, {}),
    "expert GSAM": (expert, {"kind": "expert", "rho": 0.01}, {}),
    "trajectory hard": (trajectory, {"kind": "distil"}, {}),
    "trajectory soft": (trajectory, {"kind": "distil", "soft": True}, {}),
    "trajectory selected": (
        trajectory,
        {"kind": "distil", "soft": True},
        {"selection": {"strategy": "depth", "alpha": 0.25}},
    ),
    "trajectory IADD": (trajectory, {"kind": "distil", "soft": True}, {"importance": {"enabled": True}}),
    "trajectory TESLA": (trajectory, {"kind": "distil", "soft": True}, {"gradient": "tesla"}),
    "distribution": (distribution, {"kind": "distribution"}, {}),
    "gradient": (gradient, {"kind": "gradient"}, {}),
    "evaluation": (evaluation, {"kind": "evaluation", "soft": True}, {}),
}


def case_of(programme: Programme, changes: dict[str, Any], seed: int) -> Case:
    """A problem that the CPU does in float64 in a moment."""
    if programme.quick:
        return toy(**changes, seed=seed)
    return Case(**changes, width=16, batch=20, ipc=2, steps=4, test=100, seed=seed)


def error(found: Tensors, wanted: Tensors) -> float:
    """The largest relative error; infinite where something is missing or not finite."""
    if found.keys() != wanted.keys():
        return float("inf")
    errors = [0.0]
    for name, part in found.items():
        reference = wanted[name].double().cpu()
        far, long = (part.double().cpu() - reference).norm(), reference.norm()
        errors.append(float(far / long) if long > 0 else float(far))
    return max(errors) if all(one == one for one in errors) else float("inf")


def compare(programme: Programme, name: str) -> dict[str, Any]:
    """The errors of a path: of eager float32 on the CPU, and of every variant on the device."""
    make, changes, distill = PATHS[name]
    errors: dict[str, list[float]] = {"CPU float32": []}
    failed: dict[str, str] = {}
    variants = [one for one in VARIANTS if not one.of_students or _fits(changes, distill, one)]
    for problem in range(2 if programme.quick else PROBLEMS):
        if problem and programme.left() < 0:
            break
        case = case_of(programme, changes, problem)
        wanted = make(case, Way("padray", _REFERENCE.compute, distill))()
        errors["CPU float32"].append(error(make(case, Way("padray", _EAGER.compute, distill))(), wanted))
        for variant in variants:
            if variant.name not in failed:
                try:
                    found = on_device(make, case, programme, variant, distill)
                    errors.setdefault(variant.name, []).append(error(found, wanted))
                except Exception as reason:
                    failed[variant.name] = f"{type(reason).__name__}: {str(reason).splitlines()[0][:200]}"
    medians = {variant: statistics.median(found) for variant, found in errors.items() if found}
    most = MOST * medians["CPU float32"]
    held = {v.name: medians[v.name] <= most for v in variants if v.exact and v.name in medians}
    return {
        "problems": len(errors["CPU float32"]),
        "median_relative_error": medians,
        "within_twice_eager": held,
        "failed": failed,
    }


def _fits(changes: dict[str, Any], distill: dict[str, Any], variant: Variant) -> bool:
    """Whether a variant of trajectory matching's settings has a say in a path."""
    return changes["kind"] == "distil" and not distill.keys() & variant.distill.keys()


def on_device(
    make: Callable[[Case, Way], Ready], case: Case, programme: Programme, variant: Variant, distill: dict[str, Any]
) -> Tensors:
    """What a variant finds on the device."""
    way = variant.way(programme.device)
    return make(case, Way("padray", way.compute, {**distill, **way.distill}))()


def twice(programme: Programme, name: str) -> dict[str, Any]:
    """Whether two runs give the same bytes, by variant, and the operation that has no deterministic form, if any."""
    make, changes, distill = PATHS[name]
    case, same, lacking = case_of(programme, changes, 0), {}, []
    for variant in (one for one in VARIANTS if not one.of_students):
        try:
            first, second = (on_device(make, case, programme, variant, distill) for _ in range(2))
        except RuntimeError as reason:
            if not variant.deterministic:
                raise
            lacking.append(str(reason).split(". ")[0][:200])
            continue
        same[variant.name] = all(torch.equal(first[part], second[part]) for part in first)
    return {"same_bytes": same, "without_a_deterministic_form": lacking}


def whitening(programme: Programme) -> dict[str, Any]:
    """ZCA's transform on the device against the CPU's in float64."""
    from padray.data import whitening as transforms
    from padray.data.settings import DataSettings

    draw = torch.Generator().manual_seed(0)
    side = 4 if programme.quick else 16
    images = torch.randint(0, 256, (20 if programme.quick else 400, 3, side, side), generator=draw, dtype=torch.uint8)
    settings = DataSettings(dataset="cifar10", preprocessing="zca")
    fitted = transforms.fit(settings, images, "image", torch.arange(len(images)))

    def made(device: torch.device, dtype: torch.dtype) -> Tensors:
        return {"z": fitted.transform(dtype, device)(transforms.to_unit(images.to(device), dtype))}

    cpu = torch.device("cpu")
    wanted = made(cpu, torch.float64)
    decide(ComputeSettings(device=programme.device)).use()
    found = {"CPU float32": made(cpu, torch.float32), "float32": made(programme.on, torch.float32)}
    errors = {name: error(one, wanted) for name, one in found.items()}
    held = errors["float32"] <= MOST * errors["CPU float32"]
    return {"median_relative_error": errors, "within_twice_eager": {"float32": held}}


def run(programme: Programme) -> None:
    """All paths; then each of them twice."""
    results = programme.results
    for name in PATHS:
        results.attempt("paths", name, lambda name=name: compare(programme, name))
    results.attempt("paths", "whitening", lambda: whitening(programme))
    for name in PATHS:
        if programme.left() > 0:
            results.attempt("paths", f"{name}, twice", lambda name=name: twice(programme, name))
