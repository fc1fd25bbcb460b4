"""Whether a node sees the driver's storage: asked where the work is, named when it does not."""

import socket
from dataclasses import replace

import pytest

from padray.cluster import probe
from padray.errors import InfrastructureError, InputError, WorkError
from padray.store.location import LocalLocation


def test_a_node_that_sees_the_storage_has_no_problem_and_nothing_is_left(tmp_path):
    with probe.probing(LocalLocation(tmp_path)) as made:
        assert made.problem() is None
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WorkError, match="lost"), probe.probing(LocalLocation(tmp_path)):
        raise WorkError("lost")
    assert list(tmp_path.iterdir()) == []


def test_a_node_where_the_folder_is_another_one_is_named(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    with probe.probing(LocalLocation(here)) as made:
        for elsewhere in (replace(made, uri=str(there)), replace(made, text="other")):
            problem = elsewhere.problem()
            assert isinstance(problem, InputError)
            said = f"the node {socket.gethostname()} does not see the storage {elsewhere.uri}; use a network folder"
            assert str(problem).startswith(said)


def test_a_node_without_the_store_s_settings_is_named(tmp_path, monkeypatch):
    def refuse(uri):
        raise InputError(f"cannot read {uri}: access denied")

    monkeypatch.setattr(probe, "open_location", refuse)
    problem = probe.Probe("s3://bucket/runs", "key", "text").problem()
    assert isinstance(problem, InfrastructureError) and "AWS settings" in str(problem) and "denied" in str(problem)
