"""A run remembers what it read and ran with: --resume refuses other data, libraries, precision or
backend, and --allow-changes goes on and says so. The environment changes no numbers."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

from seq2seq import registry
from seq2seq.config import config_to_dict
from seq2seq.config.reading import paths_of, set_dotted
from seq2seq.errors import UsageError
from seq2seq.training.inputs import check_same_inputs, inputs_of
from tests.seq2seq.config.test_overrides import PATH_KEYS
from tests.seq2seq.running import records

SHORT = ("--training.max_steps", "2", "--training.validate_every", "2", "--training.log_every", "1")


@pytest.fixture
def begun(toy, run):
    """A toy run of two steps; what resumes it."""

    def resume(*options):
        more = ("--training.max_steps", "3", "--training.validate_every", "2",
                "--training.log_every", "1")  # fmt: skip
        return run("train", "toy.yaml", "--quiet", "--output", "a", *more, "--resume", *options)

    status, _, err = run("train", "toy.yaml", "--quiet", "--output", "a", *SHORT)
    assert status == 0, err
    return resume


def change_value():
    text = Path("numbers.txt").read_text()
    Path("numbers.txt").write_text("2" + text[1:])  # as many bytes


def change_size():
    with open("numbers.txt", "a") as file:
        file.write("\n9.0")


def test_the_same_data_resumes(begun):
    os.utime("numbers.txt", (1, 1))  # a copy has another time
    status, _, err = begun()
    assert status == 0 and "warning" not in err


@pytest.mark.parametrize("change", [change_value, change_size])
def test_other_data_is_refused_or_said(begun, change):
    change()
    status, _, err = begun()
    assert status == 2 and "'data.train': numbers.txt has changed since the run was started" in err
    status, _, err = begun("--allow-changes")
    assert status == 0 and "has changed" in err and "going on, as --allow-changes asks" in err
    status, _, err = begun()  # the data it went on with is what it knows now
    assert status == 0 and "has changed" not in err


def test_another_library_backend_or_precision_is_refused(begun, monkeypatch):
    version = metadata.version
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", lambda n: "0.1" if n == "numpy" else version(n))
        status, _, err = begun()
        assert status == 2 and "the version of numpy is 0.1, the run was started with" in err
    with monkeypatch.context() as patch:
        patch.setenv("KERNELS_BACKEND", "reference")
        status, _, err = begun()
        assert status == 2 and "the backend is reference, the run was started with auto" in err
    with monkeypatch.context() as patch:  # as training.precision: auto on another machine
        patch.setattr("seq2seq.training.environment.mixed_precision", lambda *_: "bf16")
        status, _, err = begun()
        assert status == 2 and "the precision is bf16, the run was started with fp32" in err


@pytest.mark.parametrize(("first", "then"), [("", "torch"), ("torch", "auto")])
def test_two_names_of_what_runs_on_a_cpu_are_no_change(toy, run, monkeypatch, first, then):
    for backend, more in ((first, ()), (then, ("--resume", "--training.max_steps", "3"))):
        monkeypatch.setenv("KERNELS_BACKEND", backend)
        status, _, err = run("train", "toy.yaml", "--quiet", "--output", "a", *SHORT, *more)
        assert status == 0 and "warning" not in err, err


def test_a_run_of_before_resumes_with_a_warning(begun):
    Path("a/inputs.json").unlink()
    status, _, err = begun()
    assert status == 0 and "warning: the run was started by a version that kept no" in err
    assert Path("a/inputs.json").exists()


def test_allow_changes_without_resume_is_refused(toy, run):
    status, _, err = run("train", "toy.yaml", "--allow-changes")
    assert status == 2 and "goes with --resume" in err


def test_accelerates_variables_change_no_numbers(toy, run, monkeypatch):
    for name in ("plain", "others"):
        if name == "others":
            monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
            monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
            monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "inductor")
        status, _, err = run("train", "toy.yaml", "--quiet", "--output", name, *SHORT)
        assert status == 0
        told = [line for line in err.splitlines() if "is not followed" in line]
        assert len(told) == (3 if name == "others" else 0)
    assert records(toy / "plain") == records(toy / "others")
    weights = [
        (toy / name / "model" / "model.safetensors").read_bytes() for name in ("plain", "others")
    ]
    assert weights[0] == weights[1]
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"  # children are told as we were


@pytest.mark.parametrize(("task", "key"), PATH_KEYS)
def test_every_file_that_a_configuration_names_is_remembered(tmp_path, task, key):
    """A file, a pattern, the languages and splits, and a folder, which counts as one."""
    (tmp_path / "f.txt").write_text("one")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.en").write_text("two")
    (tmp_path / "d" / "train.en").write_text("three")
    for text in ("f.txt", "*.txt", "d/x.{lang}", "d/{split}.en", "d"):
        config = registry.load(registry.TASKS[task].config)()
        values: dict = {}
        set_dotted(type(config), values, key, str(tmp_path / text))
        for section, inner in values.items():
            if isinstance(inner, dict):
                for name, value in inner.items():
                    setattr(getattr(config, section), name, value)
            else:
                setattr(config, section, inner)
        assert key in [one[0] for one in paths_of(config)]
        if key in ("output", "data.cache_dir"):
            assert key not in inputs_of(config, {})["files"]
            return
        if "{lang}" in text and task != "translation":
            continue
        before = inputs_of(config, {})
        keys = ("data.train", "data.validation", "data.test", "data.images")
        listed = task == "captioning" and key in keys
        if listed and text == "d":
            continue
        assert len(before["files"][key]) == (2 if listed and "*" not in text else 1)
        path = tmp_path / "inputs.json"
        check_same_inputs(path, json.loads(json.dumps(before)), resume=False, allow=False)
        check_same_inputs(path, inputs_of(config, {}), resume=True, allow=False)
        changed = tmp_path / {"f.txt": "f.txt", "*.txt": "f.txt", "d/x.{lang}": "d/x.en",
                              "d/{split}.en": "d/train.en", "d": "d/x.en"}[text]  # fmt: skip
        held = changed.read_text()
        changed.write_text(held[::-1])
        if key.startswith("data.") and key != "data.test":
            with pytest.raises(UsageError, match="has changed since the run was started"):
                check_same_inputs(path, inputs_of(config, {}), resume=True, allow=False)
        changed.write_text(held)
    assert config_to_dict(config)["task"] == task


@pytest.mark.parametrize("name", ["", "metadata.jsonl", "any name.csv"])
def test_images_are_remembered_with_the_file_that_lists_them(tmp_path, name):
    """The run itself and other files may lie beside them."""
    (tmp_path / "metadata.jsonl").write_text("{}")
    (tmp_path / "any name.csv").write_text("a,b")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "x.JPG").write_bytes(b"one")
    config = registry.load(registry.TASKS["captioning"].config)()
    config.data.train, config.output = str(tmp_path / name), str(tmp_path / "run")
    before = inputs_of(config, {})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "drawing.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    assert inputs_of(config, {}) == before
    for path in (tmp_path / "below" / "x.JPG", tmp_path / (name or "metadata.jsonl")):
        held = path.read_bytes()
        path.write_bytes(b"two")
        assert inputs_of(config, {}) != before
        path.write_bytes(held)
    assert inputs_of(config, {}) == before


def test_a_pipe_is_no_data_of_a_run(toy, run):
    """It would be empty after the digest was taken, or keep the run waiting."""
    os.mkfifo("pipe")
    status, _, err = run("train", "toy.yaml", "--quiet", "--output", "p", "--data.train", "pipe")
    assert status == 2 and "pipe: is no file but a pipe or a device" in err
