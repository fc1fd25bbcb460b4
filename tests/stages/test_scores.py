"""Stage `scores`: one table for all methods, what is made again and what is shared, and rankings from files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from padray.commandline import commands, job
from padray.configuration import loading
from padray.draws import generator, seed_for
from padray.errors import InputError, WorkError
from padray.experts.scorers import SCORES, observe
from padray.experts.training import Draws, Recipe, Samples, train
from padray.networks import factory
from padray.report import words
from padray.stages import pipeline, stored
from padray.stages.base import Context
from padray.stages.pipeline import Outcome

SETTINGS = """
data: {dataset: digits, limit_per_class: 12, validation: 0.2}
network: {name: mlp, width: 4, depth: 1}
scores: {networks: 2, network: {name: convnet, width: 4, depth: 1}, epochs: 2, lr: 0.05, batch: 32, augment: crop}
schedule: {initial_ratio: 0.5, addition_end_epoch: 2}
experts: {count: 1, epochs: 3, lr: 0.1, augment: none}
distill: {expert_epochs: 1, windows: {min_start: 0, start: 1, max_start: 1}}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "scored.yaml"
    path.write_text(SETTINGS)
    return path


def run(settings: Path, *overrides: str, until: str = "experts") -> tuple[Context, Outcome]:
    context = commands.context(str(settings), commands.Request(overrides, str(settings.parent / "runs"), "inline"))
    return context, pipeline.run(context, until)


def tables(context: Context, outcome: Outcome) -> list[dict]:
    return stored.score_tables(context.folder(outcome.identities["scores"]), context.config.scores)


def expert(context: Context, outcome: Outcome) -> bytes:
    folder = context.folder(outcome.identities["experts"])
    return folder.get(folder.require().object("expert-0000"))


def test_a_table_has_all_methods_of_the_training_and_then_of_the_validation_samples(settings):
    context, outcome = run(settings, until="scores")
    dataset = stored.load_dataset(context.folder(outcome.identities["data"]))
    one, two = tables(context, outcome)
    rows = torch.cat([dataset.splits["train"], dataset.splits["validation"]])
    assert list(one) == ["sample", "split", "label", "correct", *SCORES]
    assert one["sample"] == two["sample"] == rows.tolist() and one["label"] == dataset.labels[rows].tolist()
    assert one["split"] == ["train"] * 100 + ["validation"] * 20
    assert all(one[method] != two[method] for method in SCORES)


def test_a_table_holds_what_its_own_network_shows(settings):
    """Trained and looked at again by hand: on the training split alone, both splits scored."""
    context, outcome = run(settings, until="scores")
    dataset = stored.load_dataset(context.folder(outcome.identities["data"]))
    parts = [Samples(*dataset.split(name)) for name in ("train", "validation")]
    network = factory.build(
        context.config.scores.network, dataset.shape, 10, seed_for(0, "scores", "network-0001", "network")
    )
    epochs = train(network, parts[0], Recipe(2, 32, 0.05, 0.9, 5e-4, "crop"), Draws(0, "scores", "network-0001"))
    seen = observe(network, epochs, parts, generator(0, "scores", "network-0001", "random"))
    table = tables(context, outcome)[1]
    assert table["correct"] == (seen.logits_NK.argmax(dim=1) == seen.labels_N).tolist()
    for method, score in SCORES.items():
        assert table[method] == pytest.approx(score(seen).tolist(), rel=1e-6), method


@pytest.mark.parametrize("method", ["el2n", "forgetting"])
def test_scores_are_the_chosen_columns_mean_over_the_networks_on_the_training_split(settings, method):
    context, outcome = run(settings, f"scores.method={method}", until="scores")
    ids, scores = stored.load_scores(context.folder(outcome.identities["scores"]), context.config.scores)
    dataset = stored.load_dataset(context.folder(outcome.identities["data"]))
    assert torch.equal(ids, dataset.splits["train"])
    expected = np.mean([table[method][: len(ids)] for table in tables(context, outcome)], axis=0)
    assert scores.numpy() == pytest.approx(expected)


