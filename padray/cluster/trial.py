"""What Tune runs as a trial: a small process that waits for its result.

Whoever holds an actor's handle loads the actor's class, with all that this names. So nothing here names what is large:
a hundred waiting trials would each hold PyTorch.
"""

from typing import Any

import ray
from ray import tune


@ray.remote(num_cpus=0)
class Trials:
    """The search's owner (owner.py) as the actor that trials ask. Its calls run in threads."""

    def __init__(self, *arguments: Any) -> None:
        from padray.cluster.owner import Owner

        self.owner = Owner(*arguments)

    def carry(self, number: int) -> str:
        """Carry a trial to its end; what kept it from that, or nothing."""
        return self.owner.carry(number)

    def failure(self) -> Any:
        """What kept a trial from coming to an end, if anything did."""
        return self.owner.failed


def wait(parameters: dict[str, Any], trials: Any) -> None:
    """Have a trial made. Raises RuntimeError with the reason if it came to no end."""
    if reason := ray.get(trials.carry.remote(parameters["number"])):
        raise RuntimeError(reason)
    tune.report({"number": parameters["number"]})
