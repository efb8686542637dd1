"""Pipes are inputs: whatever a command reads from a file it reads from /dev/stdin and from
<(...), too, with the same result."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from seq2seq.cli import all_commands, build_parser
from seq2seq.config import config_from_dict
from seq2seq.text.files import is_stream
from tests.seq2seq.saved.models import make
from tests.seq2seq.tasks.forecasting.models import make_forecaster, make_series

LINES = "a dog\nab cab\n"
COLUMNS = "Ann B-PER\nsaw O\n\nRome B-LOC\n"
TSV = "good\tab\nbad\tba\n"
CSV = 'text,label\n"a, b",good\nba,bad\n'
JSONL = '{"text": "ab", "label": "good"}\n{"text": "ba", "label": "bad"}\n'
SERIES = "id,time,x,label\n1,0,0.5,good\n1,1,1.5,good\n2,0,2,bad\n"
SERIES_JSON = '{"values": [[0.5], [1.5]], "label": "good"}\n{"values": [[2]], "label": "bad"}\n'

# command, task, the name of its file and what it holds, arguments: a file's name stands for {}
READ = [
    ("translate", "translation", "a.txt", LINES, ["--input", "{}"]),
    ("evaluate", "translation", "a.txt", LINES, ["--source", "{}", "--reference", "same"]),
    ("evaluate", "translation", "a.txt", LINES, ["--source", "same", "--reference", "{}"]),
    ("evaluate", None, "a.txt", LINES, ["--hypotheses", "{}", "--reference", "same"]),
    ("score-translations", "translation", "a.txt", LINES, ["--source", "{}", "--target", "same"]),
    ("score-translations", "translation", "a.txt", LINES, ["--source", "same", "--target", "{}"]),
    ("shortlist", "translation", "a.txt", LINES, ["--source", "{}", "--target", "same"]),
    ("shortlist", "translation", "a.txt", LINES, ["--source", "same", "--target", "{}"]),
    ("generate", "generation", "a.txt", "a b", ["--prompt-file", "{}", "--seed", "1"]),
    ("perplexity", "generation", "a.txt", LINES, ["--text", "{}"]),
    ("fill", "generation", "a.txt", "a ___\n", ["--input", "{}", "--candidates", "b,c"]),
    ("tag", "tagging", "a.txt", LINES, ["--input", "{}"]),
    ("tag", "tagging", "a.txt", COLUMNS, ["--columns", "--input", "{}"]),
    ("evaluate-tags", "tagging", "a.txt", COLUMNS, ["{}"]),
    ("classify", "classification", "a.txt", LINES, ["{}"]),
    ("evaluate-classes", "classification", "a.tsv", TSV, ["{}"]),
    ("evaluate-classes", "classification", "a.csv", CSV, ["{}"]),
    ("evaluate-classes", "classification", "a.jsonl", JSONL, ["{}"]),
    ("classify", "series", "a.csv", SERIES, ["{}"]),
    ("classify", "series", "a.jsonl", SERIES_JSON, ["{}"]),
    ("evaluate-classes", "series", "a.csv", SERIES, ["{}"]),
    ("evaluate-classes", "series", "a.jsonl", SERIES_JSON, ["{}"]),
    ("forecast", "forecasting", "a.csv", None, ["--input", "{}"]),
    ("backtest", "forecasting", "a.csv", None, ["--input", "{}", "--first", "20"]),
    ("tokenize", None, "a.txt", LINES, ["encode", "vocabulary", "--input", "{}"]),
]
LEFT_OUT = {"evaluate-captions": "DATA"}  # it names images that lie beside it
WITH_STANDARD_INPUT = {"translate", "fill", "tag", "classify", "forecast", "backtest", "tokenize"}


def _series_classifier():
    from seq2seq.tasks.classification.classifier import Classifier
    from seq2seq.tasks.classification.model import ClassificationModel, Shape
    from seq2seq.tasks.classification.targets import Targets

    values = {"encoder": {"layers": 1, "hidden_size": 4}}
    config = config_from_dict(
        {"task": "classification", "data": {"kind": "series"}, "model": values}
    )
    network = ClassificationModel(config.model, Shape(2, features=1))
    return Classifier(network, None, Targets("label", ("bad", "good")), config)


def _forecaster():
    series = make_series(known=False)
    forecaster = make_forecaster(series=series, kind="segments", base="last", scaling="window")
    forecaster.config.data.static = ["kind", "size"]
    forecaster.config.data.known = []
    return forecaster


def _table() -> str:
    import pandas

    rows = [
        pandas.DataFrame(
            {
                **{"time": one.times, "name": one.name, "a": one.values[:, 0]},
                **{"b": one.values[:, 1], **one.static},
            }
        )
        for one in make_series(2, 30, known=False, seed=5)
    ]
    return pandas.concat(rows).to_csv(index=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Saved models by the names of their tasks, and a vocabulary."""
    from seq2seq.text.vocabulary import Characters, save_units

    where = tmp_path_factory.mktemp("models")
    for task in ("translation", "generation", "tagging", "classification"):
        make(task).save_pretrained(where / task)
    _series_classifier().save_pretrained(where / "series")
    _forecaster().save_pretrained(where / "forecasting")
    (where / "vocabulary").mkdir()
    save_units(Characters("abc ", knows_unknown=True), where / "vocabulary")
    (where / "same").write_text(LINES)
    return where


