"""Experts of others: what a peer's network had learned is what padray matches, and nothing is trained in its place."""

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from padray.commandline import commands
from padray.commandline.console import Console
from padray.config import ExpertSettings
from padray.errors import InputError
from padray.exchange.sets import ImportOptions
from padray.networks import factory
from padray.networks.flat import FlatNetwork
from padray.networks.settings import NetworkSettings
from padray.stages import experts as stage
from padray.stages import pipeline
from padray.store.artifacts import Folder, LostObjectError, read_manifest
from padray.store.opening import open_location
from padray.store.shards import read_row
from tests.exchange.conftest import EPOCHS, Chain, peer_network

Snapshots = list[list[torch.Tensor]]


def write(folder: Path, experts: list[Snapshots]) -> Path:
    """Two in one file, the third in one of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(experts[:2], folder / "replay_buffer_0.pt")
    torch.save(experts[2:], folder / "replay_buffer_2.pt")
    return folder


def in_order(folder: Path) -> list[Snapshots]:
    """The experts as padray numbers them: file after file, by rising digests."""
    files = sorted(folder.iterdir(), key=lambda path: hashlib.sha256(path.read_bytes()).hexdigest())
    return [expert for path in files for expert in torch.load(path)]


def bring(chain: Chain, source: Path, *overrides: str) -> dict:
    request = commands.Request(overrides, str(chain.root), "inline")
    given = str(source), "mtt-buffer", str(chain.settings), ImportOptions(), request, Console(as_json=True)
    return asdict(commands.import_artifact(*given))


def distil(chain: Chain, digest: str, *overrides: str, until: str = "distill", fresh: bool = False):
    request = commands.Request((f"experts.imported={digest}", *overrides), str(chain.root), "inline", fresh)
    context = commands.context(str(chain.settings), request)
    return context, pipeline.run(context, until)


@pytest.fixture
def nothing_is_trained(monkeypatch):
    for module, name in ((stage, "make_missing"), (pipeline.scores, "make")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("something was trained"))


@pytest.fixture(scope="module")
def source(experts, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("buffers"), experts)


@pytest.fixture(scope="module")
def brought(chain, source) -> dict:
    return bring(chain, source)


def test_every_row_of_a_shard_is_the_snapshot_of_the_file(chain, source, brought):
    location = open_location(str(chain.root))
    path = Path(brought["artifact"]).relative_to(chain.root).as_posix()
    manifest = read_manifest(location, f"{path}/manifest.json")
    assert (len(manifest.objects), brought["count"], brought["epochs"]) == (3, 3, EPOCHS)
    folder = Folder(location, path, manifest.fingerprint)
    images = torch.rand(5, 1, 8, 8)
    flat = FlatNetwork(factory.build(NetworkSettings(width=4, depth=2), (1, 8, 8), 10, 0))
    for item, expert in zip(manifest.objects, in_order(source), strict=True):
        for epoch in (0, 3, EPOCHS):
            peer = peer_network(0)
            for parameter, value in zip(peer.parameters(), expert[epoch], strict=True):
                parameter.data = value
            theta_P = read_row(folder, item, epoch)
            assert torch.equal(theta_P, torch.cat([part.reshape(-1) for part in expert[epoch]]))
            assert torch.allclose(flat(theta_P, images), peer(images), atol=1e-5)


def test_a_set_is_distilled_from_them_evaluated_and_told_of(chain, brought, nothing_is_trained):
    context, outcome = distil(chain, brought["experts"], until="report")
    assert outcome.identities["experts"].fingerprint == brought["fingerprint"]
    assert "scores" not in outcome.identities and "experts" in context.reused
    assert outcome.set_digest != chain.outcome.set_digest
    assert [row.n for row in outcome.rows] == [2, 2, 2, 2]
    assert outcome.report is not None and Path(outcome.report).is_file()
    distil(chain, brought["experts"], fresh=True)  # forgets what was distilled, not what cannot be made again
    assert Path(brought["artifact"], "manifest.json").is_file()


def test_their_name_is_the_digest_of_the_files_whatever_these_are_called(chain, experts, brought, tmp_path):
    folder = write(tmp_path / "again", experts)
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir())
    assert brought["experts"] == hashlib.sha256("\n".join(digests).encode()).hexdigest()
    (folder / "replay_buffer_0.pt").rename(folder / "replay_buffer_5.pt")
    assert bring(chain, folder)["fingerprint"] == brought["fingerprint"]
    made = bring(chain._replace(root=tmp_path / "elsewhere"), folder)
    there, here = (
        [load_file(path)["theta"] for path in sorted(Path(each["artifact"]).glob("expert-*"))]
        for each in (made, brought)
    )
    assert len(here) == 3 and all(torch.equal(a, b) for a, b in zip(there, here, strict=True))
    assert bring(chain, folder, "experts.epochs=16")["epochs"] == EPOCHS, (
        "those of the files, whatever the settings say"
    )
    assert bring(chain, folder / "replay_buffer_2.pt")["fingerprint"] != brought["fingerprint"]


def test_how_others_trained_is_not_asked_and_never_mixes_with_experts_of_ones_own(chain, brought, nothing_is_trained):
    settings = ("experts.lr=5", "experts.seed=3", "schedule.initial_ratio=0.5", "scores.networks=9")
    _, outcome = distil(chain, brought["experts"], *settings)
    assert outcome.identities["experts"].fingerprint == brought["fingerprint"]
    assert brought["fingerprint"] != chain.outcome.identities["experts"].fingerprint


def test_double_precision_asks_for_an_import_of_its_own(chain, experts, tmp_path):
    made = bring(chain, write(tmp_path / "double", experts), "compute.precision=float64")
    _, outcome = distil(chain, made["experts"], "compute.precision=float64", "distill.iterations=1")
    assert outcome.identities["experts"].fingerprint == made["fingerprint"]


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (("experts.imported=" + 64 * "a",), "padray import FOLDER --from mtt-buffer"),
        (("network.width=8",), "padray import FOLDER --from mtt-buffer"),
        (("experts.count=4",), "there are 3 imported experts, but experts.count is 4"),
        (("experts.epochs=7",), "imported experts have 6 epochs, but experts.epochs is 7"),
        (("experts.keep_epochs=[0, 6]",), "leave keep_epochs out"),
    ],
)
def test_other_experts_than_were_imported_are_asked_for_in_vain(
    chain, brought, nothing_is_trained, overrides, sentence
):
    with pytest.raises(InputError, match=re.escape(sentence)):
        distil(chain, brought["experts"], *overrides)


def test_a_digest_is_64_digits():
    with pytest.raises(ValueError, match="imported"):
        ExpertSettings(imported="abc")


def spoilt(experts: list[Snapshots], how: str) -> list:
    """The experts with something wrong in the second."""
    good, bad = experts[0], [[part.clone() for part in snapshot] for snapshot in experts[1]]
    if how == "still":  # one network's tensors under every epoch
        bad = [bad[-1]] * len(bad)
    elif how == "shape":
        bad[2][4] = torch.zeros(4, 4, 5, 5)
    elif how == "tensors":
        bad[2] = bad[2][:-1]
    elif how == "nan":
        bad[2][1][0] = torch.nan
    elif how == "huge":
        bad[2][1] = torch.full_like(bad[2][1], 1e300, dtype=torch.float64)
    elif how == "float4":
        bad[2][1] = torch.zeros(bad[2][1].shape, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    elif how == "twice":
        return [good] * 1000
    elif how == "epochs":
        bad = bad[:-1]
    elif how == "empty":
        return []
    elif how == "flat":
        bad = [torch.cat([part.reshape(-1) for part in snapshot]) for snapshot in bad]
    return [good, bad]


@pytest.mark.parametrize(
    "how, sentence",
    [
        ("still", "replay_buffer_7.pt, expert 1 does not move in epoch 1"),
        ("shape", "expert 1, snapshot 2, tensor 4 has the shape [4, 4, 5, 5], but "),
        ("tensors", "expert 1, snapshot 2 has 9 tensors, but convnet2w4 has 10"),
        ("nan", "expert 1, snapshot 2 holds NaN or infinity"),
        ("huge", "expert 1, snapshot 2 holds NaN or infinity, or a number beyond float32"),
        ("float4", "expert 1, snapshot 2, tensor 1 has numbers of the type float4_e2m1fn_x2"),
        ("twice", "replay_buffer_7.pt holds fewer bytes than its experts' parameters: some are there twice"),
        ("epochs", "6 snapshots, which is 5 epochs, but experts.epochs is 6: set experts.epochs=5"),
        ("empty", "must hold a list of experts"),
        ("flat", "expert 1, snapshot 0 has 0 tensors"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_counts_as_imported(chain, experts, tmp_path, run, how, sentence):
    torch.save(spoilt(experts, how), tmp_path / "replay_buffer_7.pt")
    given = ("--from", "mtt-buffer", "--config", chain.settings, "--storage", chain.root)
    before = sorted(chain.root.glob("experts/*/manifest.json"))
    said = run("import", tmp_path, *given, "--json")
    assert said.code == 2 and sentence in json.loads(said.out)["error"], said.out
    assert sorted(chain.root.glob("experts/*/manifest.json")) == before


def test_the_command_names_the_setting_that_uses_them(chain, experts, brought, tmp_path, run):
    source = write(tmp_path / "peer", experts)
    given = ("--from", "mtt-buffer", "--config", chain.settings, "--storage", chain.root)
    said = run("import", source, *given)
    assert said.code == 0 and f"--set experts.imported={brought['experts']} --set experts.count=3" in said.out
    assert "validation" in said.out
    said = run("import", source, *given, "--set", "data.validation=0")
    next_line = " ".join(said.out.split())
    assert f"--set data.validation=0 --set experts.imported={brought['experts']} --set experts.count=3" in next_line
    for wrong, part in ((("--lr", "0.1"), "experts have neither"), (("--set", "network.norm=batch"), "statistics")):
        said = run("import", source, *given, *wrong)
        assert said.code == 2 and part in said.err
    said = run("import", chain.settings.parent, *given)
    assert said.code == 2 and "holds no replay_buffer_NUMBER.pt" in said.err


def test_experts_that_are_gone_are_told_and_the_same_import_brings_them_again(chain, experts, tmp_path):
    own, source = chain._replace(root=tmp_path / "runs"), write(tmp_path / "buffers", experts)
    made = bring(own, source)
    whole = {path.name: path.read_bytes() for path in Path(made["artifact"]).iterdir()}
    next(Path(made["artifact"]).glob("expert-0001-*")).unlink()
    with pytest.raises(LostObjectError, match=r"expert-0001-\S+ is gone: type `padray verify \S+ --repair"):
        distil(own, made["experts"])
    assert bring(own, source)["fingerprint"] == made["fingerprint"]
    assert {path.name: path.read_bytes() for path in Path(made["artifact"]).iterdir()} == whole


def test_experts_that_do_not_fit_their_network_are_refused(chain, experts, tmp_path, nothing_is_trained):
    own, source = chain._replace(root=tmp_path / "runs"), write(tmp_path / "buffers", experts)
    made = bring(own, source)
    path = Path(made["artifact"]) / "manifest.json"
    manifest = json.loads(path.read_text())
    rows = manifest["objects"][1]["extra"]["rows"]
    rows["size"] -= 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"expert-0001-\S+ holds \S+ parameters, but convnet2w4 has .*: import"):
        distil(own, made["experts"])
