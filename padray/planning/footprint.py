"""What a unit takes of a GPU's memory, where several are to share one: the plan's memory, as far as it is the GPU's."""

from padray.config import Config
from padray.planning import costs
from padray.planning.chain import Chain
from padray.planning.outline import know
from padray.stages import evaluate
from padray.stages.base import Context, Inputs
from padray.stages.facts import dataset_facts
from padray.stages.inline import InlineRunner

# Allowed for, not counted: what CUDA and its libraries hold of a GPU for each process, and what convolutions borrow
# beside the tensors.
_LIBRARIES = 800 * 2**20
_BORROWED = 1.5


def of_cell(config: Config, inputs: Inputs) -> int:
    """Bytes of a GPU that the largest cell of an evaluation takes.

    Args:
        inputs: the stored dataset, whose size the cell's follows.
    """
    context = Context("", config, inputs.location, InlineRunner())
    known = know(config.data, dataset_facts(context.folder(inputs.data)))
    chain, evaluation = Chain(context, known, inputs.data), config.evaluation
    count = known.train if evaluation.controls.full else chain.set_samples
    held, batch = count + costs.choosing(chain) + known.test, min(evaluation.training.batch, count)
    working = max(costs.training(chain, network, batch, held) for network in evaluate.architectures(config))
    if evaluation.taught:
        working += costs.training(chain, evaluation.teacher.network, batch, held)
    return _LIBRARIES + chain.sample_bytes(held) + int(_BORROWED * working)
