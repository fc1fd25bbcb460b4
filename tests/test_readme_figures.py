"""The figures of README and docs/ are those of the committed results: each line is written again from its file, and
looked for."""

import json
import re
import statistics
from typing import Any

import pytest

from padray.configuration import loading
from tests.docs import pages
from tests.docs.pages import ROOT, on_one_line

RESULTS = ROOT / "tests/benchmarks/results"
README, PAGES = on_one_line(pages.README), on_one_line(*pages.PAGES)
CHANGELOG = re.sub(r"\s+", " ", (ROOT / "CHANGELOG.md").read_text())
REACHED = [path.stem for path in RESULTS.glob("*.json") if path.stem in loading.preset_names()]


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def table_row(*cells: str) -> str:
    return re.sub(r"\s+", " ", "| " + " | ".join(cells) + " |")


def percent(rows: list[dict[str, Any]], source: str) -> str:
    found = [row for row in rows if row["source"] == source]
    return f"{100 * found[0]['mean']:.1f} ± {100 * found[0]['std']:.1f}" if found else ""


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@pytest.mark.parametrize("name", REACHED)
def test_what_a_recipe_reaches_and_takes(name):
    made, settings = result(name), loading.settings_of(name).config
    assert settings.data.dataset in ("digits", "cifar10"), "of other datasets the number of classes is not known here"
    images, rows = str(10 * settings.distill.ipc), made["evaluation"]
    accuracies = [percent(rows, source) for source in ("distilled", "random", "full")]
    assert table_row(f"`{name}`", images, *accuracies, duration(sum(made["seconds"].values()))) in README
    assert not made["reused"], "its seconds are those of the whole chain"


def test_the_adjoints_memory():
    peak = result("adjoint_memory")["peak_MB_median"]
    claimed = result("adjoint_memory")["claim_one_step_plus_N_P_MB"]
    steps = [int(name.removeprefix("N=")) for name in claimed]
    assert table_row("adjoint, MB", *(f"{peak[f'adjoint N={n}']:.0f}" for n in steps)) in PAGES
    assert table_row("one step + N·P, MB", *(f"{claimed[f'N={n}']:.0f}" for n in steps)) in PAGES
    kept = [f"{peak[f'unroll N={n}']:.0f}" for n in (2, 4, 8)]
    assert "takes {} MB at N = 2, {} at 4 and {} at 8".format(*kept) in PAGES


def test_the_time_and_memory_of_a_pair_of_snapshots():
    found = result("snapshots")["variants"]

    def cell(variant: str) -> str:
        return f"{found[variant]['ms_median']:.1f} ms, {found[variant]['times_faster']:.0f} times faster"

    slow = f"{found['pickle']['ms_median']:.0f} ms"
    assert table_row("a start and its target", slow, cell("folder"), cell("s3")) in PAGES
    assert table_row("any two snapshots", "", cell("folder apart"), cell("s3 apart")) in PAGES
    most = [max(found[v]["peak_MB"] for v in group) for group in (["pickle"], ["folder", "folder apart"], ["s3"])]
    assert table_row("memory at the most", *(f"{peak:.0f} MB" for peak in most)) in PAGES


def test_the_share_of_a_steps_time_that_is_waited():
    found = result("data_wait")["presets"]
    shares = [f"{100 * found[name]['share_total']:.1f} % " for name in ("digits-ipc1", "cifar10-narrow-ipc1")]
    assert f"{shares[0]}of its steps' time on `digits-ipc1` and {shares[1]}on `cifar10-narrow-ipc1`" in PAGES


def test_the_error_of_teslas_gradient():
    rows = {(row["lr"], row["steps"]): row for row in result("tesla_error")["rows"]}
    few, many = rows[0.01, 10], rows[0.01, 40]
    assert (
        f"off by {100 * few['relative_error']:.0f} % at N = 10 and {100 * many['relative_error']:.0f} % at N = 40 "
        f"with a student lr of 0.01 (cosine {few['cosine']:.2f} and {many['cosine']:.2f}), and the gradient of the lr "
        f"comes out "
        f"{few['lr_gradient_ratio']:.1f} and {many['lr_gradient_ratio']:.1f} times too large"
    ) in PAGES


_CURVES = (
    ("experts", 100),
    ("experts", 1_000),
    ("evaluate", 1_000),
    ("evaluate", 10_000),
    ("search", 100),
    ("search", 1_000),
)


