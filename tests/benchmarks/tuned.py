"""What a search's choice is worth on test, beside its defaults and beside the trial with the highest value.

    python -m tests.benchmarks.tuned digits 0 1 2 --storage FOLDER
    python -m tests.benchmarks.tuned wine 0 1 2 --storage FOLDER        # 178 rows; settings by init-config
    python -m tests.benchmarks.tuned xrays 0 1 2 --storage FOLDER --data FOLDER-OF-IMAGES

A search over the space that `init-config` would write, once for each number: another split, other draws. The defaults,
the choice and the highest trial are then trained on by fresh networks and tested. The highest trial is what is chosen
where values are taken at their word. Results are added to results/tuned.json, search by search.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from padray.configuration import loading
from padray.data import survey
from padray.evaluation.summary import Row
from padray.recipe import budget as budgets
from padray.recipe import sizing
from padray.recipe import text as recipe
from padray.report import words
from padray.report.choice import sentence
from padray.search import driver, spaces, trials
from padray.stages import pipeline
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location
from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine

SEARCH = ("search.trials=10", "search.startup_trials=4", "evaluation.seeds=10", "evaluation.controls.lrs=[0.03]")
FEWER = ("search.epochs=60", "evaluation.epochs=100")
TABLE = ("distill.iterations=60", "distill.validation.every=30", *FEWER)
IMAGES = ("data.limit_per_class=300", "distill.iterations=100", "distill.validation.every=100", *FEWER)
OVERRIDES = {
    "digits": ("distill.iterations=60", *FEWER),
    "wine": TABLE,
    "breast_cancer": TABLE,
    "pneumonia": IMAGES,
    "xrays": IMAGES,
}


def settings_of(task: str, folder: Path, files: str | None) -> str:
    """A preset's name, or the settings that init-config writes for the files, for two minutes of one core."""
    if task == "digits":
        return "small-digits"
    place = Path(files) if files else _table(task, folder / f"{task}-files")
    file = folder / f"{task}.yaml"
    if not file.exists():
        surveyed = survey.look(str(place), recipe.known(("data.size=32",) if task in ("pneumonia", "xrays") else ()))
        recipe.write(sizing.fit(surveyed, 1, budgets.budget("2m", cores=1)), str(file))
    return str(file)


def _table(task: str, folder: Path) -> Path:
    """One of scikit-learn's tables, a fifth of its rows to test."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    bunch = getattr(datasets, f"load_{task}")()
    folder.mkdir(parents=True, exist_ok=True)
    parts = train_test_split(range(len(bunch.target)), test_size=0.2, random_state=0, stratify=bunch.target)
    for name, rows in zip(("train", "test"), parts, strict=True):
        columns = {str(key): bunch.data[rows, place] for place, key in enumerate(bunch.feature_names)}
        pq.write_table(pa.table({**columns, "label": bunch.target[rows]}), folder / f"{name}.parquet")
    return folder


def searched(task: str, settings: str, number: int, root: Path) -> dict[str, Any]:
    """One search, and its three sets on test."""
    more = (*SEARCH, *OVERRIDES[task], f"search.seed={number}", f"data.split_seed={number}")
    lines = spaces.around(loading.load(settings, more).config)
    space = "search.space={" + ", ".join(f"{name}: {spec}" for name, spec in lines.items()) + "}"
    context = Context(task, loading.load(settings, (*more, space)).config, open_location(str(root)), InlineRunner())
    outcome = driver.tune(context, "evaluate")
    highest = trials.best(outcome.records)
    assert highest is not None and outcome.default is not None
    other = pipeline.run(_of(context, highest.parameters), "evaluate")
    base = _tested(outcome.default.rows)
    return {
        "choice": {**asdict(outcome.choice), "sentence": sentence(outcome.choice)},
        "highest": highest.number,
        "values": {record.number: record.value for record in outcome.records},
        "test": {
            "defaults": _shown(base),
            "chosen": {**_shown(_tested(outcome.tested.rows)), **_beside(_tested(outcome.tested.rows), base)},
            "highest": {**_shown(_tested(other.rows)), **_beside(_tested(other.rows), base)},
        },
    }


def _of(context: Context, parameters: dict[str, Any]) -> Context:
    config = loading.with_values(context.config, parameters, "the highest trial")
    return replace(context, config=config, artifacts={})


def _tested(rows: Sequence[Row]) -> Row:
    return next(row for row in rows if row.source == "distilled")


def _shown(row: Row) -> dict[str, float]:
    return {"mean": row.mean, "std": row.std, "n": row.n}


def _beside(row: Row, base: Row) -> dict[str, float]:
    difference = words.between(row, base)
    return {"points_more": round(difference.points, 3), "error": round(difference.error, 3)}


def summary(searches: dict[str, Any]) -> dict[str, Any]:
    """How often each was clearly worse and clearly better than the defaults on test, by two standard errors."""
    lines: dict[str, Any] = {"searches": len(searches)}
    for which in ("chosen", "highest"):
        sides = [one["test"][which] for one in searches.values()]
        lines[which] = {
            "mean_points_more": round(sum(side["points_more"] for side in sides) / len(sides), 2),
            "clearly_worse": sum(side["points_more"] < -2 * side["error"] for side in sides),
            "clearly_better": sum(side["points_more"] > 2 * side["error"] for side in sides),
        }
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=OVERRIDES)
    parser.add_argument("numbers", nargs="+", type=int)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--data", help="folder of the files, for pneumonia and xrays")
    parser.add_argument("--file", default="tuned.json")
    asked = parser.parse_args()
    folder, file = Path(asked.storage), RESULTS / asked.file
    folder.mkdir(parents=True, exist_ok=True)
    settings = settings_of(asked.task, folder, asked.data)
    for number in asked.numbers:
        line = searched(asked.task, settings, number, folder / "runs")
        result = json.loads(file.read_text()) if file.exists() else {"tasks": {}}
        task = result["tasks"].setdefault(asked.task, {"searches": {}})
        task["searches"][str(number)] = line
        task |= {"summary": summary(task["searches"]), "overrides": [*SEARCH, *OVERRIDES[asked.task]]}
        result |= {"command": "python -m tests.benchmarks.tuned TASK 0 1 2 --storage FOLDER", "machine": machine()}
        file.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps({"task": asked.task, "number": number, **line}, indent=1), flush=True)


if __name__ == "__main__":
    main()
