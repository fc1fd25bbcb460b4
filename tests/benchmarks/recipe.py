"""What `padray init-config` is worth: its settings for several datasets and budgets, run, beside control and ceiling.

python -m tests.benchmarks.recipe --work FOLDER --data FOLDER --budget 5m                   # results/recipe.json
python -m tests.benchmarks.recipe --work FOLDER --data FOLDER --budget 5m --family trajectory digits wine

Without names: all that it writes by itself. Without `--family`: the one that the recipe chooses; each result says
whether its family is that one (`chosen`). One thread and one core, so that the plan's pace is CPU time and other work
on the machine does not matter; the budget is then core time too. Killed and called again, it goes on: finished cases
are in results/recipe.json, an unfinished one goes on from its storage. `--data` holds folders of datasets as
`init-config` reads them; digits, wine and breast_cancer are written by itself.
"""

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn import datasets

from padray.data import survey
from padray.data.settings import DataSettings
from padray.recipe import budget as budgets
from padray.recipe import sizing, text
from tests.benchmarks.record import RESULTS
from tests.benchmarks.serving import machine

RESULT = RESULTS / "recipe.json"
OURS = ("digits", "wine", "breast_cancer")
KNOWN = {"covid_cxr_112": DataSettings(size=64)}


def files(name: str, work: Path) -> Path:
    """One of scikit-learn's datasets as files; every fifth sample is for the test."""
    folder = work / "data" / name
    if folder.exists():
        return folder
    bunch = getattr(datasets, f"load_{name}")()
    label = [str(bunch.target_names[kind]) for kind in bunch.target]
    if name == "digits":
        columns: dict[str, Any] = {"image": [{"bytes": png(image), "path": None} for image in bunch.images]}
    else:
        columns = {str(feature): bunch.data[:, k] for k, feature in enumerate(bunch.feature_names)}
    rows = pa.table(columns | {"label": label})
    is_test = np.arange(len(label)) % 5 == 0
    folder.mkdir(parents=True)
    for part, chosen in (("train", ~is_test), ("test", is_test)):
        pq.write_table(rows.filter(pa.array(chosen)), folder / f"{part}.parquet")
    return folder


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((image * 255 / 16).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def settings(name: str, path: Path, asked: argparse.Namespace, file: Path) -> dict[str, Any]:
    """Write what init-config would write for one core; what it says of it."""
    about = file.with_suffix(".json")
    if not about.exists():
        found, budget = survey.look(str(path), KNOWN.get(name, DataSettings())), budgets.budget(asked.budget, cores=1)
        fitted = sizing.fit(found, asked.ipc, budget, family=asked.family)
        file.unlink(missing_ok=True)
        text.write(fitted, str(file))
        sizes, took = asdict(fitted.plan.sizes), fitted.seconds
        said = {"sizes": sizes, "seen": fitted.plan.seen, "planned_s": round(took.wall(1), 1)}
        about.write_text(json.dumps(said | {"content": found.content}))
    return dict(json.loads(about.read_text()))


def run(file: Path, root: Path, options: Sequence[str]) -> dict[str, Any]:
    """What `padray run` prints, on one thread. It is kept: a run that is over is not looked at again."""
    said = root / "said.json"
    if not said.exists():
        command = [sys.executable, "-m", "padray.commandline.cli", "run", str(file), "--runner", "inline", "--json"]
        command += ["--storage", str(root), *options]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        said.write_text(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env).stdout)
    return dict(json.loads(said.read_text()))


def unit_seconds(root: Path) -> float:
    """Of all units that were made, however often the run was stopped."""
    lines = [line for path in sorted((root / "events").iterdir()) for line in path.read_text().splitlines()]
    return sum(event.get("seconds", 0.0) for event in map(json.loads, lines) if event["event"] == "finished")


def rows_of(done: dict[str, Any]) -> dict[str, Any]:
    """Of each source, its networks on test; accuracy of classes where they are unequal."""
    shown = {}
    for row in done["evaluation"]:
        metric = "balanced_" if row["metric"] == "balanced_accuracy" else ""
        shown[row["source"]] = {
            "mean": round(row[f"{metric}mean"], 4),
            "std": round(row[f"{metric}std"], 4),
            "n": row["n"],
            "lr": row["lr"],
            "values": [round(value, 4) for value in row[f"{metric}values"]],
        }
    return shown


def over_sets(sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over the sets of what each set's networks reach on average."""
    gathered = {source: np.array([one["rows"][source]["mean"] for one in sets]) for source in sets[0]["rows"]}
    return {
        source: {
            "mean": round(float(means.mean()), 4),
            "std": round(float(means.std(ddof=1)), 4) if len(means) > 1 else 0.0,
            "n": len(means),
        }
        for source, means in gathered.items()
    }


def case(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One dataset at one budget: whole runs from the data on, each from its own seed."""
    path = files(name, asked.work) if name in OURS else asked.data / name
    label = f"{name}-ipc{asked.ipc}-{asked.budget}-{asked.family or 'recipe'}"
    file = asked.work / f"{label.replace('_', '-')}.yaml"
    said = settings(name, path, asked, file)
    sets = []
    for seed in range(asked.sets):
        root = asked.work / f"{label}-seed{seed}"
        root.mkdir(exist_ok=True)
        done = run(file, root, ["--set", f"seed={seed}"])
        sets.append(
            {
                "seed": seed,
                "rows": rows_of(done),
                "ceiling": done["ceiling"],
                "notes": done["notes"],
                "units_s": round(unit_seconds(root), 1),
            }
        )
    return {
        "dataset": name,
        "ipc": asked.ipc,
        "budget": asked.budget,
        "family": said["sizes"]["family"],
        "metric": done["evaluation"][0]["metric"],
        "rows": over_sets(sets),
        "sets": sets,
        **said,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--family", default=None)
    parser.add_argument("--result", type=Path, default=RESULT)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    for name in asked.names or OURS:
        have = json.loads(asked.result.read_text()) if asked.result.exists() else {}
        key = f"{name}, {asked.ipc} per class, {asked.budget}, {asked.family or 'recipe'}"
        if key in have:
            continue
        have[key] = case(name, asked)
        for made in have.values():  # whichever family the recipe would choose by now
            made["chosen"] = made["family"] == sizing.family_of(made["content"], budgets.budget(made["budget"]))
        asked.result.write_text(json.dumps(have, indent=1, sort_keys=True) + "\n")
        rows = have[key]["rows"]
        print(key, {source: (row["mean"], row["std"]) for source, row in rows.items()}, flush=True)


if __name__ == "__main__":
    main()