def test_the_efficiency_of_many_workers():
    found = result("simulation")["curves"]
    for stage, units in _CURVES:
        (curve,) = [c for c in found if (c["stage"], c["units"], c["nodes"]) == (stage, units, "always up")]
        points = {point["workers"]: point for point in curve["points"]}
        cells = [f"{100 * points[n]['efficiency']:.0f} %, {points[n]['limit']}" for n in (8, 64, 256, 1000)]
        assert table_row(f"{units:,} of `{stage}`", *cells) in PAGES


def test_how_near_the_simulation_comes():
    found = result("simulation")
    lines, cores = found["validation"], found["machine"]["cores"]
    assert {line["workers"] for line in lines} == {1, 2, 4} and {len(line["load"]) for line in lines} == {3}
    whole, after = (max(abs(line[f"ratio_{of}"] - 1) for line in lines) for of in ("median", "without_start"))
    loads = [load for line in lines for load in line["load"]]
    assert (
        f"took what it says within {100 * whole:.1f} %, and within {100 * after:.1f} % after the start of a worker, "
        f"which is taken from the same run (medians of three runs; {cores} cores, load {min(loads):.1f} to "
        f"{max(loads):.1f})"
    ) in PAGES


def test_how_near_a_plan_comes():
    found = result("plan_reality")
    for recipe, made in found.items():
        middle, count = made["median"], len(made["runs"])
        assert made["within_goal"] == {"seconds": True, "bytes": True}
        assert (
            f"`{recipe}` its seconds {middle['ratio_cpu']:.2f} times the CPU seconds and its bytes "
            f"{middle['ratio_bytes']:.2f} times those that lay there (n = {count})"
        ) in PAGES


def test_what_a_driver_spends():
    found = result("driver_cost")["figures"]["cells"]
    new, fewer = found["10000"]["new"], found["1000"]["new"]
    assert (
        f"for 10,000 cells that others make it asks the storage {new['requests']} times, computes {new['cpu_s']:.1f} s "
        f"and grows by {new['grows_MB']:.0f} MB, ten times the seconds and no more requests than for 1,000"
    ) in PAGES
    assert new["requests"] <= fewer["requests"] and 0.9 < found["slope"]["new"]["cpu_s"] < 1.1


def test_what_ray_costs():
    median, spread = result("overhead")["median"], result("overhead")["spread"]
    ray, inline = (median[runner]["startup_s"] for runner in ("ray", "inline"))
    most = max(one["per_unit_s"][1] for one in spread.values())
    assert (
        f"takes {ray:.1f} s beyond its units on Ray and {inline:.1f} s in one process, and a further unit at most "
        f"{most:.2f} s with either"
    ) in PAGES


def test_what_early_stopping_gains():
    """Over the searches: what the best trial of each kind reaches on test, and the difference search by search."""
    found = result("early_stopping")["tasks"]
    for task, name in (("digits", "digits"), ("cifar10-narrow", "narrow CIFAR-10")):
        made = found[task]["summary"]
        kinds = ("test_asha", "test_none", "test_difference", "test_defaults")
        asha, none, gain, defaults = ([100 * made[kind][of] for of in ("mean", "std")] for kind in kinds)
        assert made["n"] == len(found[task]["seeds"]) and found[task]["trials"] == 8
        cells = [*(f"{mean:.1f} ± {std:.1f}" for mean, std in (none, asha)), f"{gain[0]:+.1f} ± {gain[1]:.1f}"]
        assert table_row(f"{name}, n = {made['n']}", *cells, f"{defaults[0]:.1f}") in PAGES
        for one in found[task]["seeds"].values():
            assert one["none"]["finished"] == 8
            assert 1 <= one["asha"]["forward_equivalents"] / one["none"]["forward_equivalents"] < 1.1
    begun = [one["asha"]["finished"] + one["asha"]["stopped"] for one in found["digits"]["seeds"].values()]
    assert "`asha` began {}, {} and {} on digits".format(*begun) in CHANGELOG


def test_what_a_command_takes_before_it_works():
    before, after = (result("startup")["runs"][version]["median"] for version in ("before", "after"))
    kinds = ("help", "finished", "first expert")
    was, now = ([f"{version[kind]['cpu_s']:.1f}" for kind in kinds] for version in (before, after))
    assert (
        "`padray --help` takes {} CPU seconds, `padray run` of the tests' tiny chain {} where all of it is done, and "
        "the first expert {} where data and scores are there".format(*now)
    ) in PAGES
    assert "take {}, {} and {} CPU seconds; they took {}, {} and {}".format(*now, *was) in CHANGELOG


def test_what_storing_a_state_takes_from_the_work():
    tiny = result("checkpoints")["sets"]["tiny imagenet, ipc 50"]
    before, after = tiny["before"]["s_in_the_way_median"], tiny["after"]
    assert abs(after["share"]) < 0.02
    said = f"{before:.1f} s in the way of the work, and now {max(after['s_in_the_way_median'], 0):.3f} s"
    assert f"{said} every {after['interval_s']:.0f} s" in CHANGELOG


