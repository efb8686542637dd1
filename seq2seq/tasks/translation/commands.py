"""The commands of translation. ``seq2seq.cli`` runs them."""

from __future__ import annotations

import argparse
from pathlib import Path

from seq2seq.command_line.command import Command
from seq2seq.command_line.options import add_model
from seq2seq.tasks.translation import (
    evaluate_command,
    score_command,
    shortlist_command,
    translate_command,
)

_EXPORT_EXAMPLES = """\
  seq2seq export MODEL --format onnx -o graphs
writes encoder.onnx and decoder_step.onnx, the tokenizer, and a README.md that says what each input
is and holds a program that translates with onnxruntime.
"""


def _add_export(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--format", choices=["onnx"], default="onnx", help="ONNX graphs (default); extra 'onnx'"
    )
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write into")


def _export(options: argparse.Namespace) -> int:
    from seq2seq.tasks.translation.export import check_folder, export_onnx
    from seq2seq.tasks.translation.translator import Translator

    check_folder(Path(options.output))  # before the model is loaded
    translator = Translator.from_pretrained(options.model, device="cpu")
    for path in export_onnx(translator, Path(options.output)):
        print(path)
    return 0


COMMANDS = (
    translate_command.COMMAND,
    evaluate_command.COMMAND,
    score_command.COMMAND,
    shortlist_command.COMMAND,
    Command(
        "export", "write a translation model as ONNX graphs", _add_export, _export, _EXPORT_EXAMPLES
    ),
)
