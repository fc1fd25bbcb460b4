"""The Pareto front of a search with two objectives: its trials, each with a file of its settings."""

from collections.abc import Sequence

from padray.configuration import loading
from padray.report.front import Front, FrontMember, Point, reached
from padray.search import trials
from padray.search.trial_run import SearchWork
from padray.search.trials import TrialRecord
from padray.store.artifacts import StoredObject


def make(work: SearchWork, records: Sequence[TrialRecord]) -> tuple[Front | None, list[StoredObject]]:
    """The front with the files of its settings, which are written; nothing where accuracy is all that counts."""
    kind = work.config.search.cost
    if kind is None:
        return None, []
    members, files, folder = trials.front(records), list[StoredObject](), work.folder()
    lines = []
    for record in members:
        config = work.config_of(record.parameters)
        settings = config.model_copy(update={"search": type(config.search)()})
        head = (
            f"# Trial {record.number}, on the Pareto front: {reached(record.value or 0.0, record.cost or 0.0, kind)}.\n"
        )
        files.append(folder.put(f"front-{record.number:04d}", "yaml", (head + loading.as_yaml(settings)).encode()))
        file = f"{folder.location.uri}/{files[-1].key}"
        lines.append(FrontMember(record.number, record.value or 0.0, record.cost or 0.0, record.parameters, file))
    on_front = {record.number for record in members}
    points = tuple(
        Point(record.number, record.value or 0.0, record.cost, record.number in on_front)
        for record in records
        if record.state == "finished" and record.cost is not None
    )
    default = next((point for point in points if point.trial == 0), None)
    return Front(kind, tuple(lines), default, points), files