def test_what_whitening_once_saves():
    before, after = (result("whitening")["datasets"]["cifar10"][version] for version in ("before", "after"))
    was, now = (statistics.median(version["following_s"]) for version in (before, after))
    memory = f"takes {after['sum_MB'] / 1000:.1f} GB in all where it took {before['sum_MB'] / 1000:.1f}"
    seconds = f"{now:.1f} s for each worker after the first where it took {was:.0f}"
    assert f"with four workers on one machine, CIFAR-10 whitened {memory}, and {seconds}" in PAGES


def test_what_the_changelog_says_of_evaluation_s_needs():
    before, after = (result("evaluation_needs")["runs"][version] for version in ("before", "after"))
    assert (
        f"take {after['cpu_s']:.0f} CPU seconds and {after['peak_MB'] / 1000:.1f} GB, where they took "
        f"{before['cpu_s']:.0f} and {before['peak_MB'] / 1000:.1f} (`evaluation_needs.json`)"
    ) in CHANGELOG


def test_what_the_changelog_says_of_the_labels_at_the_start():
    rules = result("start_labels")["tasks"]["narrow CIFAR-10, IPC 10, init real"]
    means = [[made["mean"] for made in rules[rule]["distillations"]] for rule in ("right", "right or all")]
    gains = [f"{100 * (after - before):.1f}" for before, after in zip(*means, strict=True)]
    assert "gains {}, {} and {} points on three seeds (`start_labels.json`)".format(*gains) in CHANGELOG
    one = result("start_labels")["tasks"]["narrow CIFAR-10, IPC 1, init real"]
    before, after = (one[rule] for rule in ("right", "right or all"))
    texts = (f"{100 * each['mean']:.1f} ± {100 * each['std']:.1f}" for each in (after, before))
    gain = 100 * (after["mean"] - before["mean"])
    assert f"at IPC 1 {gain:.1f} (" + " against ".join(texts) + " %, 60 iterations)" in CHANGELOG


def test_what_a_search_s_choice_is_worth():
    tasks = result("tuned")["tasks"]
    counts = {which: {"clearly_worse": 0, "clearly_better": 0} for which in ("chosen", "highest")}
    for task in tasks.values():
        for which, count in counts.items():
            for how in count:
                count[how] += task["summary"][which][how]
    assert len(tasks) == 4 and sum(len(task["searches"]) for task in tasks.values()) == 10
    chosen, highest = (
        f"clearly worse in {c['clearly_worse']} and clearly better in {c['clearly_better']}" for c in counts.values()
    )
    assert f"the choice is {chosen} of them, and the trial with the highest value {highest}." in CHANGELOG


def test_what_the_changelog_calls_found_is_marked_as_seen_once():
    assert "### Found Without a file of results beside them, the figures here were seen once." in CHANGELOG


def test_the_families_beside_each_other():
    cells = {(cell["row"], cell["column"]): cell for cell in result("common_protocol")["cells"]}
    for row in {row for row, _ in cells}:
        pair = [cells[row, ipc] for ipc in ("1", "10")]
        assert table_row(row, *(f"{100 * one['mean']:.1f} ± {100 * one['std']:.1f}" for one in pair)) in PAGES
    assert cells["ATT", "10"]["values"] == cells["MTT", "10"]["values"], "its students are nearest at their last step"


def test_the_families_beside_each_other_on_narrow_cifar10():
    made = result("common_protocol_narrow")
    assert all(cell["n"] >= 3 for cell in made["cells"])
    cells = {(cell["row"], cell["column"]): cell for cell in made["cells"]}
    for row in {row for row, _ in cells}:
        pair = [cells[row, ipc] for ipc in ("1", "10")]
        figures = [f"{100 * one['mean']:.1f} ± {100 * one['std']:.1f}" for one in pair]
        assert table_row(row, *figures, f"{made['ranks'][row]:.1f}") in PAGES
    assert cells["ATT", "10"]["values"] == cells["MTT", "10"]["values"], "its students end at their last step"


def test_what_the_small_studies_of_the_filters_show():
    for name, study in result("small_studies")["studies"].items():
        lines: dict[str, list[str]] = {}
        for cell in study["cells"]:
            assert cell["n"] >= 3, name
            lines.setdefault(cell["row"], []).append(f"{100 * cell['mean']:.1f} ± {100 * cell['std']:.1f}")
        for row, figures in lines.items():
            assert table_row(row, *figures) in PAGES, name


