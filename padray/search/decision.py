"""Which settings a search ends with: the defaults, unless a finalist is better beyond noise on validation.

Noise is that of the networks and that of the split. A difference of two sets is taken network by network, which begin
alike, and sample by sample; the variances of both means add up (as if both were drawn anew, which never makes it too
small). Degrees of freedom are Welch's and Satterthwaite's, and the interval is Bonferroni's over the finalists.
"""

import math
import statistics
from collections.abc import Sequence

from padray.config import Config
from padray.report.choice import Choice, Finalist, Gain
from padray.report.front import UNITS
from padray.search.finals import FinalRecord, Judged
from padray.search.trials import TrialRecord
from padray.search.trials import best as highest

LEVEL = 0.95
DIGITS = 4  # of points: what is told must not depend on how a machine adds up


def choose(config: Config, records: Sequence[TrialRecord], judged: Judged, samples: int) -> Choice:
    """What the search ends with. There is a finished trial.

    Args:
        judged: what the networks of the finals say; empty where there was nothing to compare.
        samples: of the validation split.
    """
    values = [record.value or 0.0 for record in records if record.state == "finished"]
    mean = statistics.fmean(values)
    error = round(100 * math.sqrt(mean * (1 - mean) / samples), DIGITS)
    spread = round(100 * statistics.stdev(values), DIGITS) if len(values) > 1 else None
    default = next((record for record in records if record.number == 0), None)
    reason = default.reason if default is not None and default.state == "failed" else ""
    compared = _compared(judged)
    chosen = highest(records)
    assert chosen is not None, "a search without a finished trial ends before"
    best = next((one for one in compared if one.trial), None)
    if best is not None:
        number = best.trial if best.gain is None or best.gain.low > 0 else 0
    else:
        number = 0 if default is not None and default.state == "finished" else chosen.number
    networks, cost = config.search.final_seeds, config.search.cost
    return Choice(number, tuple(compared), networks, samples, error, spread, reason, UNITS[cost] if cost else "")


def _compared(judged: Judged) -> list[Finalist]:
    """The finalists, the defaults first, then the best first."""
    lines = []
    for trial, networks in judged.items():
        values = [one.value for one in networks]
        gain = gain_of(networks, judged[0], len(judged) - 1) if trial and 0 in judged else None
        std = statistics.stdev(values) if len(values) > 1 else 0.0
        lines.append(Finalist(trial, round(statistics.fmean(values), 6), round(std, 6), gain))
    return sorted(lines, key=lambda one: (one.trial > 0, -one.mean, one.trial))


def gain_of(finalist: Sequence[FinalRecord], defaults: Sequence[FinalRecord], count: int) -> Gain:
    """How much better a finalist is than the defaults, by the same networks; one of `count` that are compared."""
    import numpy as np
    from scipy import stats  # half a second, which only a search waits for

    ours, theirs = (np.array([one.credits for one in sorted(side, key=_network)]) for side in (finalist, defaults))
    difference_NM = ours - theirs  # networks by validation samples
    parts = [(difference_NM.mean(axis=1 - axis), difference_NM.shape[axis]) for axis in (0, 1)]
    variances = [(float(means.var(ddof=1)) / size if size > 1 else 0.0, size - 1) for means, size in parts]
    points, total = 100 * float(difference_NM.mean()), sum(variance for variance, _ in variances)
    if not total:
        return _gain(points, 0.0, 0.0)
    freedom = total**2 / sum(variance**2 / size for variance, size in variances if size)
    error = 100 * math.sqrt(total)
    return _gain(points, error, error * float(stats.t.ppf(1 - (1 - LEVEL) / (2 * count), freedom)))


def _gain(points: float, error: float, wide: float) -> Gain:
    return Gain(*(round(number, DIGITS) for number in (points, error, points - wide, points + wide)))


def _network(record: FinalRecord) -> int:
    return record.network
