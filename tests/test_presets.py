"""The recipes are those of the papers: PAD's and DATM's cell by cell, the others against what they differ in.

`papers/pad_table10.csv` is PAD's table as printed; "-" stands for no interval, ratios of alpha are in percent.
`papers/datm_files.csv` holds what DATM's twelve published configuration files say, by their names; "-" stands for what
a file does not use.
"""

import csv
import re
from importlib import resources
from pathlib import Path

import pytest

from padray.config import Config, ScheduleSettings, ScoreSettings
from padray.configuration import loading
from padray.methods.trajectory.settings import ImportanceSettings, SelectionSettings
from padray.settings.sections import FULL_AUGMENTATION

PAPERS = Path(__file__).parent / "papers"
NAMES = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "TinyImageNet": "tiny"}
CLASSES = {"cifar10": 10, "cifar100": 100, "tiny": 200, "digits": 10}
DEPTHS = {"cifar10": 3, "cifar100": 3, "tiny": 4}


def family(prefix: str) -> list[str]:
    return [name for name in loading.preset_names() if name.startswith(f"{prefix}-")]


def config(name: str) -> Config:
    return loading.load(name).config


def text(name: str) -> str:
    return (resources.files("padray") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def head(name: str) -> str:
    """The comment that a file begins with."""
    return re.match(r"(#.*\n)*", text(name))[0]


def rows(file: str) -> dict[str, dict[str, str]]:
    with (PAPERS / file).open(newline="") as stream:
        return {f"{NAMES[row['dataset']]}-ipc{row['ipc']}": row for row in csv.DictReader(stream)}


def table10() -> dict[str, dict[str, str]]:
    return rows("pad_table10.csv")


def files_of_datm() -> dict[str, dict[str, str]]:
    return rows("datm_files.csv")


# -- PAD


def test_there_is_a_preset_for_every_row_of_table_10():
    assert len(table10()) == 12
    assert set(family("pad")) == {f"pad-{row}" for row in table10()}


@pytest.mark.parametrize("name", table10())
def test_pad_is_table_10_cell_by_cell(name):
    found, row = config(f"pad-{name}"), table10()[name]
    distill, windows = found.distill, found.distill.windows
    assert found.data.dataset == NAMES[row["dataset"]]
    assert {
        "ipc": distill.ipc,
        "IR": found.schedule.initial_ratio,
        "AEE": found.schedule.addition_end_epoch,
        "alpha_percent": 100 * distill.selection.alpha,
        "N": distill.student_steps,
        "M": distill.expert_epochs,
        "T_minus": windows.min_start,
        "T": windows.start,
        "T_plus": windows.max_start,
        "batch": distill.batch,
        "lr_label": distill.labels.lr,
        "lr_pixels": distill.lr_images,
    } == {key: float(row[key]) for key in row.keys() - {"dataset", "interval"}}
    assert windows.interval == (None if row["interval"] == "-" else int(row["interval"]))
    assert distill.selection.strategy == "depth"


@pytest.mark.parametrize("name", [*family("pad"), *family("unfiltered"), *family("datm")])
def test_what_the_texts_and_scripts_of_pad_and_datm_say_of_all_rows(name):
    found = config(name)
    assert (found.data.preprocessing, found.data.validation) == ("zca", 0)
    network = found.network
    assert (network.name, network.width, network.depth, network.norm, network.pooling) == (
        "convnet",
        128,
        DEPTHS[found.data.dataset],
        "instance",
        "avg",
    )
    experts = found.experts
    assert (experts.count, experts.epochs, experts.batch, experts.lr) == (100, 100, 256, 0.01)
    assert (experts.momentum, experts.weight_decay) == (0, 0)
    assert (experts.rho, experts.gsam_alpha, experts.adaptive) == (0.01, 0.3, True)
    distill = found.distill
    assert (distill.iterations, distill.labels.kind, distill.labels.momentum) == (10_000, "soft", 0.9)
    assert (distill.student_lr, distill.momentum_images, distill.momentum_student_lr) == (0.01, 0.5, 0.5)
    first = name.endswith("-cifar10-ipc1")
    lr = 1e-7 if first else 1e-4 if found.data.dataset == "tiny" else 1e-5
    assert (distill.lr_student_lr, distill.max_loss) == (lr, 1.1 if first else 1.0)
    real = name.endswith("-cifar100-ipc50")
    assert (distill.init, distill.labels.start) == (("real", "one_expert") if real else ("correct", "all_experts"))
    assert (found.evaluation.training.epochs, found.evaluation.training.batch, found.evaluation.seeds) == (1001, 128, 5)
    assert found.evaluation.protocol == "tm1001"


@pytest.mark.parametrize("name", family("pad"))
def test_pads_schedule_removes_a_tenth_once(name):
    schedule = config(name).schedule
    assert schedule.easy_removal == ((41, 0.1),) and schedule.removal_end_epoch is None
    assert schedule.prune_hardest == schedule.prune_easiest == 0
    assert config(name).scores.method == "el2n"
    assert config(name).scores.network == config(name).network, "difficulty is judged by the network that learns"


@pytest.mark.parametrize("prefix", ["pad", "unfiltered", "datm"])
@pytest.mark.parametrize("data", DEPTHS)
def test_all_sizes_of_a_dataset_share_their_experts(prefix, data):
    found = [config(name) for name in family(prefix) if f"-{data}-" in name]
    sections = ("data", "network", "scores", "schedule", "experts")
    assert len(found) >= 3
    assert all(getattr(one, section) == getattr(found[0], section) for one in found for section in sections)


@pytest.mark.parametrize("name", table10())
def test_unfiltered_is_pad_without_its_filters(name):
    pad, without = config(f"pad-{name}"), {"schedule": ScheduleSettings(), "scores": ScoreSettings()}
    distill = pad.distill.model_copy(update={"selection": SelectionSettings()})
    assert config(f"unfiltered-{name}") == pad.model_copy(update=without | {"distill": distill})
    assert not config(f"unfiltered-{name}").schedule.needs_scores


# -- DATM


def test_there_is_a_preset_for_every_file_of_datm():
    assert len(files_of_datm()) == 12
    assert set(family("datm")) == {f"datm-{row}" for row in files_of_datm()}


@pytest.mark.parametrize("name", files_of_datm())
def test_datm_is_its_published_file_cell_by_cell(name):
    found, row = config(f"datm-{name}").distill, files_of_datm()[name]
    windows, grows = found.windows, row["Sequential_Generation"] == "True"
    assert (found.student_steps, found.expert_epochs) == (int(row["syn_steps"]), int(row["expert_epochs"]))
    assert (windows.min_start, windows.max_start) == (int(row["min_start_epoch"]), int(row["max_start_epoch"]))
    start = row["current_max_start_epoch"] if grows else row["max_start_epoch"]
    assert windows.start == int(start)
    growth = windows.interval * (windows.max_start - windows.start) if windows.interval else None
    assert growth == (int(row["expansion_end_epoch"]) if grows else None)
    whole = CLASSES[NAMES[row["dataset"]]] * int(row["ipc"])
    assert found.batch == min(int(row["batch_syn"]), whole), "a batch above the set's size has no effect"
    assert (found.labels.lr, found.lr_images, found.lr_student_lr, found.max_loss) == tuple(
        float(row[key]) for key in ("lr_y", "lr_img", "lr_lr", "threshold")
    )
    assert found.init == {"real": "real", "samples_predicted_correctly": "correct"}[row["pix_init"]]
    assert found.selection == SelectionSettings() and not config(f"datm-{name}").schedule.needs_scores


def test_datm_as_published_and_pad_without_its_filters_are_the_same_for_four_sets():
    same = [name for name in table10() if config(f"datm-{name}") == config(f"unfiltered-{name}")]
    assert same == ["cifar10-ipc1", "cifar10-ipc10", "cifar10-ipc50", "cifar100-ipc1"]


@pytest.mark.parametrize("name", family("datm"))
def test_what_is_not_in_datms_files_is_marked(name):
    marks = {line.split("#")[0].split(":")[0].strip(): line.partition("#")[2] for line in text(name).splitlines()}
    assert "command" in marks["experts"] and "author" in marks["experts"] and "ours" in marks["validation"]


# -- MTT and IADD


def test_mtt_and_iadd_come_for_three_datasets_at_three_sizes_and_mtt_for_what_pads_table_1_prints():
    sets = {f"{data}-ipc{ipc}" for data in DEPTHS for ipc in (1, 10, 50)}
    assert set(family("mtt")) == {f"mtt-{name}" for name in sets | {"cifar100-ipc100"}}
    assert set(family("iadd")) == {f"iadd-{name}" for name in sets}


def test_mtt_at_a_size_that_its_authors_published_nothing_for_says_so():
    assert "Ours: its authors published no settings for this size" in head("mtt-cifar100-ipc100")
    ours, theirs = config("mtt-cifar100-ipc100"), config("mtt-cifar100-ipc50")
    distill = ours.distill.model_copy(update={"ipc": 50})
    assert ours.model_copy(update={"distill": distill}) == theirs


@pytest.mark.parametrize("name", family("mtt"))
def test_mtt_has_plain_experts_hard_labels_and_one_bound(name):
    found = config(name)
    experts, distill = found.experts, found.distill
    assert (experts.count, experts.epochs, experts.batch, experts.lr, experts.rho) == (100, 50, 256, 0.01, 0)
    assert (experts.momentum, experts.weight_decay) == (0, 0)
    assert not found.schedule.needs_scores and distill.selection.alpha == 0 and not distill.importance.enabled
    assert (distill.labels.kind, distill.init, distill.iterations) == ("hard", "real", 5000)
    assert distill.max_loss >= 1e6, "MTT leaves no trajectory out"
    windows = distill.windows
    assert windows.min_start == 0 and windows.start == windows.max_start and windows.interval is None
    assert (found.evaluation.training.epochs, found.evaluation.training.batch) == (1001, 256)
    assert (found.network.width, found.network.depth) == (128, DEPTHS[found.data.dataset])
    assert found.data.validation == 0


def test_mtts_published_example():
    """CIFAR-100 at IPC 1: the command that MTT's authors print first."""
    distill = config("mtt-cifar100-ipc1").distill
    assert (distill.student_steps, distill.expert_epochs, distill.windows.max_start) == (20, 3, 20)
    assert (distill.lr_images, distill.lr_student_lr, distill.student_lr) == (1000, 1e-5, 0.01)
    assert config("mtt-cifar100-ipc1").data.preprocessing == "zca"


# dataset, IPC: student steps, expert epochs, T+, lr of images, of the student's lr, its start, ZCA, EMA, iterations
ATT = {
    "cifar10-ipc1": (80, 4, 2, 100, 1e-7, 0.01, True, 0.9999, 6_000),
    "cifar10-ipc10": (30, 2, 20, 1e4, 1e-4, 0.01, True, 0.9999, 60_000),
    "cifar10-ipc50": (50, 2, 40, 100, 1e-5, 0.001, False, 0.999, 999_999),
    "cifar100-ipc1": (50, 4, 20, 500, 1e-5, 0.01, True, 0.9995, 3_000),
    "cifar100-ipc10": (20, 2, 40, 1e3, 1e-5, 0.01, False, 0.9995, 200_000),
    "cifar100-ipc50": (80, 2, 40, 1e3, 1e-5, 0.01, True, 0.999, 100_000),
    "tiny-ipc1": (30, 2, 10, 1e4, 1e-4, 0.01, False, 0.999, 10_000),
    "tiny-ipc10": (20, 2, 40, 1e4, 1e-5, 1e-4, False, 0.999, 80_000),
}


@pytest.mark.parametrize("name", ATT)
def test_att_is_its_authors_table(name):
    found = config(f"att-{name}")
    experts, distill, windows = found.experts, found.distill, found.distill.windows
    assert (
        distill.student_steps,
        distill.expert_epochs,
        windows.max_start,
        distill.lr_images,
        distill.lr_student_lr,
        distill.student_lr,
        found.data.preprocessing == "zca",
        distill.ema_decay,
        distill.iterations,
    ) == ATT[name]
    assert windows.min_start == 0 and windows.start == windows.max_start and windows.interval is None
    assert (experts.count, experts.epochs, experts.batch, experts.lr, experts.rho) == (100, 50, 512, 0.01, 0)
    assert (distill.student_length, distill.labels.kind, distill.init) == ("nearest", "hard", "real")
    whole = CLASSES[found.data.dataset] * distill.ipc
    assert distill.batch == (1200 if name == "cifar100-ipc50" else whole)
    assert (found.network.width, found.network.depth) == (128, DEPTHS[found.data.dataset])
    assert not found.evaluation.double_training, "that is asked for by whoever wants the printed number"


def test_att_comes_for_the_sizes_that_its_authors_have_and_for_digits():
    assert set(family("att")) == {f"att-{name}" for name in ATT} | {"att-digits-ipc1"}


@pytest.mark.parametrize("name", family("iadd"))
def test_iadd_is_mtt_with_weights(name):
    found, mtt = config(name), config(name.replace("iadd", "mtt"))
    importance = found.distill.importance
    assert importance.enabled and importance.lr > 0 and importance.constraint == "mean1"
    assert not importance.weighted_denominator, "IADD divides by the plain distance"
    off = found.distill.model_copy(update={"importance": ImportanceSettings()})
    assert found.model_copy(update={"distill": off}) == mtt


@pytest.mark.parametrize("name", family("iadd"))
def test_iadd_says_whose_values_they_are(name):
    assert "Ours: the paper does not give these values." in head(name)


def test_dm_has_the_settings_of_its_paper_and_its_script_for_two_datasets_at_three_sizes():
    published = [name for name in family("dm") if config(name).distill.iterations == 20_000]
    assert published == sorted(f"dm-{data}-ipc{ipc}" for data in ("cifar10", "cifar100") for ipc in (1, 10, 50))
    for name in published:
        found = config(name)
        distill, proof = found.distill, found.evaluation
        assert (distill.lr_images, distill.momentum_images, distill.real_batch, distill.init) == (1, 0.5, 256, "real")
        assert (distill.augment, found.network.label) == (FULL_AUGMENTATION, "convnet3w128")
        assert (proof.protocol_text, proof.training.lr, proof.seeds) == ("dsa1000", 0.01, 20)
        assert distill.validation.seeds == 0
        assert (found.data.preprocessing, found.data.validation) == ("normalize", 0) and len(found.data.mean) == 3


LOOPS = {1: (1, 1), 10: (10, 50), 50: (50, 10)}  # steps of the images in a network, epochs of its training


def test_dc_and_dsa_have_the_settings_of_their_papers_and_their_script():
    sizes = {
        "dc": {"cifar10": (1, 10, 50), "cifar100": (1, 10)},
        "dsa": {"cifar10": (1, 10, 50), "cifar100": (1, 10, 50)},
    }
    for method, by_data in sizes.items():
        published = [name for name in family(method) if "digits" not in name]
        assert published == sorted(f"{method}-{data}-ipc{ipc}" for data in by_data for ipc in by_data[data])
        for name in published:
            found = config(name)
            distill, proof = found.distill, found.evaluation
            assert (distill.outer_steps, distill.inner.epochs) == LOOPS[distill.ipc]
            assert distill.iterations == 1000 * distill.outer_steps, "1000 networks"
            assert (distill.inner.lr, distill.inner.batch, distill.real_batch, distill.distance) == (
                0.01,
                256,
                256,
                "rows",
            )
            assert (distill.lr_images, distill.momentum_images, distill.selection.alpha) == (0.1, 0.5, 0)
            assert (distill.init, distill.augment) == (
                ("noise", "none") if method == "dc" else ("real", FULL_AUGMENTATION)
            )
            assert proof.protocol_text == ("dc300" if method == "dc" else "dsa1000")
            assert (proof.seeds, proof.training.lr, distill.validation.seeds) == (20, 0.01, 0)
            assert (found.data.preprocessing, found.data.validation) == ("normalize", 0)
            assert found.network.label == "convnet3w128"


def test_coresets_have_the_scoring_network_of_deepcore_in_the_space_and_by_the_proof_of_pad():
    named = [name for name in family("coreset") if config(name).data.dataset != "digits"]
    assert set(named) == {f"coreset-{row}" for row in table10()}
    for name in named:
        found, pad = config(name), config(name.replace("coreset", "pad"))
        scoring = found.distill.scoring
        assert (scoring.network.label, scoring.epochs, scoring.batch) == ("resnet18-batch", 40, 256)
        assert (scoring.lr, scoring.momentum, scoring.nesterov, scoring.weight_decay) == (0.1, 0.9, True, 5e-4)
        assert (found.distill.augment, found.distill.glister_lr, found.distill.ridge) == ("none", 0.1, 1.0)
        assert (found.data, found.network, found.distill.ipc) == (pad.data, pad.network, pad.distill.ipc)
        assert found.evaluation == pad.evaluation.model_copy(update={"lr": 0.01})
        assert "ours" in head(name)


# -- all of them


@pytest.mark.parametrize("name", loading.preset_names())
def test_a_preset_fits_together(name):
    found = config(name)
    if found.distill.family == "trajectory":
        assert found.distill.windows.max_start - 1 + found.distill.expert_epochs <= found.experts.epochs
        size = CLASSES[found.data.dataset] * found.distill.ipc
        assert found.distill.batch <= size, "a batch above the set's size has no effect"
    assert found.data.validation > 0 or found.distill.validation.seeds == 0, "nothing to judge iterates on"
    assert found.data.path is None, "the user says where the files are"
    assert head(name).startswith("# "), "a preset begins by saying what it is"
    if found.data.dataset != "digits":
        assert "--set data.path=FOLDER" in head(name)


PUBLISHED = [name for prefix in ("pad", "unfiltered", "datm", "mtt", "iadd") for name in family(prefix)]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if config(name).data.validation == 0])
def test_a_papers_preset_says_which_iterate_it_keeps(name):
    """Whoever compares numbers must know that the papers' are the best of many on the test split."""
    line = next(line for line in text(name).splitlines() if line.startswith("  validation:"))
    assert "the last iterate is the set" in line and "best on the test split" in line


