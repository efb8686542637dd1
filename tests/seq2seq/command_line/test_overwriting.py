"""No command writes over what it reads, and what cannot be written is told before the work."""

from __future__ import annotations

import pytest

from seq2seq.cli import all_commands, build_parser, main
from seq2seq.command_line.overwriting import WRITTEN
from seq2seq.command_line.paths import FILES, FOLDERS

COMMANDS = all_commands()
PARSERS = build_parser(COMMANDS)[1]


def _options(command, metavars, written):
    """(command, name, metavar) of its options that are read or written."""
    found = []
    for action in PARSERS[command]._actions:
        name = action.option_strings[-1] if action.option_strings else action.metavar
        if action.metavar in metavars and (name in WRITTEN) == written:
            found.append((command, name, action.metavar))
    return found


WRITES = [case for command in COMMANDS for case in _options(command, FILES, True)]
PAIRS = [
    (*case, read[1])
    for case in WRITES
    for read in _options(case[0], FILES, False)
    if read[1] not in ("VOCABULARY",)
]


def _arguments(command, values, tmp_path):
    """The arguments of a command with these options; what else it must have is a file."""
    rest = tmp_path / "other"
    rest.write_text("{}")
    arguments = [command, *(["encode"] if command == "tokenize" else [])]
    for action in PARSERS[command]._actions:
        name = action.option_strings[-1] if action.option_strings else action.metavar
        value = values.get(name)
        if not action.option_strings and action.metavar in FILES | FOLDERS:
            arguments.append(str(value or rest))
        elif action.option_strings and (value is not None or action.required):
            arguments += [name, str(value or rest)]
    return arguments


@pytest.mark.parametrize(("command", "name", "metavar", "read"), PAIRS)
def test_an_input_is_not_overwritten(command, name, metavar, read, tmp_path, capsys):
    path = tmp_path / ("a.png" if metavar == "PICTURE" else "a.txt")
    path.write_text("precious")
    assert main(_arguments(command, {name: path, read: path}, tmp_path)) == 2
    assert f"{name} {path}: is an input, and would be overwritten" in capsys.readouterr().err
    assert path.read_text() == "precious"


BAD = [
    ("", "is empty; expected the name of a file"),
    ("none/a.png", "cannot be written (No such file or directory)"),
    ("folder.png", "cannot be written (it is a folder"),
]


@pytest.mark.parametrize(
    ("command", "name", "output", "expected"),
    [
        (command, name, *bad)
        for command, name, metavar in WRITES
        # an empty picture is refused by its ending, and folders of pictures are made
        for bad in (BAD[2:] if metavar == "PICTURE" else BAD)
    ],
)
def test_what_cannot_be_written_is_told_first(command, name, output, expected, tmp_path, capsys):
    (tmp_path / "folder.png").mkdir()
    path = tmp_path / output if output else ""
    arguments = [*_arguments(command, {}, tmp_path), f"{name}={path}"]
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "inside"),
    [
        (["evaluate-captions", "M", "{}", "--output", "{}/metadata.jsonl"], "metadata.jsonl"),
        (["caption", "M", "{}", "--attention-plot", "{}/b/dog.png"], "b/dog.png"),
        (["translate", "{}", "--output", "{}/config.json"], "config.json"),
    ],
)
def test_files_of_a_folder_that_is_read_are_not_overwritten(arguments, inside, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    (tmp_path / inside).write_text("precious")
    assert main([one.replace("{}", str(tmp_path)) for one in arguments]) == 2
    assert "is an input, and would be overwritten" in capsys.readouterr().err
    assert (tmp_path / inside).read_text() == "precious"


def test_two_outputs_are_two_files(tmp_path, capsys):
    path = str(tmp_path / "a")
    assert main(["translate", "M", "--output", path, "--alignments", path]) == 2
    assert "--output is written there; give each a file of its own" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["init", "data", "export"])
def test_folders_are_not_empty(command, capsys):
    try:
        status = main(
            [command, *{"init": ["tagging"], "export": ["M"]}.get(command, []), "--output", ""]
        )
    except SystemExit as error:
        status = error.code
    assert status == 2 and "empty; expected the name" in capsys.readouterr().err
