"""The training loop: what it learns, exact resume, and that nothing saved is ever lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seq2seq.config import TrainingConfig, config_from_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.training import checkpoints
from seq2seq.training.averages import MovingAverage
from seq2seq.training.loop import train
from seq2seq.training.objectives import CrossEntropy, RDrop
from seq2seq.training.schedules import learning_rate
from seq2seq.translator import Translator

WORDS = dict(zip("abcdefgh", "stuvwxyz", strict=True))


def write_corpus(folder: Path, seed: int, train: int, validation: int, longest: int) -> Path:
    """One-letter words, translated and turned round: learned in seconds."""
    random.seed(seed)
    for split, count in (("train", train), ("val", validation)):
        lines = [random.choices(list(WORDS), k=random.randint(1, longest)) for _ in range(count)]
        targets = [" ".join(WORDS[w] for w in reversed(line)) for line in lines]
        (folder / f"{split}.en").write_text("\n".join(map(" ".join, lines)) + "\n")
        (folder / f"{split}.de").write_text("\n".join(targets) + "\n")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 0, 600, 20, longest=6)


def settings(corpus: Path, output: Path, **training) -> dict:
    return {
        "output": str(output),
        "data": {
            "train": f"{corpus}/train.{{lang}}",
            "validation": f"{corpus}/val.{{lang}}",
            "batch_tokens": 256,
            "cache_dir": str(corpus / "cache"),
        },
        "tokenizer": {"vocab_size": 278, "sampling": 0.5},
        "model": {
            "encoder": {"layers": 1, "hidden_size": 16},
            "decoder": {"hidden_size": 32},
            "embedding_size": 16,
            "dropout": 0.1,
        },
        "training": {
            "max_epochs": 100, "max_steps": 12, "log_every": 2, "validate_every": 4,
            "warmup_steps": 4, "threads": 1, "device": "cpu", "precision": "fp32",
            "ema_decay": 0.9, "accumulation": 2, "keep_best": 2, **training,
        },
    }  # fmt: skip


def records(output: Path) -> list[dict]:
    """The log without what depends on the clock."""
    found = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    for record in found:
        record.pop("seconds", None)
        record.pop("tokens_per_second", None)
    return found


def start(values: dict, folder: Path, *options: str) -> subprocess.Popen:
    """`seq2seq train` in a process of its own."""
    path = folder / "run.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    command = [sys.executable, "-m", "seq2seq", "train", str(path), "--quiet", *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    for _ in range(1200):
        if path.exists():
            return
        if process.poll() is not None:
            raise AssertionError(process.stderr.read())
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    train(config_from_dict(settings(corpus, output)), quiet=True)
    return output


def assert_same_run(a: Path, b: Path) -> None:
    assert records(a) == records(b)  # bit for bit: JSON keeps doubles exactly
    states = [checkpoints.read(run / "checkpoints" / "last")[1]["progress"] for run in (a, b)]
    assert {**states[0], "seconds": 0} == {**states[1], "seconds": 0}
    for name in ("checkpoints/last/tensors.safetensors", "model/model.safetensors"):
        first, second = load_file(a / name), load_file(b / name)
        assert first.keys() == second.keys()
        for key in first:
            assert torch.equal(first[key], second[key]), (name, key)


def test_it_learns_to_translate(corpus, tmp_path):
    values = settings(
        corpus, tmp_path / "run", max_steps=200, validate_every=100, learning_rate=1e-2,
        warmup_steps=20, accumulation=1, schedule="cosine", ema_decay=0.0,
    )  # fmt: skip
    values["tokenizer"] = {"vocab_size": 37, "byte_fallback": False}
    values["data"]["batch_tokens"] = 512
    values["model"]["decoder"]["hidden_size"] = 64
    values["model"]["dropout"], values["model"]["init_range"] = 0.0, 0.3
    model = train(config_from_dict(values), quiet=True)
    assert sorted(p.name for p in model.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.model",
    ]  # fmt: skip
    translator = Translator.from_pretrained(model)
    assert translator.translate(["a b c", "h e", "d"]) == ["u t s", "w z", "v"]
    progress = checkpoints.read(tmp_path / "run" / "checkpoints" / "last")[1]["progress"]
    assert progress["best"][0][0] > 95  # BLEU of sentences that are not in the training text


def test_kill_9_and_resume_give_the_same_numbers(corpus, tmp_path, uninterrupted):
    output = tmp_path / "run"
    values = settings(corpus, output)
    process = start(values, tmp_path)
    wait_for(output / "checkpoints" / "last", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (output / "model").exists()
    train(config_from_dict(values), quiet=True, resume=True)
    assert_same_run(output, uninterrupted)


def test_resume_in_mid_epoch_and_mid_log_window(corpus, tmp_path, uninterrupted):
    """Stop at step 5: between log lines, validations and epochs."""
    output = tmp_path / "run"
    values = settings(corpus, output)

    from seq2seq.training import loop

    class Killed(Exception):
        pass

    original = loop._Run._after_step

    def stop(run):
        original(run)
        if run.progress.step == 5:
            run._save()
        if run.progress.step == 7:
            raise Killed

    loop._Run._after_step = stop
    try:
        with pytest.raises(Killed):
            train(config_from_dict(values), quiet=True)
    finally:
        loop._Run._after_step = original
    train(config_from_dict(values), quiet=True, resume=True)
    assert_same_run(output, uninterrupted)


def test_fine_tuning_starts_from_a_saved_model(corpus, tmp_path, uninterrupted):
    """At a rate of nearly zero, one step leaves the weights of the model it started from."""
    values = settings(
        corpus, tmp_path / "run", max_steps=1, learning_rate=1e-12, warmup_steps=0,
        start_from=str(uninterrupted / "model"), ema_decay=0.0,
    )  # fmt: skip
    values["tokenizer"]["vocab_size"] = 270  # the model's own tokenizer is used all the same
    model = train(config_from_dict(values), quiet=True)
    first = load_file(uninterrupted / "model" / "model.safetensors")
    for name, tensor in load_file(model / "model.safetensors").items():
        torch.testing.assert_close(tensor, first[name], rtol=0, atol=1e-9)
    values["output"], values["model"]["embedding_size"] = str(tmp_path / "other"), 20
    with pytest.raises(RunError, match=r"start_from .*has shape"):
        train(config_from_dict(values), quiet=True)


def test_ctrl_c_saves_and_exits_130(corpus, tmp_path):
    output = tmp_path / "run"
    process = start(settings(corpus, output, max_steps=5000, validate_every=5000), tmp_path)
    wait_for(output / "log.jsonl", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in errors and "Traceback" not in errors
    state = checkpoints.read(output / "checkpoints" / "last")[1]
    assert state["progress"]["step"] >= 2


def test_a_second_run_in_the_same_folder_is_refused(corpus, uninterrupted):
    with pytest.raises(UsageError, match="holds a run already; --resume"):
        train(config_from_dict(settings(corpus, uninterrupted)), quiet=True)


def test_resume_without_a_run_is_refused(corpus, tmp_path):
    with pytest.raises(UsageError, match="no checkpoint to resume from"):
        train(config_from_dict(settings(corpus, tmp_path / "none")), quiet=True, resume=True)


def test_resume_with_another_model_names_the_key(corpus, uninterrupted):
    values = settings(corpus, uninterrupted)
    values["model"]["embedding_size"] = 24
    with pytest.raises(UsageError, match=r"'model.embedding_size' is 24.*started with 16"):
        train(config_from_dict(values), quiet=True, resume=True)


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(corpus, tmp_path):
    output = tmp_path / "run"
    values = settings(corpus, output, max_steps=4)
    train(config_from_dict(values), quiet=True)
    before = checkpoints.read(output / "checkpoints" / "last")[0]
    from seq2seq.training import loop

    original = loop._Run.restore

    def poisoned(run, folder):
        original(run, folder)
        with torch.no_grad():
            run.model.projection.bias[5] = float("nan")

    loop._Run.restore = poisoned
    try:
        values["training"]["max_steps"] = 8
        with pytest.raises(RunError, match=r"the loss is nan .* at step 5"):
            train(config_from_dict(values), quiet=True, resume=True)
    finally:
        loop._Run.restore = original
    after = checkpoints.read(output / "checkpoints" / "last")[0]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_early_stopping_and_best_k(corpus, tmp_path):
    output = tmp_path / "run"
    values = settings(
        corpus, output, max_steps=400, validate_every=1, patience=3, learning_rate=1e-9,
        keep_best=2, accumulation=1,
    )  # fmt: skip
    train(config_from_dict(values), quiet=True)
    progress = checkpoints.read(output / "checkpoints" / "last")[1]["progress"]
    assert progress["since_best"] == 3  # the score cannot rise at such a rate
    assert progress["step"] < 50
    kept = {f"best-{step}" for _, step in progress["best"]}
    found = {p.name for p in (output / "checkpoints").iterdir()} - {"last"}
    assert found == kept and len(kept) == 2


def test_a_finished_run_goes_on_with_more_epochs(corpus, tmp_path):
    """By epochs: the numbers of a run that was longer from the start, nothing validated twice."""
    runs = []
    for name, limits in (("two", (1, 2)), ("one", (2,))):
        values = settings(
            corpus, tmp_path / name, max_steps=None, validate_every=None, accumulation=1
        )
        values["data"]["batch_tokens"] = 2048
        for number, epochs in enumerate(limits):
            values["training"]["max_epochs"] = epochs
            train(config_from_dict(values), quiet=True, resume=number > 0)
        runs.append(tmp_path / name)
    assert_same_run(*runs)
    steps = [record["step"] for record in records(runs[0]) if "bleu" in record]
    assert len(steps) == len(set(steps)) == 2


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "last"
    checkpoints.write(folder, {"w": torch.ones(3)}, {"step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(RunError, match=r"No space left.*is intact"):
        checkpoints.write(folder, {"w": torch.zeros(3)}, {"step": 2})
    tensors, state = checkpoints.read(folder)
    assert state == {"step": 1} and torch.equal(tensors["w"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_killed_between_the_two_renames(tmp_path):
    folder = tmp_path / "last"
    checkpoints.write(folder, {"w": torch.ones(3)}, {"step": 1})
    folder.rename(tmp_path / ".last.old")
    assert checkpoints.exists(folder)
    assert checkpoints.read(folder)[1] == {"step": 1}


def test_a_damaged_checkpoint_is_named(tmp_path):
    folder = tmp_path / "last"
    checkpoints.write(folder, {"w": torch.ones(3000)}, {"step": 1})
    os.truncate(folder / checkpoints.TENSORS, 200)
    with pytest.raises(RunError, match="last: cannot be read"):
        checkpoints.read(folder)


def test_average_of_checkpoints(tmp_path):
    for name, value in (("a", 1.0), ("b", 4.0)):
        checkpoints.write(tmp_path / name, {"w": torch.full((2,), value)}, {})
    mean = checkpoints.average([tmp_path / "a", tmp_path / "b"])
    assert torch.equal(mean["w"], torch.full((2,), 2.5))


def test_moving_average():
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = MovingAverage(model, 0.5)
    for value in (1.0, 2.0):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(model)
    first = 1 - 2 / 11  # decay (1 + 1) / (10 + 1), then (1 + 2) / (10 + 2)
    expected = 0.25 * first + 0.75 * 2.0
    with average.applied(model):
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 2.0


@pytest.mark.parametrize(
    ("schedule", "step", "plateaus", "expected"),
    [
        ("constant", 5, 0, 0.5),
        ("constant", 500, 0, 1.0),
        ("inverse_sqrt", 10, 0, 1.0),
        ("inverse_sqrt", 40, 0, 0.5),
        ("cosine", 10, 0, 1.0),
        ("cosine", 55, 0, 0.5 + 0.05),
        ("cosine", 100, 0, 0.1),
        ("plateau", 50, 3, 0.125),
    ],
)
def test_schedules(schedule, step, plateaus, expected):
    config = TrainingConfig(
        learning_rate=1.0, warmup_steps=10, schedule=schedule, final_learning_rate=0.1
    )
    assert learning_rate(config, step, 100, plateaus) == pytest.approx(expected)


def _objective_arguments():
    from tests.seq2seq.test_models import batch, make

    model = make(dropout=0.3)
    source, lengths, target = batch()
    output = torch.roll(target, -1, 1)
    output[1, 2:] = -100
    return model, (source, lengths, target, output)


def test_rdrop_is_cross_entropy_plus_divergence():
    model, arguments = _objective_arguments()
    torch.manual_seed(3)
    found = RDrop(model, 0.1, weight=4.0)(*arguments)
    torch.manual_seed(3)
    twice = [torch.cat([t, t]) for t in arguments]
    logits = model.projection(model(*twice[:3]))
    kept = twice[3] != -100
    log_p = torch.log_softmax(logits, -1)
    cross = -(0.9 * log_p.gather(2, twice[3].clamp(min=0).unsqueeze(2)).squeeze(2)[kept]).sum()
    cross = cross - (0.1 / 13 * log_p.sum(2)[kept]).sum()
    p, q = log_p[:3][kept[:3]], log_p[3:][kept[3:]]
    divergence = (p.exp() * (p - q)).sum() + (q.exp() * (q - p)).sum()
    # the divergence is taken in fp32
    torch.testing.assert_close(found, cross / 2 + divergence, rtol=1e-5, atol=1e-5)


def test_rdrop_without_dropout_is_cross_entropy():
    model, arguments = _objective_arguments()
    a = RDrop(model, 0.1, 5.0).eval()(*arguments)
    b = CrossEntropy(model, 0.1).eval()(*arguments)
    torch.testing.assert_close(a, b)
