"""After how many of its steps a student counts as arrived: after all of them, or adaptively (ATT).

Source: ATT (Automatic Training Trajectories), whose students take N steps and are compared where they are nearest to
the target: i* = argmin_i sum |theta_i - target| over i = 1 .. N, of equals the last. The search is in L1 over all
parameters, whatever the loss, which is in L2, leaves out or weighs. What comes after i* has no part in the gradient.
Differs from its code, where no step is chosen if all distances are 10,000 or more.
"""

from collections.abc import Callable, Sequence

import torch

# The parameters theta_0 .. theta_N, each (P,) -> a number of steps from 1 to N.
Length = Callable[[Sequence[torch.Tensor]], int]


def whole(trajectory: Sequence[torch.Tensor]) -> int:
    """N, all steps."""
    return len(trajectory) - 1


def nearest(target_P: torch.Tensor) -> Length:
    """i*, for this target. A place that is not finite is farther away than any other."""

    def length(trajectory: Sequence[torch.Tensor]) -> int:
        distances = torch.stack([(theta_P.detach() - target_P).abs().sum() for theta_P in trajectory[1:]])
        distances = distances.nan_to_num(nan=torch.inf, posinf=torch.inf)
        return int((distances == distances.min()).nonzero().max()) + 1

    return length
