"""The command line as a whole: help, mistakes, exit statuses, train, plot."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from seq2seq.errors import RunError
from tests.seq2seq.running import HEAVY, heavy_modules_after

# ----------------------------------------------------------------------- start, help, mistakes


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["translate", "model", "--beam", "5"], 2),
        (["train", "no-such.yaml", "--training.max_step", "5"], 2),
        (["train", "no-such.yaml"], 2),
        (["evaluate", "--reference", "x"], 2),
    ],
)
def test_nothing_heavy_is_imported_for_help_and_mistakes(arguments, status):
    assert heavy_modules_after(*arguments) == f"{status} []"


def test_import_of_the_package_is_light():
    code = f"import seq2seq, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unknown_name_in_the_package():
    import seq2seq

    assert "Translator" in dir(seq2seq)
    with pytest.raises(AttributeError, match="Translater"):
        _ = seq2seq.Translater


@pytest.mark.parametrize("command", ["train", "translate", "evaluate", "plot"])
def test_each_command_has_help(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert f"usage: seq2seq {command}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translate", "m", "--beamsize", "5"], "unknown option --beamsize; did you mean --beam"),
        (["translate", "m", "more"], "unexpected argument 'more'"),
        (["translate", "m", "--beam-size", "0"], "'0' is no whole number of at least 1"),
        (["translate", "m", "--length-penalty", "nan"], "'nan' is no number of at least 0"),
        (["translate", "m", "--precision", "fp8"], "invalid choice: 'fp8'"),
        (["translate"], "the following arguments are required: MODEL"),
        (["translat"], "unknown command 'translat'; did you mean translate?"),
        (["xyz"], "unknown command 'xyz'; there are: train, translate,"),
        (["train", "c.yaml", "--resum"], "unknown option --resum; did you mean --resume?"),
        (["train", "c.yaml", "--max_steps", "5"], "did you mean --training.max_steps?"),
        (["train", "c.yaml", "--trainin.max_step=5"], "did you mean --training.max_steps?"),
        (["train", "c.yaml", "--training.max_steps"], "--training.max_steps needs a value"),
        (["train", "no.yaml"], "config no.yaml: cannot be read"),
    ],
)
def test_wrong_use_is_named_and_exits_with_2(run, arguments, message):
    status, out, err = run(*arguments)
    assert status == 2
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_no_command_prints_the_help(run):
    status, out, _ = run()
    assert status == 2
    assert "translate" in out


def test_help_after_another_option(run):
    for arguments in (["--version", "--help"], ["-h", "--help"]):
        status, out, _ = run(*arguments)
        assert status == 0 and "commands:" in out


def test_version(run):
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("seq2seq ")


# --------------------------------------------------------------------------------------- train


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """What the training loop is called with."""
    import seq2seq.training.loop

    calls = []

    def train(config, *, quiet, resume, allow_changes):
        calls.append((config, quiet, resume))
        return tmp_path / "model"

    monkeypatch.setattr(seq2seq.training.loop, "train", train)
    return calls


def test_overrides_in_both_spellings(run, tmp_path, trained):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\ntraining:\n  max_steps: 7\n")
    status, out, err = run(
        "train", "--training.max_steps", "9", path, "--seed=2", "--data.filter.max_length=50",
        "--training.learning_rate", "1e-4", "--output", "runs/x=y", "--quiet",
    )  # fmt: skip
    assert (status, err) == (0, "")
    ((config, quiet, resume),) = trained
    assert (config.training.max_steps, config.seed, config.output) == (9, 2, "runs/x=y")
    assert config.data.filter.max_length == 50
    assert config.training.learning_rate == 1e-4
    assert (quiet, resume) == (True, False)
    assert str(tmp_path / "model") in out


def test_resume(run, tmp_path, trained):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\n")
    assert run("train", path, "--resume")[0] == 0
    assert trained[0][1:] == (False, True)


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("trainin:\n  max_steps: 5\n", [], "unknown key 'trainin'; did you mean 'training'?"),
        ("seed: many\n", [], "'seed' is 'many'; expected a whole number"),
        ("seed: 1\n", ["--seed", "x"], "'seed' is 'x'; expected a whole number"),
        ("seed: [\n", [], "not valid YAML"),
    ],
)
def test_bad_configuration(run, tmp_path, trained, text, arguments, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    status, _, err = run("train", path, *arguments)
    assert (status, trained) == (2, [])
    assert message in err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RunError("loss is NaN at step 3"), 1, "seq2seq: loss is NaN at step 3\n"),
        (KeyboardInterrupt(), 130, "seq2seq: interrupted\n"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
    ],
)
def test_exit_status_of_failures(run, tmp_path, monkeypatch, error, status, message):
    import seq2seq.training.loop

    def train(config, *, quiet, resume, allow_changes):
        raise error

    monkeypatch.setattr(seq2seq.training.loop, "train", train)
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\n")
    found, _, err = run("train", path)
    assert found == status
    assert message in err and "Traceback" not in err


# ---------------------------------------------------------------------------------------- plot


def test_plot(run, tmp_path):
    pytest.importorskip("matplotlib")
    entries = [{"step": step, "loss": 9.0 - step} for step in range(5)]
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (tmp_path / "log.jsonl").write_text(lines)
    status, out, _ = run("plot", tmp_path)
    assert status == 0
    assert out == f"{tmp_path / 'learning_curve.png'}\n"
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert run("plot", tmp_path, "--output", tmp_path / "other.png")[0] == 0
    assert (tmp_path / "other.png").exists()


def test_plot_of_no_run(run, tmp_path):
    status, _, err = run("plot", tmp_path)
    assert status == 2
    assert "log.jsonl: cannot be read" in err
