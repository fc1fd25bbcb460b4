"""What Ctrl-C costs at ten random moments of a run: the work that is done again after the same command goes on.

    python -m tests.benchmarks.interruptions --runner inline --folder NEW     # adds to results/interruptions.json
    python -m tests.benchmarks.interruptions --runner ray --folder NEW        # --minutes 5: typed again, it goes on

A chain on digits with units long enough to be interrupted within: scoring networks, experts, a set, cells. Every batch
and every iteration is logged by whatever process makes it (stepping/). The command gets SIGINT, as Ctrl-C sends it, a
random while after its first step, and is typed again; ten times, then to its end. Lost are the logged steps that a
later command logs again (of the process that lost most, and of all together), and the time between the last logged step
and the signal: a step that was not over, a file that was being read, Ray that was being started. In the end the storage
must hold the bytes of a run in one process that nobody disturbed; both runners may be given the same folder.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.serving import machine
from tests.roots import different, stored

RESULT = Path(__file__).parent / "results" / "interruptions.json"
HERE = Path(__file__).parent
TIMES, SEED, STARTING_S = 10, 20, 20.0
SETTINGS = (
    "schedule.initial_ratio=0.8",
    "schedule.addition_end_epoch=20",
    "scores.networks=1",
    "scores.epochs=80",
    "scores.network={name: convnet, width: 32, depth: 2}",
    "experts.count=2",
    "experts.epochs=100",
    "distill.iterations=80",
    "distill.validation.every=40",
    "evaluation.epochs=300",
    "evaluation.seeds=2",
    "evaluation.controls={full: true, full_epochs: 60, lrs: [0.03]}",
)


@dataclass(frozen=True)
class Lost:
    """What one interruption cost, in seconds.

    Attributes:
        after_s: when it came, since the command began; at: what was logged last.
        again_s: of steps that were made again, by the process that lost most; all_again_s: by all of them.
        under_way_s: since the last step that was logged, or since the command began.
        to_end_s: until the command had ended.
    """

    after_s: float
    at: str
    again_s: float
    all_again_s: float
    under_way_s: float
    to_end_s: float

    @property
    def lost_s(self) -> float:
        return self.again_s + self.under_way_s


def begin(runner: str, root: Path, log: Path) -> subprocess.Popen[str]:
    """The command, with its steps logged."""
    log.mkdir(parents=True)
    path = [str(HERE / "stepping"), str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PADRAY_STEPS": str(log), "PYTHONPATH": os.pathsep.join(filter(None, path))}
    line = [sys.executable, "-m", "padray.commandline.cli", "evaluate", "digits-ipc1", "--runner", runner]
    line += ["--storage", str(root), *(word for text in SETTINGS for word in ("--set", text))]
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)


def steps(log: Path) -> dict[int, list[tuple[float, float, str]]]:
    """What each process logged: when, how long it took, what it was."""
    found = {}
    for path in log.iterdir():
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        found[int(path.name)] = [(float(at), float(took), what) for at, took, what in (x for x in lines if len(x) == 3)]
    return found


def once(folder: Path) -> float:
    """Seconds of a run in one process that nobody disturbs."""
    took = folder / "once.json"
    if not took.exists():
        began = time.time()
        process = begin("inline", folder / "once", folder / f"log-once-{began}")
        _, err = process.communicate()
        assert process.returncode == 0, err
        took.write_text(json.dumps(time.time() - began))
    return float(json.loads(took.read_text()))


@dataclass(frozen=True)
class Note:
    """A command: when it began, got its signal (0: none) and ended, whether that moment was drawn, and of which run."""

    began: float
    came: float
    ended: float
    drawn: bool
    run: int = 0


def interrupted(runner: str, folder: Path, undisturbed_s: float, until: float) -> list[Note]:
    """Interrupt until that was done TIMES, in as many runs as that takes, and let the last one come to its end."""
    path = folder / f"notes-{runner}.json"
    notes = [Note(**each) for each in json.loads(path.read_text())] if path.exists() else []
    while (drawn := sum(note.drawn for note in notes)) < TIMES or notes[-1].came:
        run = sum(not note.came for note in notes)
        wait = random.Random(f"{SEED} {len(notes)}").uniform(0.0, 1.5 * undisturbed_s / TIMES)
        left, began = until - time.time(), time.time()
        if left < wait + STARTING_S:
            break
        log = folder / f"log-{runner}-{run}-{sum(note.run == run for note in notes)}"
        process = begin(runner, folder / f"often-{runner}-{run}", log)
        while process.poll() is None and not any(path.stat().st_size for path in log.iterdir()):
            time.sleep(0.1)
        try:
            _, err = process.communicate(timeout=wait if drawn < TIMES else left)
            came, code = 0.0, 0
        except subprocess.TimeoutExpired:
            came, code = time.time(), 130
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        notes.append(Note(began, came, time.time(), bool(came) and drawn < TIMES, run))
        path.write_text(json.dumps([asdict(note) for note in notes]))
    return notes


def lost(logs: Path, number: int, note: Note, launches: int) -> Lost:
    """`logs`: where those of each command are, without its number."""
    began, came = note.began, note.came
    mine, *others = [steps(Path(f"{logs}-{k}")) for k in range(number, launches)]
    later = {what for each in others for own in each.values() for *_, what in own}
    again = {pid: sum(took for _, took, what in own if what in later) for pid, own in mine.items()}
    logged = sorted((at, what) for own in mine.values() for at, _, what in own if at <= came)
    last, at = logged[-1] if logged else (began, "starting")
    most, together = max(again.values(), default=0.0), sum(again.values())
    told = [came - began, most, together, came - last, note.ended - came]
    after, most, together, under_way, to_end = (round(each, 2) for each in told)
    return Lost(after, at, most, together, under_way, to_end)


def measured(runner: str, folder: Path, until: float) -> dict[str, object]:
    undisturbed_s = once(folder)
    notes, found, same = interrupted(runner, folder, undisturbed_s, until), [], []
    for run in range(1 + notes[-1].run):
        own = [note for note in notes if note.run == run]
        logs, over = folder / f"log-{runner}-{run}", not own[-1].came
        known = own if over else own[:-1]  # what the last one lost only shows when the command goes on
        found += [lost(logs, number, note, len(own)) for number, note in enumerate(known) if note.drawn]
        if over:
            same.append(different(stored(str(folder / "once")), stored(str(folder / f"often-{runner}-{run}"))) == [])
    return {
        "undisturbed_s": round(undisturbed_s, 1),
        "interruptions": [asdict(each) | {"lost_s": round(each.lost_s, 2)} for each in found],
        "most_lost_s": round(max((each.lost_s for each in found), default=0.0), 2),
        "runs_to_their_end": len(same),
        "same_bytes": all(same) if same else None,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runner", choices=("inline", "ray"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    asked = parser.parse_args()
    result = measured(asked.runner, asked.folder, time.time() + 60 * asked.minutes)
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    results["command"] = "python -m tests.benchmarks.interruptions --runner inline|ray --folder NEW"
    results["settings"] = ["digits-ipc1", *SETTINGS]
    results[asked.runner] = result
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