def test_without_a_validation_split_there_are_training_samples_only(settings):
    context, outcome = run(settings, "data.validation=0", "distill.validation.seeds=0", until="scores")
    assert set(tables(context, outcome)[0]["split"]) == {"train"}


def test_another_method_shares_the_scores_and_gives_other_experts(settings):
    shards = {}
    for method in SCORES:
        context, outcome = run(settings, f"scores.method={method}")
        assert ("scores" in context.reused) == (method != "el2n")
        shards[method] = expert(context, outcome)
    assert len({path.parent for path in (settings.parent / "runs").rglob("network-*.parquet")}) == 1
    found = {hashlib.sha256(shard).hexdigest() for shard in shards.values()}
    assert len(found) > len(SCORES) / 2  # close methods may rank so few samples alike
    assert shards["random"] != shards["el2n"] != shards["forgetting"]


def test_a_method_that_stored_tables_lack_is_added_and_leaves_what_was_made_from_the_others(settings, monkeypatch):
    with monkeypatch.context() as patched:  # as an older version, which did not know two of them
        known = {name: score for name, score in SCORES.items() if name not in ("margin", "random")}
        known["el2n"] = lambda seen: SCORES["el2n"](seen) * 1.001  # as another machine, whose last digits are others
        patched.setattr("padray.stages.scores.SCORES", known)
        before, outcome = run(settings)
        old = tables(before, outcome)
    added, outcome = run(settings, "scores.method=margin")
    assert "scores" not in added.reused
    found = tables(added, outcome)
    assert [set(new) - set(was) for new, was in zip(found, old, strict=True)] == [{"margin", "random"}] * len(old)
    assert all(new[name] == was[name] for new, was in zip(found, old, strict=True) for name in was)
    again, _ = run(settings)
    assert again.reused == ["data", "scores", "experts"]
    assert run(settings, "scores.method=random", until="scores")[0].reused == ["data", "scores"]
    names = [path.name.rsplit("-", 1)[0] for path in (settings.parent / "runs").rglob("network-*.parquet")]
    assert sorted(names) == sorted(set(names)), "the tables that lacked it are gone"


def test_tables_that_the_manifest_describes_are_not_read_to_add_another(settings, monkeypatch):
    run(settings, until="scores")
    read, stored_read = [], stored.read_table
    monkeypatch.setattr(stored, "read_table", lambda content, *rest: read.append(1) or stored_read(content, *rest))
    added, _ = run(settings, "scores.networks=3", until="scores")
    assert "scores" not in added.reused and not read


def test_a_table_that_promises_more_values_than_anybody_stores_is_not_read(monkeypatch):
    monkeypatch.setattr(stored, "_MOST_VALUES", 10)
    fits, beyond = ({"x": list(range(rows)), "y": list(range(rows))} for rows in (5, 6))
    assert stored.read_table(stored.encode_table(fits)) == fits
    with pytest.raises(InputError, match="more than 10 values"):
        stored.read_table(stored.encode_table(beyond))


def test_the_method_means_nothing_where_no_schedule_reads_it(settings):
    plain = ("schedule.initial_ratio=1.0",)
    one, other = (run(settings, *plain, f"scores.method={m}", until="experts")[1] for m in ("el2n", "random"))
    assert one.identities["experts"] == other.identities["experts"] and "scores" not in one.identities


def test_pruning_is_seen_by_the_experts(settings):
    base = run(settings)
    for override in ("schedule.prune_hardest=0.3", "schedule.prune_easiest=0.3"):
        assert expert(*run(settings, override, "distill.ipc=5")) != expert(*base)


def test_scores_that_are_not_finite_name_the_learning_rate(settings, monkeypatch):
    monkeypatch.setitem(SCORES, "entropy", lambda seen: seen.lots_N / 0)
    with pytest.raises(WorkError, match=r"entropy scores of network-0000 .* lower scores\.lr"):
        run(settings, until="scores")


# -- a ranking from a file


@pytest.fixture
def ranking(settings: Path) -> Path:
    """The samples in reverse, as an order from easy to hard."""
    path = settings.parent / "order.npy"
    np.save(path, np.arange(120)[::-1])
    return path


