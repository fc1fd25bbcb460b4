"""What each next trial tries, asked of one study that grows with the records, so that a thousand are not added anew.

It answers as a study that is made from the records for each question would (`sampling.parameters_of`), and is made anew
where the records have become what a study cannot: a stopped trial that goes on, or others than were known.
"""

from collections.abc import Sequence

import optuna
from optuna.storages import InMemoryStorage

from padray.config import Config
from padray.search import sampling
from padray.search.trials import Parameters, TrialRecord


class Asker:
    """Asks for parameters; `known` are the records that its study holds, by number and in its order."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.known: dict[int, TrialRecord] = {}
        self._new_study()

    def parameters_of(self, number: int, records: Sequence[TrialRecord]) -> Parameters:
        """What trial `number` tries, where `records` are all those before it."""
        ordered = sorted(records, key=lambda record: record.number)
        if not self._may_become(ordered, number):
            self._new_study()
        for record in ordered:
            self._tell(record)
        seed = self.config.seed_of("search")
        self.study.sampler = sampling.sampler(self.config.search, seed, len(records))
        chosen = sampling.ask(self.study, self.config, number)
        self.known[number] = TrialRecord(number, chosen, "running")  # as the study has it now
        return chosen

    def _new_study(self) -> None:
        self.known.clear()
        self.storage = InMemoryStorage()
        ways = sampling.directions(self.config.search)
        self.study = optuna.create_study(storage=self.storage, study_name="search", directions=ways)

    def _may_become(self, ordered: Sequence[TrialRecord], number: int) -> bool:
        """Whether what is known are earlier states of the first of these records, and the trial comes after them."""
        if len(self.known) > len(ordered) or (ordered and ordered[-1].number > number):
            return False
        pairs = zip(self.known.values(), ordered, strict=False)
        return all(
            (old.number, old.parameters) == (new.number, new.parameters) and (old == new or not old.ended)
            for old, new in pairs
        )

    def _tell(self, record: TrialRecord) -> None:
        """Bring the study up to a record."""
        old = self.known.get(record.number)
        if old == record:
            return
        if old is None:
            self.study.add_trial(sampling.frozen(record, self.config.search.space))
        else:
            study = self.storage.get_study_id_from_name("search")
            place = list(self.known).index(record.number)
            trial = self.storage.get_trial_id_from_study_id_trial_number(study, place)
            for rung in record.rungs[len(old.rungs) :]:
                self.storage.set_trial_intermediate_value(trial, rung.iterations, rung.value)
            if record.ended:
                state = sampling.STATES[record.state]
                self.storage.set_trial_state_values(trial, state, sampling.values_of(record))
        self.known[record.number] = record