def test_what_init_config_reaches_in_minutes():
    made = result("recipe").values()
    assert {one["dataset"] for one in made} >= {"pictures", "wine", "xrays"}
    for one in made:
        assert len(one["sets"]) >= 3 and one["chosen"], "whole runs of the family that the recipe chooses"
        ceilings = [each["rows"].get("full", each["ceiling"])["mean"] for each in one["sets"]]
        family = {"distribution": "DM", "trajectory": "trajectories"}[one["family"]]
        sources = [percent([one["rows"][name] | {"source": name}], name) for name in ("distilled", "random")]
        ceiling = f"{100 * statistics.mean(ceilings):.1f}"
        assert table_row(one["dataset"], one["budget"], family, *sources, ceiling) in PAGES


def test_the_time_to_the_same_accuracy():
    found = result("time_to_accuracy")["times"]["what both reach"]
    seconds, times, with_compiling = found["cpu_s"], found["times_as_fast"], found["times_as_fast_with_compiling"]
    assert f"in {seconds['padray']:.0f} CPU seconds where the usual loop takes {seconds['baseline']:.0f}, " in PAGES
    assert f"{times:.1f} times as fast; the process that compiles first is {with_compiling:.1f} times as fast" in PAGES


def test_how_fast_it_is_on_another_processor():
    rows = result("bench-amx")["rows"]

    def times(row: str, column: str = "float32") -> str:
        return f"{rows[row]['columns'][column]['times_as_fast']:.1f}"

    distil = [f"distil W32 IPC {ipc} N=20" for ipc in (1, 10)]
    assert f"was {times('expert step W32')} and {times('expert step W128')} times as fast" in PAGES
    assert f"an iteration of a distillation {times(distil[0])} and {times(distil[1])} times" in PAGES
    assert f"bf16 {times(distil[0], 'bf16')} and {times(distil[1], 'bf16')})" in PAGES
    assert f"an evaluation at IPC 1 {times('evaluation W32 IPC 1, 5 seeds')} times" in PAGES


def test_how_fast_it_is_beside_the_usual_way():
    rows = result("bench")["rows"]

    def cell(row: str, column: str) -> str:
        one = rows[row]["columns"].get(column)
        return f"{one['times_as_fast']:.1f} times" if one else ""

    for row, words in {
        "expert step W32": "expert's step, batch 256",
        "expert step W128": "the same, width 128",
        "distil W32 IPC 1 N=20": "iteration of a distillation, IPC 1, N = 20",
        "distil W32 IPC 10 N=20": "the same, IPC 10",
        "distil W32 IPC 1 N=40": "the same, IPC 1, N = 40",
        "distil W32 IPC 10 N=40": "the same, IPC 10, N = 40",
        "DM W32 IPC 10": "iteration of DM, IPC 10",
        "DSA W32 IPC 1": "iteration of DSA, IPC 1",
        "DSA W32 IPC 10": "the same, IPC 10, with 50 epochs of training",
        "evaluation W32 IPC 1, 5 seeds": "evaluation, IPC 1, 5 networks",
        "evaluation W32 IPC 10, 5 seeds": "the same, IPC 10",
        "evaluation digits IPC 1, 5 seeds": "the same on 8x8 digits, IPC 1",
        "evaluation digits IPC 10, 5 seeds": "the same on 8x8 digits, IPC 10",
    }.items():
        columns = ("baseline tuned", "not compiled", "float32", "bf16")
        assert table_row(words, *(cell(row, column) for column in columns)) in PAGES
    row = rows["distil W32 IPC 10 N=20"]["columns"]
    memory = [f"{row[name]['peak_MB']:,.0f}" for name in ("float32", "baseline")]
    assert "takes {} MB in place of {}".format(*memory) in PAGES


def test_what_bfloat16_costs_in_accuracy():
    for task, ways in result("precision")["tasks"].items():
        pair = [ways[precision] for precision in ("float32", "bf16")]
        assert all(way["n"] >= 3 for way in pair)
        sets = [f"{100 * way['mean']:.1f} ± {100 * way['std']:.1f}" for way in pair]
        equal_seeds = ", ".join(f"{100 * each:+.2f}" for each in ways["bf16 - float32"])
        experts = [f"{100 * way['expert']:.1f}" for way in pair]
        assert table_row(task, *sets, equal_seeds, *experts) in PAGES
    both = [
        (a["experts"], b["experts"])
        for ways in result("precision")["tasks"].values()
        for a, b in zip(ways["float32"]["runs"], ways["bf16"]["runs"], strict=True)
    ]
    apart = max(abs(a - b) for curves in both for a, b in zip(*curves, strict=True))
    assert f"within {100 * apart:.1f} points of each other" in PAGES
