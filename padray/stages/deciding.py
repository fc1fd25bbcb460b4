"""What is decided about a distillation's machine before it begins: pure functions of settings and shapes."""

from dataclasses import replace

from padray.config import Config
from padray.machine.numerics import Numerics, decide
from padray.networks import factory
from padray.networks.derivatives import PAYS_ONCE, execution_of, is_compiled
from padray.networks.layers import Shape


def numerics_of(config: Config, shape: Shape, classes: int) -> Numerics:
    """The numerics of a distillation; whether it is compiled is decided here, for as long as it lasts."""
    numerics = decide(config.compute)
    if numerics.device != "cpu" or config.distill.from_units:
        return replace(numerics, compile="off")
    network, passes = factory.build(config.network, shape, classes, 0), config.distill.compilable_passes(classes)
    pays = passes > 0 and is_compiled(network, execution_of(numerics), passes, PAYS_ONCE)
    return replace(numerics, compile="on" if pays else "off")


def graph_bytes(config: Config, numerics: Numerics) -> float:
    """What a student and its way back may take where graphs are kept for it; 0 where none are."""
    shortened = numerics.precision == "bf16"  # of the way back alone: not the gradient that was made on the way forth
    return 0.0 if shortened or numerics.compile == "on" else config.compute.budget_bytes
