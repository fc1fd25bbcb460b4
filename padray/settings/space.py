"""What a search may choose: a parameter for every dotted setting, plainly typed, some only under a condition."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from padray.settings.sections import Count, Epochs, Positive, Section, Units

Value = float | int | str | bool
_MOST_STEPS = 10_000
_ROUNDING = 1e-8
_MOST = 1e15  # up to which every whole number is a float, and sums and squares of floats are finite


class ParameterSpec(Section):
    """One searched setting: a range (`float`, `int`; `log` for both) or a list of choices.

    `step` puts a range on a grid, so that trials share what is made for its values, as a list of choices does.
    `when` names another searched setting and the values of it for which this one is searched; otherwise it stays
    at its configured value.
    """

    type: Literal["float", "int", "choice"]
    """A range of numbers or of whole numbers, or a list. [ours]"""
    low: float | None = None
    """The smallest value of a range. [ours]"""
    high: float | None = None
    """The largest. [ours]"""
    log: bool = False
    """Values are drawn evenly in their logarithm. [ours]"""
    step: Positive | None = None
    """Puts a range on a grid, so that trials share what is made for its values. [ours]"""
    choices: tuple[Value, ...] | None = None
    """The values of a `choice`. [ours]"""
    when: dict[str, tuple[Value, ...]] = Field(default={})
    """Another searched setting and its values for which this one is searched; otherwise it stays as configured.
    [ours]"""

    @model_validator(mode="after")
    def _complete(self) -> "ParameterSpec":
        if self.type == "choice":
            if not self.choices or self.low is not None or self.high is not None or self.log or self.step is not None:
                raise ValueError("a choice needs choices and no low, high or log, and no step")
            return self
        if self.choices is not None or self.low is None or self.high is None or not self.low <= self.high:
            raise ValueError(f"a {self.type} needs low <= high and no choices")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range must begin above 0")
        if self.type == "int" and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError("an int needs whole numbers as low and high")
        if not -_MOST <= self.low <= self.high <= _MOST:
            raise ValueError(f"low and high lie within -{_MOST:g} and {_MOST:g}")
        if self.step is not None and (self.log or (self.high - self.low) / self.step > _MOST_STEPS):
            raise ValueError(f"a step makes a grid of at most {_MOST_STEPS:,} steps, and none of a logarithmic range")
        if self.step is not None and not self._on_grid(self.high):
            raise ValueError("a step leads from low to high in whole steps")
        if self.step is not None and self.type == "int" and self.step != int(self.step):
            raise ValueError("an int needs a whole number as step")
        return self

    def _on_grid(self, value: float) -> bool:
        """Whether whole steps lead from `low` to it, but for rounding."""
        assert self.step is not None and self.low is not None
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < _ROUNDING

    def holds(self, value: Any) -> bool:
        """Whether this may choose the value."""
        if self.type == "choice":
            return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.choices or ())
        if isinstance(value, bool) or not isinstance(value, int if self.type == "int" else int | float):
            return False
        assert self.low is not None and self.high is not None
        return self.low <= value <= self.high and (self.step is None or self._on_grid(value))

    def applies(self, chosen: dict[str, Any]) -> bool:
        """Whether this parameter is searched, given what was chosen for those before it."""
        return all(name in chosen and chosen[name] in values for name, values in self.when.items())


class SearchSettings(Section):
    """A search: its space by dotted setting, how a trial is judged on the validation split, and how one is chosen.

    How trials are stopped: search/stopping.py. Trial 0, which is the settings as they are, stays the choice unless
    another is better beyond noise: search/decision.py.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"trials", "hours", "concurrency", "finalists", "final_seeds", "seed"})
    space: dict[str, ParameterSpec] = Field(default={})
    start: Annotated[tuple[dict[str, Value], ...], Field(max_length=1000)] = ()
    """What is tried after the configuration itself: sections of dotted settings, names of presets or settings files
    (another search's best.yaml); of each, what lies in the space. [ours]"""
    trials: Units = 20
    """How many settings are tried; more of them extend the search. [ours]"""
    hours: Positive | None = None
    """After so long a command begins no more trials; those that run come to their end. [ours]"""
    concurrency: Literal["auto"] | Units = "auto"
    """Trials at a time on Ray; `auto` is what the cluster has room for once all its nodes are up. [ours]"""
    stopping: Literal["none", "median", "asha"] = "none"
    """Judge trials after parts of their iterations and stop the worse ones. [ours]"""
    rungs: Annotated[int, Field(ge=1, le=10)] = 3
    """After how many parts. [ours]"""
    reduction: Annotated[int, Field(ge=2, le=10)] = 3
    """The last rung is after 1 / reduction of the iterations, the one before after 1 / reduction of those. [ours]"""
    objectives: tuple[Literal["accuracy", "bytes", "effort"], ...] = ("accuracy",)
    """What counts: the accuracy alone, or also what the set learned in bytes, or what it takes to make it, in forward
    passes of a sample. Trials that none beats in both are the Pareto front; `distill.ipc` may then be searched, and
    none is stopped early. [ours]"""
    seeds: Annotated[int, Field(ge=3, le=10_000)] = 3
    """Fresh networks whose mean validation accuracy is a trial's value. [ours]"""
    epochs: Epochs | None = None
    """For how many epochs they are trained; left out, the evaluation's. [ours]"""
    startup_trials: Count = 10
    """Trials that are drawn at random before the sampler learns from them. [ours]"""
    finalists: Annotated[int, Field(ge=1, le=100)] = 3
    """How many of the best trials are judged again, beside trial 0, before one is chosen. [ours]"""
    final_seeds: Annotated[int, Field(ge=3, le=1_000)] = 10
    """By how many other networks each. [ours]"""
    seed: int | None = None
    """In the common seed's place. [ours]"""

    @model_validator(mode="after")
    def _conditions_come_first(self) -> "SearchSettings":
        names = list(self.space)
        for place, (name, spec) in enumerate(self.space.items()):
            late = [other for other in spec.when if other not in names[:place]]
            if late:
                raise ValueError(f"{name} is searched when {late[0]} is chosen, so {late[0]} must come before it")
        return self

    @model_validator(mode="after")
    def _accuracy_first(self) -> "SearchSettings":
        if self.objectives[:1] != ("accuracy",) or len(self.objectives) > 2 or self.objectives[1:] == ("accuracy",):
            raise ValueError(
                f"objectives is [accuracy], [accuracy, bytes] or [accuracy, effort] (got {list(self.objectives)})"
            )
        if self.cost is not None and self.stopping != "none":
            raise ValueError(f"stopping={self.stopping} compares accuracies alone, and there are two objectives")
        return self

    @property
    def cost(self) -> Literal["bytes", "effort"] | None:
        """The second objective, which is minimised."""
        second = self.objectives[1:]
        return None if not second or second[0] == "accuracy" else second[0]

    @model_validator(mode="after")
    def _starts_within_space(self) -> "SearchSettings":
        for given in self.start:
            for name, value in given.items():
                if name not in self.space:
                    raise ValueError(f"start gives {name}, which search.space does not hold")
                if not self.space[name].holds(value):
                    raise ValueError(f"start gives {name}={value!r}, which search.space does not hold")
        return self
