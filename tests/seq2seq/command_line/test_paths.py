"""Names of files and folders in every command: ``~`` and names that are not UTF-8; and a standard
output that is not UTF-8."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path

import pytest

from seq2seq import registry
from seq2seq.cli import all_commands, build_parser, main
from seq2seq.command_line.files import write_utf8
from seq2seq.command_line.paths import FILES, FOLDERS, normalise_paths
from seq2seq.config import load_config
from seq2seq.errors import RunError, UsageError
from seq2seq.training.loop import train
from tests.seq2seq.saved.models import make

LATIN = os.fsdecode(b"b\xe4r")
SHORT = ("--training.max_steps", "2", "--training.validate_every", "2")


@pytest.fixture
def home(toy, monkeypatch):
    monkeypatch.setenv("HOME", str(toy / "home"))
    (toy / "home").mkdir()
    return toy / "home"


def path_actions():
    parser, commands = build_parser(all_commands())
    assert parser
    return [
        pytest.param(command, action.dest, id=f"{name} {action.dest}")
        for name, command in commands.items()
        for action in command._actions
        if action.metavar in FILES | FOLDERS
    ]


@pytest.mark.parametrize(("parser", "name"), path_actions())
def test_every_option_that_names_a_file_knows_the_home_folder(monkeypatch, parser, name):
    monkeypatch.setenv("HOME", "/the/home")
    names = {action.dest for action in parser._actions if action.metavar in FILES | FOLDERS}
    options = argparse.Namespace(**dict.fromkeys(names))
    for value, expected in (("~/a", "/the/home/a"), ("a/~", "a/~"), (None, None),
                            (Path("~/a"), Path("/the/home/a")),
                            (["~/a", "b"], ["/the/home/a", "b"])):  # fmt: skip
        setattr(options, name, value)
        normalise_paths(parser, options)
        assert getattr(options, name) == expected


def test_every_option_that_is_a_path_is_known_by_its_metavar():
    """A new option whose metavar is new would be left out of the test above."""
    words = "SET TASK SHELL TEXT N K X P NAME NAMES NAME=WHERE PHRASE ACTION LIST ORIGIN ..."
    known = FILES | FOLDERS | set(words.split())
    _, commands = build_parser(all_commands())
    found = {a.metavar for command in commands.values() for a in command._actions if a.metavar}
    assert found <= known, found - known


def test_a_run_in_the_home_folder(home, toy, run):
    """By option, YAML file and Python; no folder named ~ appears."""
    text = (toy / "toy.yaml").read_text() + "output: ~/in yaml\n"
    (toy / "toy.yaml").write_text(text)
    (toy / "numbers.txt").rename(home / "n.txt")
    data = ("--data.train", "~/n.txt", "--quiet")
    assert run("train", "toy.yaml", *SHORT, *data)[0] == 0
    assert run("train", "toy.yaml", "--output=~/by option", *SHORT, *data)[0] == 0
    config = load_config("toy.yaml", {"training.max_steps": "2"})
    config.output, config.data.train = "~/python", "~/n.txt"
    train(config, quiet=True)
    for name in ("in yaml", "by option", "python"):
        assert (home / name / "model" / "config.json").exists()
    user = registry.load(registry.TASKS["toy"].user).from_pretrained("~/python/model")
    user.save_pretrained("~/again")
    assert (home / "again" / "config.json").exists()
    assert run("foretell", "~/again", "3")[0] == 0
    assert not (toy / "~").exists()


@pytest.mark.parametrize("key", ["output", "data.train"])
def test_a_name_that_is_not_utf8_is_refused_before_training(toy, run, key):
    (toy / LATIN).write_text((toy / "numbers.txt").read_text())
    status, _, err = run("train", "toy.yaml", f"--{key}", toy / LATIN, *SHORT)
    assert status == 2 and f"'{key}' is " in err and "not UTF-8" in err
    assert not (toy / "runs").exists()
    config = load_config("toy.yaml")
    config.output = LATIN
    with pytest.raises(UsageError, match="not UTF-8"):
        train(config, quiet=True)


def test_what_the_end_cannot_write_stops_the_beginning(toy, run, monkeypatch):
    (toy / "a").mkdir()
    (toy / "a" / "model").write_text("")
    status, _, err = run("train", "toy.yaml", "--output", "a", *SHORT)
    assert status == 2 and "a/model is a file" in err
    (toy / "b" / "model" / "README.md").mkdir(parents=True)
    status, _, err = run("train", "toy.yaml", "--output", "b", *SHORT)
    assert status == 2 and "README.md is a folder where a file is to be written" in err

    def fails(*_):
        raise RunError("the card cannot be written")

    user = registry.load(registry.TASKS["toy"].user)
    monkeypatch.setattr(user, "_card", fails)
    status, _, err = run("train", "toy.yaml", "--output", "c", *SHORT)
    assert status == 1 and "the card cannot be written" in err
    assert not list(toy.glob("*/checkpoints")) and not list(toy.glob("*/.model*"))


@pytest.fixture
def ascii_stdout(monkeypatch):
    """Begins a standard output whose encoding holds ASCII alone, strictly; gives its bytes."""

    def begin():
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
        return raw

    return begin


@pytest.mark.parametrize(
    ("text", "expected"),
    [("é 日本 😀", "é 日本 😀".encode()), (LATIN, b"b\xe4r"), ("half \ud83d pair", b"half ? pair")],
)
def test_text_is_written_as_utf8(ascii_stdout, text, expected):
    raw = ascii_stdout()
    write_utf8(sys.stdout)
    print(text, flush=True)
    assert raw.getvalue() == expected + b"\n"


def test_commands_write_utf8_whatever_the_output_says(toy, ascii_stdout, monkeypatch):
    raw = ascii_stdout()
    assert main(["train", "toy.yaml", "--quiet", "--output", "läuft", *SHORT]) == 0
    pytest.importorskip("matplotlib")
    assert main(["plot", "läuft"]) == 0
    Path("läuft").rename(LATIN)
    assert main(["plot", LATIN]) == 0
    lines = raw.getvalue().splitlines()
    assert lines[0] == "model saved: läuft/model".encode()
    assert lines[1] == "läuft/learning_curve.png".encode()
    assert lines[2] == b"b\xe4r/learning_curve.png"


def test_captions_and_text_are_utf8_too(ascii_stdout, tmp_path):
    image = pytest.importorskip("PIL.Image")
    make("captioning").save_pretrained(tmp_path / "c")
    make("generation").save_pretrained(tmp_path / "g")
    image.new("RGB", (40, 40)).save(tmp_path / "é.png")
    raw = ascii_stdout()
    assert main(["caption", str(tmp_path / "c"), str(tmp_path / "é.png"), "--device", "cpu"]) == 0
    assert "é.png\t".encode() in raw.getvalue()
    assert main(["generate", str(tmp_path / "g"), "--prompt", "é日", "--max-length", "3"]) == 0
    assert "é日".encode() in raw.getvalue()


def test_an_address_is_no_image(run, tmp_path):
    status, _, err = run("caption", tmp_path, "https://example.org/a//b.jpg")
    assert status == 2
    assert "https://example.org/a//b.jpg: an address; images are read from files" in err
