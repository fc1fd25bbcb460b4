"""What nodes cost: a price table that its user wrote, or one price for one device. No price is known here."""

import math
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from padray.config import Config
from padray.configuration import trees
from padray.configuration.trees import Tree
from padray.errors import InputError
from padray.machine.files import quoted, shown
from padray.settings.sections import NotNegative, Positive, Section

WORKER_START_S = 3.0  # a worker's process and its libraries (tests/benchmarks/results/simulation.json)
_SUFFIXES = (".yaml", ".yml")
_Words = Annotated[str, Field(min_length=1, max_length=200)]
_Name = Annotated[str, Field(min_length=1, max_length=60)]


class NodeType(Section):
    """A kind of node and what an hour of it costs.

    `speed`: how many times as fast as the device that the seconds were measured on. `start_minutes`: from asking for
    a node to its first worker; left out, the nodes are up all the time, as one's own are. `idle_minutes`: after which
    a node without work goes. `hours_to_loss`: mean time until a spot node is taken away.
    """

    cpus: Annotated[int, Field(ge=1, le=10_000)]
    gpus: Annotated[int, Field(ge=0, le=1_000)] = 0
    per_hour: NotNegative
    spot: bool = False
    hours_to_loss: Positive | None = None
    start_minutes: NotNegative | None = None
    idle_minutes: NotNegative = 5.0
    speed: Positive = 1.0

    @model_validator(mode="after")
    def _only_spot_is_lost(self) -> "NodeType":
        if self.hours_to_loss is not None and not self.spot:
            raise ValueError("hours_to_loss is for spot nodes; add spot: true or leave it out")
        return self


class PriceTable(Section):
    """Node types with their prices, and where and when these were looked up.

    `head_per_hour`: of the machine that the driver runs on. `megabytes_per_second`: of the storage, which all share.
    """

    as_of: _Words
    source: _Words
    nodes: Annotated[dict[_Name, NodeType], Field(min_length=1, max_length=100)]
    currency: Annotated[str, Field(max_length=20)] = ""
    head_per_hour: NotNegative = 0.0
    megabytes_per_second: Positive | None = None
    worker_start_seconds: NotNegative = WORKER_START_S


Price = float | PriceTable


def read(price: str | None) -> Price | None:
    """What `--price` says: a number, or a table's file. Raises InputError if it is neither."""
    if price is None:
        return None
    if Path(price).suffix in _SUFFIXES:
        return table(price)
    try:
        number = float(price)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(
            f"--price is what a device costs for an hour, a number above 0, or a price table's .yaml file "
            f"(got {quoted(price)})"
        )
    return number


def table(path: str) -> PriceTable:
    """The price table in a file. Raises InputError: no such file, or not a table of prices."""
    tree: Tree = trees.read(path, "the price table")
    try:
        return PriceTable.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = shown(".".join(str(part) for part in first["loc"])) or "the table"
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{shown(path)}: {where}: {message[0].lower()}{shown(message[1:])}") from None


def of_one_machine(price: Price) -> float:
    """What an hour on this machine costs. Raises InputError for a table of several types of nodes."""
    if isinstance(price, float):
        return price
    if len(price.nodes) > 1:
        raise InputError(
            f"--price: there is one node here, and the table has {len(price.nodes)} types ({', '.join(price.nodes)}): "
            f"give the price of an hour as a number, or a table with one type"
        )
    return next(iter(price.nodes.values())).per_hour


def one_device(config: Config, per_hour: float) -> PriceTable:
    """The table where one price is all that is known, or none: a node is one device with one worker, always up."""
    node = NodeType(cpus=config.compute.threads, gpus=int(config.compute.device == "cuda"), per_hour=per_hour)
    return PriceTable(as_of="now", source="--price", nodes={"one device": node})
