"""A run remembers the revision of the data set that it reads from the hub: one on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from seq2seq.config import config_from_dict
from seq2seq.errors import UsageError
from seq2seq.training.hub_data import hub_revisions
from seq2seq.training.inputs import check_same_inputs, inputs_of
from tests.seq2seq.saved import fake_hub
from tests.seq2seq.saved.fake_hub import Repository

ROWS = b"en,de\n" + b"a b,c d\ne,f\n" * 30


@pytest.fixture
def ask(tmp_path):
    """Gives (hub, function that trains on its data set for a step in a process of its own)."""
    with fake_hub.running() as hub:
        hub.repositories["datasets/ann/pairs"] = Repository({"train.csv": ROWS})
        values = {
            "output": str(tmp_path / "run"),
            "data": {"hub": "ann/pairs", "train": "train", "batch_tokens": 64},
            "tokenizer": {"vocab_size": 267},
            "model": {
                "encoder": {"layers": 1, "hidden_size": 4}, "embedding_size": 4,
                "decoder": {"hidden_size": 4},
            },
            "training": {"max_steps": 1, "threads": 1, "device": "cpu", "precision": "fp32"},
        }  # fmt: skip
        (tmp_path / "run.yaml").write_text(json.dumps(values))

        def train(*options, **variables):
            environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
            command = [sys.executable, "-m", "seq2seq", "train", "run.yaml", "--quiet", *options]
            return subprocess.run(
                command, cwd=tmp_path, env={**environment, **variables},
                capture_output=True, text=True,
            )  # fmt: skip

        yield hub, train


def test_the_revision_is_recorded_and_compared(ask, tmp_path):
    hub, train = ask
    done = train()
    assert done.returncode == 0, done.stderr
    first = hub.repositories["datasets/ann/pairs"].sha
    recorded = json.loads((tmp_path / "run" / "inputs.json").read_text())
    assert recorded["revisions"] == {"ann/pairs": first}
    done = train("--resume", "--training.max_steps", "2", HF_HUB_OFFLINE="1")  # from the cache
    assert done.returncode == 0, done.stderr
    hub.repositories["datasets/ann/pairs"].files["train.csv"] = ROWS + b"new,words\n"
    second = hub.repositories["datasets/ann/pairs"].sha
    done = train("--resume", "--training.max_steps", "3")
    expected = f"revision of the data set ann/pairs is {second}, the run was started with {first}"
    assert done.returncode == 2 and expected in done.stderr


def test_files_and_names_that_nobody_knows_have_none(tmp_path, monkeypatch):
    import datasets

    def unknown(*args, **options):
        raise ConnectionError("no network in tests")

    monkeypatch.setattr(datasets, "load_dataset_builder", unknown)
    assert hub_revisions(config_from_dict({"data": {"train": "train.tsv"}})) == {}
    assert hub_revisions(config_from_dict({"data": {"hub": str(tmp_path)}})) == {}
    assert hub_revisions(config_from_dict({"data": {"hub": "ann/pairs"}})) == {}


def test_runs_of_before_go_on_without_a_revision(tmp_path):
    now = inputs_of(config_from_dict({"output": str(tmp_path)}), {"precision": "fp32"})
    before = {key: value for key, value in now.items() if key != "revisions"}
    path = tmp_path / "inputs.json"
    path.write_text(json.dumps(before))
    now["revisions"] = {"ann/pairs": "abc"}
    check_same_inputs(path, now, resume=True, allow=False)
    now["revisions"] = {"ann/pairs": "def"}
    with pytest.raises(UsageError, match="data set ann/pairs is def, the run was started with abc"):
        check_same_inputs(path, now, resume=True, allow=False)