@contextlib.contextmanager
def _piped(content: bytes):
    """The name of a pipe that holds ``content``, as <(...) gives it."""
    read, write = os.pipe()

    def fill() -> None:
        with os.fdopen(write, "wb") as stream, contextlib.suppress(BrokenPipeError):
            stream.write(content)

    writer = threading.Thread(target=fill)
    writer.start()
    try:
        yield f"/dev/fd/{read}"
    finally:
        os.close(read)
        writer.join()


def _told(text: str) -> str:
    """Without times and speeds, which differ, and without the name of the file."""
    return re.sub(r"/\S+/(a\.\w+|\d+)|\d[\d.,]* ?(s\b|\w+/s)", "-", text)


@pytest.mark.parametrize(
    ("command", "task", "name", "text", "arguments"), READ, ids=lambda one: str(one)[:24]
)
def test_a_pipe_is_read_as_a_file(
    run, folder, tmp_path, monkeypatch, command, task, name, text, arguments
):
    monkeypatch.chdir(folder)
    content = (_table() if text is None else text).encode()
    path = tmp_path / name
    path.write_bytes(content)

    def result(file: str, stdin: bytes = b""):
        given = [one.replace("{}", file) for one in arguments if file or one != "{}"]
        if not file:
            given = [one for one in given if one != "--input"]
        status, out, err = run(command, *([task] if task else []), *given, stdin=stdin)
        return status, _told(out), _told(err)

    expected = result(str(path))
    assert expected[0] == 0, expected[2]
    with _piped(content) as pipe:
        assert result(pipe) == expected
    named = tmp_path / "pipe"
    os.mkfifo(named)
    writer = threading.Thread(target=named.write_bytes, args=(content,))
    writer.start()
    assert result(str(named))[:2] == expected[:2]
    writer.join()
    if command in WITH_STANDARD_INPUT:
        assert result("", content)[:2] == expected[:2]


@pytest.mark.parametrize(
    ("command", "task", "name", "text", "arguments"), READ, ids=lambda one: str(one)[:24]
)
def test_a_pipe_of_packed_data_is_told(
    run, folder, monkeypatch, command, task, name, text, arguments
):
    monkeypatch.chdir(folder)
    content = gzip.compress((_table() if text is None else text).encode())
    with _piped(content) as pipe:
        given = [one.replace("{}", pipe) for one in arguments]
        status, out, err = run(command, *([task] if task else []), *given)
    assert (status, out) == (2, "") and "packed, not text; unpack it first: zcat" in err


def test_every_command_that_reads_a_file_is_tried():
    commands = all_commands()
    tried = {(command, one) for command, *_, words in READ for one in words}
    for command, parser in build_parser(commands)[1].items():
        for action in parser._actions:
            name = (action.option_strings or [action.metavar])[-1]
            if action.metavar not in ("FILE", "DATA") or name in ("--output", "--alignments"):
                continue
            if LEFT_OUT.get(command) != name:
                assert (command, name if action.option_strings else "{}") in tried


def test_standard_input_by_its_name_may_be_a_file(folder, tmp_path):
    (tmp_path / "table").write_text(_table())
    command = [sys.executable, "-m", "seq2seq", "forecast", str(folder / "forecasting")]
    found = []
    for name in (["--input", "/dev/stdin"], ["--input", "-", "--output", "-"], []):
        with (tmp_path / "table").open("rb") as stream:
            done = subprocess.run(
                [*command, *name], stdin=stream, capture_output=True, check=False, text=True
            )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert len(set(found)) == 1 and found[0].count("\n") > 10


BESIDE = {  # files that are written beside what goes to standard output
    *(("evaluate", "--output"), ("evaluate-tags", "--output"), ("evaluate-captions", "--output")),
    *(("backtest", "--output"), ("translate", "--alignments"), ("evaluate-classes", "--output")),
    ("score-translations", "--alignments"),
}


def test_a_dash_is_standard_input_or_output_in_every_command():
    commands = all_commands()
    seen = set()
    for command, parser in build_parser(commands)[1].items():
        for action in parser._actions:
            name = (action.option_strings or [action.metavar])[-1]
            if action.metavar not in ("FILE", "DATA") or LEFT_OUT.get(command) == name:
                continue
            seen.add((command, name))
            if (command, name) in BESIDE:
                with pytest.raises(argparse.ArgumentTypeError, match="'-' is standard output"):
                    action.type("-")
            elif name == "--output":
                assert action.type("-") is None  # its default
            else:
                assert action.type("-") == "/dev/stdin"
            assert action.type("a.txt") == "a.txt"
    assert seen >= BESIDE and len(seen) > 25


