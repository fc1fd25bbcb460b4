"""What a search may choose: a parameter for every dotted setting, plainly typed, some only under a condition."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from padray.sections import Count, Epochs, Section, Units

Value = float | int | str | bool
_MOST = 1e15  # up to which every whole number is a float, and sums and squares of floats are finite


class ParameterSpec(Section):
    """One searched setting: a range (`float`, `int`; `log` for both) or a list of choices.

    `when` names another searched setting and the values of it for which this one is searched; otherwise it stays
    at its configured value.
    """

    type: Literal["float", "int", "choice"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Value, ...] | None = None
    when: dict[str, tuple[Value, ...]] = Field(default={})

    @model_validator(mode="after")
    def _complete(self) -> "ParameterSpec":
        if self.type == "choice":
            if not self.choices or self.low is not None or self.high is not None or self.log:
                raise ValueError("a choice needs choices and no low, high or log")
            return self
        if self.choices is not None or self.low is None or self.high is None or not self.low <= self.high:
            raise ValueError(f"a {self.type} needs low <= high and no choices")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range must begin above 0")
        if self.type == "int" and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError("an int needs whole numbers as low and high")
        if not -_MOST <= self.low <= self.high <= _MOST:
            raise ValueError(f"low and high lie within -{_MOST:g} and {_MOST:g}")
        return self

    def applies(self, chosen: dict[str, Any]) -> bool:
        """Whether this parameter is searched, given what was chosen for those before it."""
        return all(name in chosen and chosen[name] in values for name, values in self.when.items())


class SearchSettings(Section):
    """The search: its space by dotted setting, and how a trial is judged on the validation split.

    A trial's value is the mean validation accuracy of `seeds` fresh networks trained for `epochs` epochs
    (default: those of the evaluation) on what the trial distilled in `distill.iterations` iterations. `concurrency`:
    trials at a time on Ray; auto is what the cluster has room for once all its nodes are up.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"trials", "concurrency", "seed"})
    space: dict[str, ParameterSpec] = Field(default={})
    trials: Units = 20
    concurrency: Literal["auto"] | Units = "auto"
    seeds: Annotated[int, Field(ge=3, le=10_000)] = 3
    epochs: Epochs | None = None
    startup_trials: Count = 10
    seed: int | None = None

    @model_validator(mode="after")
    def _conditions_come_first(self) -> "SearchSettings":
        names = list(self.space)
        for place, (name, spec) in enumerate(self.space.items()):
            late = [other for other in spec.when if other not in names[:place]]
            if late:
                raise ValueError(f"{name} is searched when {late[0]} is chosen, so {late[0]} must come before it")
        return self
