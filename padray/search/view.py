"""The search's study in a database, for other tools to show while it runs; the records in storage stay the truth.

One study is kept and goes on with the search. Only where what it shows cannot become what the records say is it made
again from them: another search's trials, or one that was stopped for good and is taken up after all.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import optuna
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from padray.errors import InputError
from padray.search.sampling import STATES, directions, frozen, values_of
from padray.search.trials import TrialRecord
from padray.settings.space import SearchSettings

STUDY_URL = "PADRAY_STUDY_URL"
_NUMBER, _REASON = "trial", "reason"


class View:
    """What other tools (optuna-dashboard) see of a search, in the database at PADRAY_STUDY_URL, if that is set.

    The URL may hold a password, so it is no setting: settings are stored. All raise InputError if it cannot be used.
    """

    def __init__(self, settings: SearchSettings, name: str) -> None:
        self.settings, self.name = settings, name
        self.written: dict[int, TrialRecord] = {}
        self.storage: BaseStorage | None = None
        if url := os.environ.get(STUDY_URL):
            with _usable():
                self.storage = JournalStorage(JournalFileBackend(url)) if url.endswith(".log") else get_storage(url)

    def show(self, records: Iterable[TrialRecord], over: bool = False) -> None:
        """Show the trials as they are now.

        Args:
            over: whether the search is, so that no stopped trial is taken up again. Until then Optuna, whose trials
                never come back, is not told that one has ended.
        """
        if self.storage is None:
            return
        with _usable():
            self._show(self.storage, {record.number: record for record in records}, over)

    def _show(self, storage: BaseStorage, records: dict[int, TrialRecord], over: bool) -> None:
        ways = directions(self.settings)
        optuna.create_study(study_name=self.name, storage=storage, directions=ways, load_if_exists=True)
        study = storage.get_study_id_from_name(self.name)
        shown = {trial.user_attrs.get(_NUMBER): trial for trial in storage.get_all_trials(study, deepcopy=False)}
        if not all(number in records and _may_become(trial, records[number]) for number, trial in shown.items()):
            optuna.delete_study(study_name=self.name, storage=storage)
            optuna.create_study(study_name=self.name, storage=storage, directions=ways)
            study, shown = storage.get_study_id_from_name(self.name), {}
            self.written.clear()
        for number, record in sorted(records.items()):
            if over or self.written.get(number) != record:
                self._tell(storage, study, shown.get(number), record, over)
                self.written[number] = record

    def _tell(
        self, storage: BaseStorage, study: int, shown: FrozenTrial | None, record: TrialRecord, over: bool
    ) -> None:
        if shown is not None and shown.state.is_finished():
            return
        if shown is None:
            begun = replace(record, state="running", rungs=())
            begun_trial = frozen(begun, self.settings.space, user_attrs={_NUMBER: record.number})
            place, known = storage.create_new_trial(study, template_trial=begun_trial), set[int]()
        else:
            place = storage.get_trial_id_from_study_id_trial_number(study, shown.number)
            known = set(shown.intermediate_values)
        for rung in record.rungs:
            if rung.iterations not in known:
                storage.set_trial_intermediate_value(place, rung.iterations, rung.value)
        if record.reason:
            storage.set_trial_user_attr(place, _REASON, record.reason)
        if record.ended and (over or record.state != "stopped" or self.settings.stopping != "asha"):
            storage.set_trial_state_values(place, STATES[record.state], values_of(record))


def _may_become(shown: FrozenTrial, record: TrialRecord) -> bool:
    """Whether a trial that is shown is this one, or an earlier state of it."""
    rungs = {rung.iterations: rung.value for rung in record.rungs}
    if shown.params != record.parameters or shown.intermediate_values.items() - rungs.items():
        return False
    return not shown.state.is_finished() or (shown.state == STATES[record.state] and shown.values == values_of(record))


@contextmanager
def _usable() -> Iterator[None]:
    """Say without its address that a database cannot be used."""
    try:
        yield
    except Exception as error:
        from sqlalchemy.exc import SQLAlchemyError  # only here: few show a study, and each command would load it

        if not isinstance(error, ImportError | ValueError | OSError | SQLAlchemyError):
            raise
        raise InputError(
            f"{STUDY_URL} cannot be used ({type(error).__name__}): give a database URL such as sqlite:///study.db, or "
            f"a journal's file that ends in .log"
        ) from None
