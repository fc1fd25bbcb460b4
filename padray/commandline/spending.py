"""The limits of a search as they are typed: hours, and money by a price or a price table."""

import math

from padray.errors import InputError
from padray.planning import prices
from padray.stages.base import Context
from padray.stages.limits import Limits


def limits(context: Context, money: float | None, price: str | None) -> Limits:
    """The hours of the settings, and the money; machines are priced as the runner uses them. Raises InputError."""
    hours = context.config.search.hours
    if (money is None) != (price is None):
        raise InputError("--money and --price go together: the money that may be spent, and what an hour costs")
    known = prices.read(price)
    if money is None or known is None:
        return Limits(hours)
    if not 0 < money < math.inf:
        raise InputError(f"--money is what may be spent, a number above 0 (got {money:g})")
    if context.runner.name != "ray":
        here = prices.of_one_machine(known)
        return Limits(hours, money, lambda: here)

    def of_cluster() -> float:
        from padray.cluster import bill  # Ray is there by now

        return bill.per_hour(known)

    return Limits(hours, money, of_cluster)
