"""A keep-list is stored, and start, sampling, experts and random controls obey it; each test is of one of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from padray import fingerprint
from padray.commandline import inventory
from padray.configuration import loading
from padray.errors import InputError
from padray.methods.distribution.matching import DistributionMatching
from padray.stages import cells, evaluate, experts, keeplist, pipeline, stored
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store.artifacts import Folder, LostObjectError
from padray.store.opening import open_location

MTT = """
data: {dataset: digits, limit_per_class: 20, validation: 0.1}
network: {name: convnet, width: 4, depth: 2}
scores: {networks: 1, network: {name: convnet, width: 4, depth: 2}, epochs: 1, lr: 0.05, batch: 64, augment: none}
experts: {count: 1, epochs: 2, lr: 0.05, batch: 32, augment: none}
distill:
  ipc: 2
  iterations: 1
  lr_images: 0
  student_steps: 1
  expert_epochs: 1
  windows: {min_start: 0, start: 1, max_start: 1}
  augment: none
  checkpoint_seconds: 1000
  validation: {seeds: 0}
evaluation: {seeds: 1, epochs: 2, augment: none, controls: {lrs: [0.1], tuning_seeds: 1, random_soft: true, full: true,
             full_epochs: 1}}
"""
DM = """
distill: {family: distribution, ipc: 2, iterations: 2, lr_images: 0, real_batch: 64, augment: none,
          checkpoint_seconds: 1000, validation: {seeds: 0}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A storage with the dataset and the scores of one network."""
    folder = tmp_path_factory.mktemp("keep")
    (folder / "mtt.yaml").write_text(MTT)
    before, _, after = MTT.partition("distill:")
    evaluation = after[after.index("evaluation:") :].replace("random_soft: true, ", "")
    (folder / "dm.yaml").write_text(before + DM.strip() + "\n" + evaluation)
    run(folder, "mtt", "scores.method=random", until="scores")
    return folder


def context(folder: Path, name: str, *overrides: str) -> Context:
    loaded = loading.load(str(folder / f"{name}.yaml"), overrides)
    return Context(loaded.name, loaded.config, open_location(str(folder / "runs")), InlineRunner())


def run(folder: Path, name: str, *overrides: str, until: str = "report") -> tuple[Context, pipeline.Outcome]:
    own = context(folder, name, *overrides)
    return own, pipeline.run(own, until)


@pytest.fixture
def listed(root) -> Path:
    """A file that keeps the second half of each class's training samples."""
    own, outcome = run(root, "mtt", until="data")
    dataset = stored.load_dataset(own.folder(outcome.identities["data"]))
    rows = dataset.splits["train"]
    halves = [rows[dataset.labels[rows] == label] for label in range(10)]
    path = root / "half.json"
    path.write_text(json.dumps([int(row) for ids in halves for row in ids[len(ids) // 2 :]]))
    return path


def kept_of(own: Context, outcome: pipeline.Outcome) -> tuple[set[int], torch.Tensor]:
    """The kept rows of the training split, and the preprocessed samples of the split."""
    dataset = stored.load_dataset(own.folder(outcome.identities["data"]))
    rows = keeplist.rows_of(own.folder(outcome.identities["keep"]), dataset)
    return set(rows.tolist()), dataset.split("train")[0]


def only_kept(images: torch.Tensor, own: Context, outcome: pipeline.Outcome) -> bool:
    """Whether each of these images is a sample of the keep-list and no other one's."""
    kept, train = kept_of(own, outcome)
    places = [(train == image).flatten(1).all(dim=1).nonzero().flatten().tolist() for image in images]
    assert all(places) and 0 < len(kept) < len(train)
    return all(kept.intersection(own_places) for own_places in places)


KINDS = ("file", "hardest", "random", "blip")


def keep(kind: str, listed: Path) -> tuple[str, ...]:
    scores = listed.with_name("LossConverge.json")
    scores.write_text(json.dumps([(7 * sample) % 200 / 3 for sample in range(200)]))
    return {
        "blip": ("schedule.prune_hardest=0.5", "scores.method=file", f"scores.path={scores}"),
        "file": (f"schedule.keep_list={listed}",),
        "hardest": ("schedule.prune_hardest=0.5",),
        "random": ("schedule.prune_hardest=0.5", "scores.method=random"),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_experts_see_no_other_samples_in_any_epoch(root, listed, kind, monkeypatch):
    train, seen = experts.train, []

    def watched(network, samples, recipe, draws, chosen=None):
        seen.extend(set((chosen(epoch) if chosen else torch.arange(len(samples.images))).tolist()) for epoch in (0, 1))
        return train(network, samples, recipe, draws, chosen)

    monkeypatch.setattr(experts, "train", watched)
    shutil.rmtree(root / "runs" / "experts", ignore_errors=True)
    own, outcome = run(root, "mtt", *keep(kind, listed), until="experts")
    kept, train_images = kept_of(own, outcome)
    assert seen == [kept, kept] and len(kept) == len(train_images) // 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name, init", [("mtt", "correct"), ("mtt", "real"), ("dm", "real")])
def test_a_set_starts_from_no_other_samples(root, listed, kind, name, init):
    own, outcome = run(root, name, *keep(kind, listed), f"distill.init={init}", until="distill")
    images = stored.load_set(own.folder(outcome.identities["distill"]), 1 if name == "mtt" else 2).learned.images
    assert only_kept(images, own, outcome)


def test_real_batches_hold_no_other_samples(root, listed, monkeypatch):
    drawn, real_batch = [], DistributionMatching._real_batch
    monkeypatch.setattr(
        DistributionMatching, "_real_batch", lambda *these: drawn.append(real_batch(*these)) or drawn[-1]
    )
    own, outcome = run(root, "dm", *keep("file", listed), "distill.seed=1", until="distill")
    assert len(drawn) == 20 and only_kept(torch.cat(drawn), own, outcome)


def test_random_controls_draw_no_other_samples_and_the_full_data_is_all_of_it(root, listed, monkeypatch):
    drawn, result = {}, cells._CellMaker.result

    def watched(self, cell, keeper):
        drawn[cell.source] = self.sources[cell.source](cell).images
        return result(self, cell, keeper)

    monkeypatch.setattr(cells._CellMaker, "result", watched)
    own, outcome = run(root, "mtt", *keep("file", listed))
    assert only_kept(drawn["random"], own, outcome) and only_kept(drawn["random_soft"], own, outcome)
    assert len(drawn["full"]) == len(kept_of(own, outcome)[1])
    page = Path(outcome.report.removeprefix("file://")).read_text()
    assert "The set, the experts, and the random controls know only 90 (those that a file lists) of 180" in page
    assert "schedule.<wbr>keep_<wbr>list" in page and str(root) not in page.replace("file://", "")


def test_a_stored_keep_list_tells_its_scores_and_another_run_can_name_it(root, listed):
    own, outcome = run(root, "mtt", *keep("random", listed), until="experts")
    place = outcome.identities["keep"]
    (path,) = (root / "runs" / place.folder).glob("kept-*.parquet")
    table = stored.read_table(path.read_bytes())
    samples, values = stored.load_scores(own.folder(outcome.identities["scores"]), own.config.scores)
    scores = dict(zip(samples.tolist(), values.tolist(), strict=True))
    assert table["score"] == [scores[sample] for sample in table["sample"]] and sum(table["kept"]) == 90
    shown = inventory.show_artifact(place.folder, str(root / "runs"))
    assert shown.facts["which"] == "the hardest 50 % of each class by random left out" and shown.facts["kept"] == 90
    assert shown.inputs["scores"] == outcome.identities["scores"].fingerprint
    other, named = run(root, "dm", f"schedule.keep_list={path}", until="distill")
    assert kept_of(other, named)[0] == kept_of(own, outcome)[0] and "scores" not in named.identities
    by_score = run(
        root, "dm", "scores.method=file", f"scores.path={path}", "schedule.prune_hardest=0.5", until="distill"
    )
    assert kept_of(*by_score)[0] == kept_of(own, outcome)[0]
    again = context(root, "mtt", *keep("random", listed))
    pipeline.run(again, "experts")
    assert "keep" in again.reused


def test_a_schedule_by_epochs_goes_through_the_keep_list_alone(root, listed, monkeypatch):
    seen, train = [], experts.train

    def watched(network, samples, recipe, draws, chosen=None):
        seen.extend(set(chosen(epoch).tolist()) for epoch in (0, 1))
        return train(network, samples, recipe, draws, chosen)

    monkeypatch.setattr(experts, "train", watched)
    ramp = ("schedule.initial_ratio=0.5", "schedule.addition_end_epoch=1")
    own, outcome = run(root, "mtt", *keep("file", listed), *ramp, until="experts")
    kept = kept_of(own, outcome)[0]
    assert seen[0] < seen[1] == kept and len(seen[0]) == 40  # of 9 in each class 4


def test_it_is_part_of_what_its_users_mean_and_of_nothing_else(root, listed):
    def places(*overrides: str, name: str = "mtt") -> dict[str, str]:
        config = loading.load(str(root / f"{name}.yaml"), overrides).config
        chain = fingerprint.chain(config, "0" * 64)
        proofs = evaluate.identities(config, chain["data"], chain["distill"])
        return {str(name): one.fingerprint for name, one in {**chain, **proofs}.items()}

    plain, with_list = places(), places(*keep("file", listed))
    same = {name for name in plain if plain[name] == with_list[name]}
    assert same == {"data", "full"} and "keep" in with_list and "keep" not in plain
    plain_dm, dm = places(name="dm"), places(*keep("file", listed), name="dm")
    assert {name for name in dm if plain_dm.get(name) == dm[name]} == {"data", "full"}
    imported = (f"experts.imported={'ab' * 32}",)
    known, kept = places(*imported), places(*imported, *keep("file", listed))
    assert kept["experts"] == known["experts"] and kept["distill"] != known["distill"]
    moved = listed.with_name("moved.json")
    moved.write_bytes(listed.read_bytes())
    assert places(f"schedule.keep_list={moved}") == with_list, "the bytes decide, not the place"


def test_keep_lists_that_cannot_be_used_are_refused_in_a_sentence(root, listed):
    def refused(*overrides: str) -> str:
        with pytest.raises(InputError) as caught:
            run(root, "mtt", *overrides, until="distill")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "cannot read the keep-list" in refused(f"schedule.keep_list={root / 'absent.json'}")
    assert "keep_list must end in .npy or .parquet or .json" in refused("schedule.keep_list=x.txt")
    assert "keep_digest belongs to keep_list" in refused("schedule.keep_digest=abc")
    assert "keeps only 9 samples of class 0; lower distill.ipc" in refused(*keep("file", listed), "distill.ipc=10")
    changed = context(root, "mtt", *keep("file", listed))
    other = listed.with_name("other.json")
    other.write_text(json.dumps(json.loads(listed.read_text())[::-1]))
    changed.config = changed.config.model_copy(
        update={
            "schedule": changed.config.schedule.model_copy(update={"keep_list": str(other), "keep_digest": "ab" * 32})
        }
    )
    with pytest.raises(InputError, match="has changed since its digest was taken"):
        pipeline.run(changed, "experts")


def test_a_stored_keep_list_that_is_none_is_refused_in_a_sentence(root, listed):
    own, outcome = run(root, "mtt", *keep("file", listed), until="experts")
    folder = own.folder(outcome.identities["keep"])
    dataset, manifest = stored.load_dataset(own.folder(outcome.identities["data"])), folder.require()
    samples = dataset.splits["train"].tolist()
    for columns in (
        {"sample": samples},
        {"sample": samples[1:], "kept": [True] * 179},
        {"sample": samples, "kept": ["yes"] * 180},
        {"sample": samples, "kept": [None] * 180},
    ):
        other = Folder(own.location, "keeplists/x-" + "ab" * 6, "ab" * 32)
        item = other.put(keeplist.OBJECT, "parquet", stored.encode_table(columns))
        other.commit(replace(manifest, fingerprint="ab" * 32, objects=(item,)))
        with pytest.raises(InputError, match="is not the keep-list of its dataset"):
            keeplist.rows_of(other, dataset)
    for facts in ({}, {**manifest.facts, "kept": "many"}, {**manifest.facts, "kept_per_class": []}):
        other.commit(replace(manifest, fingerprint="ab" * 32, objects=(item,), facts=facts))
        with pytest.raises(LostObjectError, match="is wrong"):
            keeplist.facts_of(other)
    other.delete()
