"""The training loop: what it learns, exact resume, and that nothing saved is ever lost."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seq2seq.config import config_from_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.translation.translator import Translator
from seq2seq.training import checkpoints
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume, records, start, wait_for

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


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    train(config_from_dict(settings(corpus, output)), quiet=True)
    return output


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


def test_the_schedule_begins_anew_after_the_epochs_of_restarts(corpus, tmp_path):
    values = settings(
        corpus, tmp_path / "run", max_epochs=3, max_steps=None, restarts=[1], schedule="cosine",
        log_every=1, validate_every=None, warmup_steps=2, accumulation=3,
    )  # fmt: skip
    train(config_from_dict(values), quiet=True)
    rates = [row["learning_rate"] for row in records(tmp_path / "run") if "learning_rate" in row]
    steps = len(rates) // 3
    assert steps > 4 and len(rates) == 3 * steps
    for one in (rates[:steps], rates[steps:]):  # where a cosine ends; and its last step learns
        assert one[-1] == min(one) and 0 < one[-1] < 0.1 * max(one)
    peak = max(rates)
    assert rates[:2] == rates[steps : steps + 2] == [peak / 2, peak]
    assert rates[3] < rates[steps + 3]  # the second one is twice as long


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"restarts": [5], "max_epochs": 5}, "expected rising numbers of epochs"),
        ({"restarts": [3, 2]}, "expected rising numbers of epochs"),
        ({"restarts": [0]}, "expected rising numbers of epochs"),
        ({"restarts": [2], "schedule": "plateau"}, "cannot go together"),
    ],
)
def test_restarts_outside_the_run(corpus, tmp_path, training, message):
    with pytest.raises(UsageError, match=message):
        config_from_dict(settings(corpus, tmp_path / "run", **training))


def test_a_stream_has_no_restarts(corpus, tmp_path):
    values = settings(corpus, tmp_path / "run", restarts=[2])
    values["data"]["streaming"] = True
    with pytest.raises(UsageError, match=r"'training.restarts' counts epochs"):
        config_from_dict(values)


def test_kill_9_and_resume_give_the_same_numbers(corpus, tmp_path, uninterrupted):
    output = tmp_path / "run"
    values = settings(corpus, output)
    kill_and_resume(values, tmp_path)
    assert_same_run(output, uninterrupted)


def test_resume_in_mid_epoch_and_mid_log_window(corpus, tmp_path, uninterrupted):
    """Stop at step 5: between log lines, validations and epochs."""
    output = tmp_path / "run"
    _stop_at_7_and_resume(settings(corpus, output))
    assert_same_run(output, uninterrupted)


def test_training_on_drawn_translations_resumes(corpus, tmp_path, uninterrupted):
    reward = {
        "objective": "self_critical", "samples": 3, "max_steps": 9,
        "start_from": str(uninterrupted / "model"),
    }  # fmt: skip
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config_from_dict(settings(corpus, whole, **reward)), quiet=True)
    _stop_at_7_and_resume(settings(corpus, stopped, **reward))
    assert_same_run(stopped, whole)


def _stop_at_7_and_resume(values: dict) -> None:
    """A run that saves at step 5 and is stopped at step 7, resumed to its end."""
    from seq2seq.training import loop

    class Killed(Exception):
        pass

    original = loop._Run._after_step

    def stop(run):
        original(run)
        if run.state.progress.step == 5:
            run._save()
        if run.state.progress.step == 7:
            raise Killed

    loop._Run._after_step = stop
    try:
        with pytest.raises(Killed):
            train(config_from_dict(values), quiet=True)
    finally:
        loop._Run._after_step = original
    train(config_from_dict(values), quiet=True, resume=True)


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
    with pytest.raises(UsageError, match=r"start_from .*'model.embedding_size' is \d+, here 20"):
        train(config_from_dict(values), quiet=True)


def test_ctrl_c_saves_and_exits_130(corpus, tmp_path):
    output = tmp_path / "run"
    process = start(settings(corpus, output, max_steps=5000, validate_every=5000), tmp_path)
    wait_for(output / "log.jsonl", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in errors and "Traceback" not in errors
    # what happens before the first step is told, in order
    told = [errors.index(text) for text in ("reading ", "learning 278 subwords", "tokenising 600")]
    assert told == sorted(told) and told[-1] < errors.index("parameters; ")
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

    def poisoned(run, folder, allow_changes):
        original(run, folder, allow_changes)
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
