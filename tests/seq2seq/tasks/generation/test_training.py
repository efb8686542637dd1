"""Training a language model by the shared loop: learning, exact resume, refusals."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
import torch

from seq2seq import TextGenerator, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.generation.stream import StreamedWindows
from seq2seq.text.vocabulary import train_units
from seq2seq.training import checkpoints
from seq2seq.training.averages import TriggeredAverage
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume, records


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Sums that a small model can learn."""
    folder = tmp_path_factory.mktemp("text")
    random.seed(0)
    pairs = [(random.randint(0, 4), random.randint(0, 4)) for _ in range(1500)]
    path = folder / "sums.txt"
    path.write_text("".join(f"{a} and {b} make {a + b}\n" for a, b in pairs))
    return path


def settings(text, output, **training) -> dict:
    return {
        "task": "generation",
        "output": str(output),
        "data": {"train": str(text), "batch_size": 8, "bptt": 20},
        "model": {"hidden_size": 24, "embedding_size": 8, "hidden_dropout": 0.1},
        "training": {
            "max_epochs": 100, "max_steps": 60, "log_every": 7, "validate_every": 20,
            "warmup_steps": 4, "threads": 1, "device": "cpu", "precision": "fp32",
            "ema_decay": 0.9, "accumulation": 2, "keep_best": 2, "average": True,
            "reset_rate": 0.2, "variable_bptt": True, **training,
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(text, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "run"
    train(config_from_dict(settings(text, output)), quiet=True)
    return output


def test_it_learns_to_write(text, tmp_path):
    values = settings(
        text, tmp_path / "run", max_steps=500, validate_every=100, learning_rate=1e-2,
        accumulation=1, ema_decay=0.0, variable_bptt=False, reset_rate=0.0,
    )  # fmt: skip
    values["model"] |= {"hidden_size": 64, "layers": 1, "hidden_dropout": 0.0}
    values["data"]["test"] = str(text)
    model = train(config_from_dict(values), quiet=True)
    generator = TextGenerator.from_pretrained(model)
    lines = generator.generate("2 and 2 make ", temperature=0, max_length=100).split("\n")
    assert lines[0] == "4"
    for line in lines[1:-1]:
        a, _, b, _, c = line.split()
        assert int(a) + int(b) == int(c)
    last = [r for r in records(tmp_path / "run") if "validation_loss" in r][-1]
    assert last["bits_per_character"] == pytest.approx(last["validation_loss"] / 0.6931, rel=1e-3)
    assert last["bits_per_character"] < 0.6
    assert "On the test text" in (model / "README.md").read_text()
    assert sorted(p.name for p in model.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "units.json",
    ]  # fmt: skip


def test_kill_9_and_resume_give_the_same_numbers(text, tmp_path, uninterrupted):
    output = tmp_path / "run"
    values = settings(text, output)
    kill_and_resume(values, tmp_path)
    assert_same_run(output, uninterrupted)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_resume_in_mid_epoch_carries_the_state(text, tmp_path, uninterrupted, direction):
    from seq2seq.training import loop

    output = tmp_path / "run"
    values = settings(text, output)
    if direction != "forward":
        values["model"]["direction"], values["data"]["documents"] = direction, "line"
        values["training"] |= {"sampled_softmax": 3, "max_steps": 20}
        uninterrupted = tmp_path / "whole"
        train(config_from_dict({**values, "output": str(uninterrupted)}), quiet=True)
    original = loop._Run._after_step

    class Killed(Exception):
        pass

    def stop(run):
        original(run)
        if run.state.progress.step == 5:
            run._save()
        if run.state.progress.step == 9:
            raise Killed

    loop._Run._after_step = stop
    try:
        with pytest.raises(Killed):
            train(config_from_dict(values), quiet=True)
    finally:
        loop._Run._after_step = original
    saved = checkpoints.read(output / "checkpoints" / "last")[0]
    assert saved["carried.hidden.0"].shape == (1, 8, 24)
    train(config_from_dict(values), quiet=True, resume=True)
    assert_same_run(output, uninterrupted)


def test_fine_tuning_takes_weights_and_units(text, tmp_path, uninterrupted):
    other = tmp_path / "other.txt"
    other.write_text("3 and 3 make 6\n" * 40)
    values = settings(other, tmp_path / "run", start_from=str(uninterrupted / "model"), max_steps=2)
    model = train(config_from_dict(values), quiet=True)
    units = TextGenerator.from_pretrained(model).units
    assert units.files() == TextGenerator.from_pretrained(uninterrupted / "model").units.files()
    values["output"], values["units"] = str(tmp_path / "bytes"), {"kind": "bytes"}
    with pytest.raises(UsageError, match=r"units.kind is bytes; .*has characters: set 'units.kind"):
        train(config_from_dict(values), quiet=True)


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("model", "direction", "backward", "its 'model.direction' is forward, here backward"),
        ("data", "documents", "line", "its 'data.documents' is none, here line"),
    ],
)
def test_fine_tuning_reads_as_the_first_model_did(
    text, tmp_path, uninterrupted, section, key, value, told
):
    start = str(uninterrupted / "model")
    values = settings(text, tmp_path / "run", start_from=start, max_steps=2)
    values[section][key] = value
    with pytest.raises(UsageError, match=told):
        train(config_from_dict(values), quiet=True)


def test_what_does_nothing_is_told(text, tmp_path, capsys):
    values = settings(text, tmp_path / "run", max_steps=2, patience=None)
    values["units"] = {"lowercase": True}
    values["data"] |= {"streaming": True, "validation": None, "validation_share": 0.1}
    train(config_from_dict(values), quiet=True)
    said = capsys.readouterr().err
    assert "no validation: 'data.validation_share' parts text from" in said
    assert "note: 'units.lowercase' does nothing where 'units.kind' is characters" in said


def test_resume_with_another_window_names_the_key(text, uninterrupted):
    values = settings(text, uninterrupted)
    values["data"]["bptt"] = 21
    with pytest.raises(UsageError, match=r"'data.bptt' is 21.*started with 20"):
        train(config_from_dict(values), quiet=True, resume=True)


@pytest.mark.parametrize("kind", ["bytes", "subwords", "words"])
@pytest.mark.parametrize("documents", ["none", "line"])
def test_every_kind_of_unit_and_document(text, tmp_path, kind, documents):
    values = settings(text, tmp_path / "run", max_steps=4, validate_every=4, accumulation=1)
    values["units"] = {"kind": kind, "vocab_size": 280}
    values["data"]["documents"] = documents
    model = train(config_from_dict(values), quiet=True)
    generator = TextGenerator.from_pretrained(model)
    assert isinstance(generator.generate("1 and", seed=1, max_length=5), str)
    assert generator.has_end == (documents == "line")
    record = [r for r in records(tmp_path / "run") if "validation_loss" in r][-1]
    assert 0 < record["validation_loss"] < 8


@pytest.mark.parametrize("optimizer", ["sgd", "asgd", "adam"])
@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_optimizers_and_schedules(text, tmp_path, optimizer, schedule):
    values = settings(
        text, tmp_path / "run", max_steps=12, validate_every=3, accumulation=1, ema_decay=0.0,
        optimizer=optimizer, schedule=schedule, learning_rate=1e-3, asgd_patience=1,
        activation_regularization=2.0, temporal_activation_regularization=1.0,
    )  # fmt: skip
    train(config_from_dict(values), quiet=True)
    assert all(r["validation_loss"] < 8 for r in records(tmp_path / "run") if "bits" in str(r))


def test_averaging_begins_when_the_score_stagnates():
    model = torch.nn.Linear(1, 1, bias=False)
    average = TriggeredAverage(model, patience=2)

    def step(value):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(model)

    step(1.0)
    assert not any(average.observe(score, model) for score in (-5.0, -4.0, -4.5))
    with average.applied(model):
        assert model.weight.item() == 1.0
    assert not average.observe(-4.2, model)  # no worse than the best more than two before
    assert average.observe(-4.1, model)  # worse than -4.0
    for value in (2.0, 4.0, 6.0):
        step(value)
    with average.applied(model):
        assert model.weight.item() == pytest.approx(4.0)
    assert model.weight.item() == 6.0
    other = TriggeredAverage(model, patience=2)
    other.load(average.state())
    assert (other.steps, other.triggered, other.scores) == (3, True, average.scores)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no text"),
        (b"\n", "holds no text"),
        (b"a", "too short"),
        (b"ok \xff\n", r"byte offset 3, line 1: 0xff"),
    ],
)
def test_texts_that_cannot_be_trained_on(tmp_path, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        train(config_from_dict(settings(path, tmp_path / "run")), quiet=True)


@pytest.mark.parametrize("content", ["one line, no more", "short\ntext\n", "ab"])
def test_a_short_text_is_read_in_fewer_streams(tmp_path, content, capsys):
    path = tmp_path / "text.txt"
    path.write_text(content)
    values = settings(path, tmp_path / "run", max_steps=2, validate_every=2)
    values["data"] |= {"bptt": 500, "batch_size": 64}
    if content == "ab":
        values["data"]["validation_share"] = 0.0
    model = train(config_from_dict(values), quiet=True)
    assert "1 streams (not 64: the text is short)" in capsys.readouterr().err
    assert TextGenerator.from_pretrained(model).generate(content[:2], max_length=3, seed=1)


def test_validation_of_one_unit_is_named(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij")
    with pytest.raises(UsageError, match="validation text has 1 unit"):
        train(config_from_dict(settings(path, tmp_path / "run")), quiet=True)


@pytest.mark.slow
def test_two_processes_share_the_streams_and_resume(text, tmp_path):
    def launch(output, *options):
        path = tmp_path / "run.yaml"
        values = settings(text, output, max_steps=12, validate_every=6, reset_rate=0.0)
        values["training"]["schedule"] = "constant"
        path.write_text(json.dumps(values))  # JSON is YAML
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
        command += ["-m", "seq2seq", "train", str(path), "--quiet", *options]
        subprocess.run(command, check=True, capture_output=True)

    launch(tmp_path / "whole")
    launch(tmp_path / "parts", "--training.max_steps", "6")
    launch(tmp_path / "parts", "--resume", "--training.max_steps", "12")
    whole, parts = (
        [r for r in records(tmp_path / name) if "validation_loss" in r]
        for name in ("whole", "parts")
    )
    assert whole[0]["step"] == 6 and len(whole) == 2
    assert parts == whole
    saved = checkpoints.read(tmp_path / "parts" / "checkpoints" / "last")[0]
    assert saved["carried.hidden.0"].shape == (2, 4, 24)


def test_a_stream_of_bytes_is_read_as_it_is(tmp_path):
    """Also what is no UTF-8, a byte order mark, and line ends of Windows."""
    path, content = tmp_path / "raw.txt", b"\xef\xbb\xbfab\xff\xfec\r\nde\r\n" * 40
    path.write_bytes(content)
    values = settings(path, tmp_path / "run", max_steps=3, validate_every=3)
    values["units"] = {"kind": "bytes"}
    values["data"] |= {
        "train": str(path), "validation": str(path), "documents": "none", "streaming": True,
        "batch_size": 1, "bptt": 10**6, "shuffle_buffer": 10**6,
    }  # fmt: skip
    config = config_from_dict(values)
    streamed = StreamedWindows(config, 0, 1)
    streamed.use(train_units([], config.units))
    windows = list(streamed.epoch(0))
    read = [window.inputs.flatten().tolist() for window in windows]
    offset = read[0][0] - content[0]
    assert bytes(unit - offset for part in read for unit in part) == content[:-1]


@pytest.mark.parametrize("seed", [0, 3])
def test_a_run_takes_the_steps_that_its_schedule_counts(text, tmp_path, capsys, seed):
    """Though each epoch begins its windows elsewhere."""
    values = settings(
        text, tmp_path / "run", max_epochs=4, max_steps=None, schedule="cosine", log_every=1,
        validate_every=None, variable_bptt=False, accumulation=1,
    )  # fmt: skip
    values["data"] |= {"batch_size": 64, "bptt": 128}
    values["seed"] = seed
    train(config_from_dict(values), quiet=True)
    steps = [r for r in records(tmp_path / "run") if "learning_rate" in r]
    assert f"at most {len(steps)} steps" in capsys.readouterr().err
    assert 0 < steps[-1]["learning_rate"] < 0.1 * steps[len(steps) // 2]["learning_rate"]
