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

    def value(self, trial_id: str, parameters: dict[str, Any]) -> tuple[float | None, int, str]:
        """A trial's value, number and reason of failure, once it has come to an end."""
        return self.owner.value(trial_id, parameters)

    def failure(self) -> Any:
        """What kept a trial from coming to an end, if anything did."""
        return self.owner.failed


def wait(parameters: dict[str, Any], trials: Any) -> None:
    """Have a trial made; report its value. Raises RuntimeError with the reason if it has none."""
    value, number, reason = ray.get(trials.value.remote(tune.get_context().get_trial_id(), parameters))
    if value is None:
        raise RuntimeError(reason)
    tune.report({"value": value, "number": number})