def test_a_dash_goes_on_where_standard_input_is(folder, tmp_path):
    """As a command without it does: a file is not read anew, and a socket is read, too."""
    (tmp_path / "lines").write_text("HEADER\n" + LINES)
    command = [sys.executable, "-m", "seq2seq", "classify", str(folder / "classification")]
    found = []
    for name in ([], ["-"]):
        with (tmp_path / "lines").open("rb", buffering=0) as stream:
            stream.seek(7)
            done = subprocess.run(
                [*command, *name], stdin=stream, capture_output=True, check=False, text=True
            )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(LINES.encode())
        theirs.shutdown(socket.SHUT_WR)
        done = subprocess.run(
            [*command, "-"], stdin=ours, capture_output=True, check=False, text=True
        )
    assert done.returncode == 0, done.stderr
    assert found == [done.stdout] * 2 and done.stdout.count("\n") == 2


@pytest.mark.parametrize(
    ("command", "task", "arguments", "told"),
    [
        (
            "classify",
            "classification",
            ["-", "-"],
            "FILE: '-' (standard input) stands there 2 times",
        ),
        (
            "evaluate",
            "translation",
            ["--source", "-", "--reference", "-"],
            "--source and --reference",
        ),
    ],
)
def test_standard_input_is_read_by_one(folder, run, command, task, arguments, told):
    status, out, err = run(command, folder / task, *arguments, stdin=LINES.encode())
    assert status == 2 and not out and told in err and "can be read once" in err


def test_a_dash_of_images_is_their_names_as_without_it(tmp_path, run):
    from PIL import Image

    from seq2seq.tasks.classification.classifier import Classifier
    from seq2seq.tasks.classification.model import ClassificationModel, Shape
    from seq2seq.tasks.classification.targets import Targets

    values = {"task": "classification", "data": {"kind": "image", "image": {"size": 6}}}
    config = config_from_dict({**values, "model": {"encoder": {"layers": 1, "hidden_size": 4}}})
    network = ClassificationModel(config.model, Shape(2, features=6))
    Classifier(network, None, Targets("label", ("a", "b")), config).save_pretrained(tmp_path / "m")
    Image.new("L", (6, 6), 100).save(tmp_path / "a.png")
    names = f"{tmp_path / 'a.png'}\n".encode()
    given = [["classify", tmp_path / "m", *more] for more in ([], ["-"], [tmp_path / "a.png"])]
    found = [run(*one, stdin=names) for one in given]
    assert found[0][0] == 0 and found[0] == found[1] == found[2], found


def test_a_run_does_not_read_a_dash(tmp_path, run):
    (tmp_path / "a.yaml").write_text(f"task: classification\noutput: {tmp_path / 'o'}\n")
    status, _, err = run("train", tmp_path / "a.yaml", "--data.train", "-", stdin=TSV.encode())
    assert status == 2 and "'-': is standard input, which can be read once" in err


def test_a_dash_that_no_command_can_write_is_a_mistake(folder, run):
    status, _, err = run(
        *("translate", folder / "translation", "--alignments", "-"), stdin=LINES.encode()
    )
    assert status == 2 and "--alignments: '-' is standard output" in err


@pytest.mark.parametrize("ending", ["tsv", "csv.gz", "parquet"])
def test_the_name_of_a_pipe_tells_what_it_holds(folder, run, tmp_path, ending):
    import io

    import pandas

    table = pandas.read_csv(io.StringIO(_table()))
    plain = tmp_path / f"plain.{ending}"
    if ending == "parquet":
        table.to_parquet(plain)
    elif ending == "tsv":
        table.to_csv(plain, sep="\t", index=False)
    else:
        plain.write_bytes(gzip.compress(_table().encode()))
    pipe = tmp_path / f"pipe.{ending}"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(plain.read_bytes(),))
    writer.start()
    found = run("forecast", folder / "forecasting", "--input", pipe)
    writer.join()
    assert found == run("forecast", folder / "forecasting", "--input", plain)
    assert found[0] == 0, found[2]


def test_a_file_must_still_say_what_it_is(folder, run, tmp_path):
    path = tmp_path / "table"
    path.write_text(_table())
    assert not is_stream(path) and not is_stream(tmp_path) and not is_stream(Path("none"))
    status, _, err = run("forecast", folder / "forecasting", "--input", path)
    assert status == 2 and "ends in none of .csv" in err
    status, _, err = run("classify", folder / "series", path)
    assert status == 2 and "expected a name that ends in .csv" in err
