"""A new task is a folder and an entry: with nothing else it trains, resumes, is saved, loaded, used
from the command line and drawn."""

from __future__ import annotations

import pytest

from seq2seq import registry
from seq2seq.saved.directory import CONFIG_FILE
from seq2seq.training.learning_curve import read_log
from tests.seq2seq.running import records
from tests.seq2seq.toy_task.entry import ENTRY


def train(run, output, *options):
    status, out, err = run("train", "toy.yaml", "--quiet", "--output", output, *options)
    assert (status, out) == (0, f"model saved: {output}/model\n"), err
    return err


def test_a_folder_and_an_entry_are_a_task(toy, run):
    told = train(run, "runs/a")
    assert "59 pairs of numbers" in told and "worst error" in told
    status, out, err = run("foretell", "runs/a/model", "100")
    assert status == 0, err
    assert float(out) == pytest.approx(110, abs=2)
    user = registry.load(ENTRY.user).from_pretrained("runs/a/model")
    user.save_pretrained("again")
    first, second = ((toy / name / CONFIG_FILE) for name in ("runs/a/model", "again"))
    assert first.read_bytes() == second.read_bytes()
    assert "seq2seq foretell MODEL 3" in (toy / "again" / "README.md").read_text()


def test_it_resumes_to_the_same_numbers(toy, run):
    train(run, "runs/whole")
    train(run, "runs/part", "--training.max_steps", "30")
    train(run, "runs/part", "--training.max_steps", "320", "--resume")
    whole, part = (records(toy / "runs" / name) for name in ("whole", "part"))
    assert part[-1] == whole[-1]


def test_its_curve_its_keys_and_its_mistakes(toy, run):
    pytest.importorskip("matplotlib")
    train(run, "runs/a", "--training.max_epochs", "3")
    assert "worst_error" in read_log("runs/a")
    assert run("plot", "runs/a")[0] == 0
    status, out, _ = run("train", "--help")
    assert status == 0 and "--model.hidden_size" in out and "task: toy" in out
    status, _, err = run("train", "toy.yaml", "--model.hiden_size", "3")
    assert status == 2 and "did you mean --model.hidden_size?" in err
    status, _, err = run("translate", "runs/a/model")
    assert status == 1 and "this is a toy model" in err and "use 'seq2seq foretell'" in err
    status, _, err = run(
        "train", "toy.yaml", "--data.train", "data/ptb/n.txt", "--output", "runs/b"
    )
    assert status == 2 and err.endswith("fetch it with: seq2seq data ptb\n")