def test_presets_of_the_papers_hold_no_split():
    assert not [name for name in PUBLISHED if config(name).data.validation]


@pytest.mark.parametrize("name", family("pad"))
def test_what_is_not_the_papers_is_marked(name):
    """Whoever reads the file can tell what PAD's text does not say."""
    marks = {line.split("#")[0].split(":")[0].strip(): line.partition("#")[2] for line in text(name).splitlines()}
    assert "ours" in marks["scores"] and "ours" in marks["validation"]
    assert all("scripts" in marks[key] for key in ("schedule", "experts", "student_lr", "evaluation"))


@pytest.mark.parametrize("name", family("small"))
def test_the_bases_of_small_studies_have_both_filters_and_judge_nothing_while_distilling(name):
    found = config(name)
    if found.distill.needs_experts:
        assert found.schedule.needs_scores and found.distill.selection.alpha > 0
    assert found.data.validation > 0 and found.distill.validation.seeds == 0
    assert found.evaluation.seeds == 3 and found.evaluation.architectures == ()


LAPTOP = [name for name in loading.preset_names() if re.search(r"^demo$|^cifar10-narrow|-narrow-|digits-ipc\d+$", name)]


@pytest.mark.parametrize("name", [name for name in LAPTOP if not name.startswith("small-")])
def test_a_ceiling_stands_beside_every_set_that_a_laptop_makes(name):
    """Experts that a validation split judges, or a network on the full data."""
    made = config(name)
    judged = made.distill.needs_experts and made.data.validation > 0
    assert judged or made.evaluation.controls.full
