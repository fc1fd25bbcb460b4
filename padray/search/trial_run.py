"""What a trial is: its settings, distillation, judgement and record; and which one is next, wherever it is made."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from padray.config import Config
from padray.configuration import loading
from padray.errors import DivergedError, InputError
from padray.fingerprint import Identity
from padray.search import judgement, sampling, stopping, trials
from padray.search.asking import Asker
from padray.search.trials import Parameters, TrialRecord
from padray.stages import data, pipeline
from padray.stages.base import Context, Inputs, Runner
from padray.stages.facts import dataset_facts
from padray.stages.inline import InlineRunner
from padray.stages.limits import Limits
from padray.store.artifacts import Folder


@dataclass(frozen=True)
class SearchWork:
    """Everything that a trial needs besides its parameters. It travels; it holds settings and names."""

    name: str
    config: Config
    inputs: Inputs
    identity: Identity

    def folder(self) -> Folder:
        return Folder(self.inputs.location, self.identity.folder, self.identity.fingerprint)

    def all(self, known: dict[str, TrialRecord] | None = None) -> dict[int, TrialRecord]:
        """The trials that were ever begun, by number; see `trials.read` for what is known of them."""
        return trials.read(self.folder(), lambda record: sampling.check(record, self.config.search), known)

    def records(self, known: dict[str, TrialRecord] | None = None) -> dict[int, TrialRecord]:
        """Those of them that came to an end."""
        return {number: record for number, record in self.all(known).items() if record.ended}

    def config_of(self, parameters: Parameters) -> Config:
        """A trial's settings. Raises InputError if its parameters do not fit together."""
        config = loading.with_values(self.config, parameters, "this trial")
        pipeline.check(config)
        return config

    def fitting(self, parameters: Parameters) -> Config:
        """The same, held against the stored dataset too, so that all is known that parameters alone can spoil."""
        config, place = self.config_of(parameters), self.inputs.data
        data.check(dataset_facts(Folder(self.inputs.location, place.folder, place.fingerprint)), config)
        return config

    def context(self, config: Config, runner: Runner) -> Context:
        """A silent context for a trial's chain."""
        return Context(self.name, config, self.inputs.location, runner, stored_data=self.inputs.data)

    def reaching(self, trial: TrialRecord) -> Config:
        """The settings of a trial up to where it is judged next. Raises InputError as `fitting` does."""
        config = self.fitting(trial.parameters)
        iterations = stopping.next_stop(self.config, trial)
        return config.model_copy(update={"distill": config.distill.model_copy(update={"iterations": iterations})})

    def advance(self, trial: TrialRecord, prepare: Callable[[Config], None]) -> TrialRecord:
        """Distil up to a trial's next rung, or its end, in this process and judge the set there; nothing is stored.

        Failed is what would fail again: parameters that do not fit together, and what diverged.

        Args:
            prepare: sees to the experts of a trial's settings.

        Raises:
            InputError, WorkError: everything else.
        """
        try:
            config = self.reaching(trial)
        except InputError as error:
            return failed(trial, error)
        try:
            prepare(config)
            distilled = pipeline.run(self.context(config, InlineRunner()), "distill").identities["distill"]
            return judgement.judge(config, self.inputs, distilled, trial, self.config.distill.iterations)
        except DivergedError as error:
            return failed(trial, error)

    def settle(self, trial: TrialRecord, known: dict[str, TrialRecord] | None = None) -> TrialRecord:
        """Decide whether a trial goes on that was judged on its way, and store what became of it."""
        if not trial.ended and not stopping.goes_on(self.config, trial, self.all(known).values()):
            trial = replace(trial, state="stopped")
        trials.write(self.folder(), trial)
        return trial

    def limits(self, context: Context) -> Limits:
        """When no more trials are begun: the command's limits, or else the hours of the settings, from now on."""
        return context.limits or Limits(self.config.search.hours)

    def run_inline(self, context: Context) -> Iterator[TrialRecord]:
        """The missing trials one after the other."""

        def experts(config: Config) -> None:
            pipeline.run(self.context(config, context.runner), "experts")

        queue = Queue(self, self.limits(context))
        while trial := queue.next():
            yield trial
            while not trial.ended:
                trial = self.settle(self.advance(trial, experts))
                yield trial
            queue.done(trial.number)


def failed(trial: TrialRecord, error: InputError | DivergedError) -> TrialRecord:
    """The trial that came to this end."""
    return replace(trial, state="failed", value=None, values=(), reason=str(error), set_sha256="")


class Queue:
    """Hands out trials, each to one who carries it to its end.

    Attributes:
        limits: after which none is begun, but for trial 0, without which there would be no result.
        running: the numbers of those that were handed out.
        given_up: the numbers of those that were handed back without an end; this queue hands them out no more.
    """

    def __init__(self, work: SearchWork, limits: Limits) -> None:
        self.work, self.limits, self.asker = work, limits, Asker(work.config)
        self.known: dict[str, TrialRecord] = {}
        self.running: set[int] = set()
        self.given_up: set[int] = set()

    def next(self) -> TrialRecord | None:
        """The trial to carry on now, running; None where there is none, as long as nothing changes."""
        records = self.work.all(self.known)
        number = self._number(records)
        if number is None:
            return None
        self.running.add(number)
        return replace(records[number], state="running") if number in records else self._begin(number, records)

    def upcoming(self) -> int | None:
        """The number of the trial that `next` would hand out."""
        return self._number(self.work.all(self.known))

    def done(self, number: int, ended: bool = True) -> None:
        """Take a trial back."""
        self.running.discard(number)
        if not ended:
            self.given_up.add(number)

    def _number(self, records: dict[int, TrialRecord]) -> int | None:
        """Trials that were lost come first, as they were; then those that were stopped and may go on; then new ones."""
        config, held = self.work.config, self.running | self.given_up
        wanted = [n for n in trials.missing(records, config.search.trials) if n not in held]
        if lost := [number for number in wanted if number in records]:
            return lost[0]
        over = bool(self.limits.over())
        if over and any(record.state == "finished" for record in records.values()):
            return None
        running = [replace(one, state="running") if one.number in held else one for one in records.values()]
        resumed = stopping.resumable(config, [one for one in running if one.number < config.search.trials])
        if resumed is not None:
            return resumed
        return None if over and records else next(iter(wanted), None)

    def _begin(self, number: int, records: dict[int, TrialRecord]) -> TrialRecord:
        """A new trial, noted in the storage."""
        parameters = self.asker.parameters_of(number, list(records.values()))
        trials.begin(self.work.folder(), number, parameters)
        return TrialRecord(number, parameters, "running")
