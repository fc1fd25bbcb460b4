"""The search's study in a database, for other tools to show; the trials in padray's storage stay the truth."""

import contextlib
import os
from collections.abc import Sequence

import optuna
from sqlalchemy.exc import SQLAlchemyError

from padray.errors import InputError
from padray.search.sampling import frozen
from padray.search.trials import TrialRecord
from padray.space import SearchSettings

STUDY_URL = "PADRAY_STUDY_URL"


def publish(settings: SearchSettings, records: Sequence[TrialRecord], name: str) -> None:
    """Show the study to other tools (optuna-dashboard) in the database at PADRAY_STUDY_URL, if that is set.

    The URL may hold a password, so it is no setting: settings are stored. Raises InputError if it cannot be used.
    """
    url = os.environ.get(STUDY_URL)
    if not url:
        return
    try:
        storage = optuna.storages.RDBStorage(url)
        with contextlib.suppress(KeyError):  # the trials in padray's storage are the truth; this is a copy
            optuna.delete_study(study_name=name, storage=storage)
        shown = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        shown.add_trials([frozen(record, settings.space) for record in records if record.ended])
    except (ImportError, ValueError, SQLAlchemyError) as error:
        kind = type(error).__name__
        raise InputError(
            f"{STUDY_URL} cannot be used ({kind}): give a database URL such as sqlite:///study.db"
        ) from None