def from_file(path: Path) -> tuple[str, str]:
    return "scores.method=file", f"scores.path={path}"


def test_a_ranking_from_a_file_orders_what_the_experts_see(settings, ranking):
    context, outcome = run(settings, *from_file(ranking))
    ids, scores = stored.load_scores(context.folder(outcome.identities["scores"]), context.config.scores)
    assert torch.equal(scores, 119.0 - ids)
    np.save(ranking.with_name("scores.npy"), 100.0 - np.arange(120))
    again = run(settings, *from_file(ranking.with_name("scores.npy")))
    assert expert(*again) == expert(context, outcome) != expert(*run(settings))


def test_once_stored_the_file_is_not_needed(settings, ranking):
    context, outcome = run(settings, *from_file(ranking), until="scores")
    digest = hashlib.sha256(ranking.read_bytes()).hexdigest()
    assert context.config.scores.digest == digest
    ranking.unlink()
    done = pipeline.run(context, "experts")
    assert done.identities["scores"] == outcome.identities["scores"]
    other, _ = run(settings, *from_file(ranking), f"scores.digest={digest}")
    assert other.reused == ["data", "scores", "experts"]


def test_the_bytes_decide_and_not_the_place(settings, ranking):
    moved = ranking.with_name("moved.npy")
    moved.write_bytes(ranking.read_bytes())
    first = run(settings, *from_file(ranking), until="scores")[1].identities["scores"]
    context, second = run(settings, *from_file(moved), until="scores")
    assert second.identities["scores"] == first and "scores" in context.reused
    np.save(moved, np.arange(120))
    assert run(settings, *from_file(moved), until="scores")[1].identities["scores"] != first


def refused(settings: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        run(settings, *overrides, until="scores")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rankings_that_cannot_be_used_are_refused_in_a_sentence(settings, ranking):
    absent = ranking.with_name("absent.npy")
    assert "cannot read the ranking" in refused(settings, *from_file(absent))
    assert "is not the ranking that scores.digest means" in refused(
        settings, *from_file(ranking), f"scores.digest={'ab' * 32}"
    )
    assert "cannot read the ranking" in refused(settings, *from_file(absent), f"scores.digest={'ab' * 32}")
    assert "go together" in refused(settings, "scores.method=file")
    assert "go together" in refused(settings, f"scores.path={ranking}")
    assert ".npy or .parquet" in refused(settings, *from_file(ranking.with_suffix(".pt")))
    assert "digest belongs to method: file" in refused(settings, "scores.digest=abc")
    assert "120 training files" in refused(settings, *from_file(_saved(ranking, np.zeros(7))))


def _saved(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


def test_a_file_that_changes_after_the_settings_were_read_is_refused(settings, ranking):
    request = commands.Request(from_file(ranking), str(settings.parent / "runs"), "inline")
    context = commands.context(str(settings), request)
    np.save(ranking, np.arange(120))
    with pytest.raises(InputError, match="has changed since"):
        pipeline.run(context, "scores")


def test_a_trial_that_chooses_another_file_means_that_file(settings, ranking):
    config = loading.load(str(settings), from_file(ranking)).config
    other = _saved(ranking.with_name("other.npy"), np.arange(120))
    found = loading.with_values(config, {"scores.path": str(other)}, "this trial").scores
    assert found.digest == hashlib.sha256(other.read_bytes()).hexdigest() != config.scores.digest


def test_settings_that_are_stored_hold_the_digest(settings, ranking):
    context, outcome = run(settings, *from_file(ranking), until="scores")
    manifest = context.folder(outcome.identities["scores"]).require()
    assert manifest.settings["scores"]["digest"] == context.config.scores.digest


def test_a_job_refuses_a_relative_ranking_and_a_report_tells_only_its_name(settings, ranking):
    with pytest.raises(InputError, match=r"scores\.path order\.npy is relative"):
        job.check("run", ["x", "--storage", "/shared", "--set", "scores.path=order.npy"])
    config = loading.load(str(settings), from_file(ranking)).config
    assert "…/order.npy" in words.as_yaml(config) and str(ranking.parent) not in words.as_yaml(config)
