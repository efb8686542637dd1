"""The command ``shortlist``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from seq2seq.command_line.command import Command
from seq2seq.command_line.options import (
    given,
    input_file,
    whole,
)
from seq2seq.errors import RunError, UsageError

_EXAMPLES = """\
  seq2seq shortlist MODEL --source train.en --target train.de
  seq2seq translate MODEL --shortlist < input.txt > output.txt

Learns from texts and their translations, best those that MODEL was trained on, line by line, which
words translate which (IBM Model 1), and writes shortlist.safetensors into MODEL. With --shortlist,
'translate' and 'evaluate' then choose among fewer words: for each line those that translate its
words, the most frequent ones, and those that are written alike in both languages. Training into the
same folder again removes the shortlist.
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="directory of a saved translation model")
    parser.add_argument(
        "--source", type=input_file, metavar="FILE", required=True, help="texts; .gz too"
    )
    parser.add_argument(
        "--target", type=input_file, metavar="FILE", required=True, help="their translations"
    )
    parser.add_argument(
        "--words",
        type=whole(1),
        metavar="N",
        help="how many translations of each source word count, the likeliest (default: 20)",
    )
    parser.add_argument(
        "--frequent",
        type=whole(0),
        metavar="N",
        help="how many words every line may be translated with, the most frequent (default: 100)",
    )


def _learn(options: argparse.Namespace) -> int:
    from seq2seq.saved.directory import replace_files
    from seq2seq.tasks.translation.translator import Translator
    from seq2seq.text.files import read_lines

    folder = Path(options.model)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected a saved model on this machine")
    if not os.access(folder, os.W_OK):  # told before the work
        raise RunError(f"model {folder}: cannot be written (Permission denied)")
    translator = Translator.from_pretrained(folder, device="cpu")
    sources, targets = read_lines(options.source), read_lines(options.target)
    if len(sources) != len(targets):
        raise UsageError(
            f"{options.source}: {len(sources)} line(s), {options.target}: {len(targets)}; "
            "expected as many: line by line, one is the translation of the other"
        )
    translator.learn_shortlist(sources, targets, **given(options, ("words", "frequent")))
    assert translator.shortlist is not None  # just learnt
    replace_files(folder, translator.shortlist.save, ())
    print(folder / "shortlist.safetensors")
    return 0


COMMAND = Command(
    "shortlist",
    "learn which words translate which, for a faster 'translate'",
    _add_options,
    _learn,
    _EXAMPLES,
)
