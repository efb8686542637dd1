"""The command generate: text after a prompt, as it comes, in turns, or as JSON lines."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import check_input, chunks, open_input
from seq2seq.command_line.options import (
    add_machine,
    add_model,
    given,
    input_file,
    load_model,
    option_name,
)
from seq2seq.command_line.rules import Excludes, Needs
from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.tasks.generation.config import MAX_SAMPLES, GenerationConfig, check_generation

if TYPE_CHECKING:
    from seq2seq.tasks.generation.generator import TextGenerator
    from seq2seq.tasks.generation.streaming import Generated

_GENERATE_EXAMPLES = """\
Writes the prompt and what the model writes after it, as it comes.

  seq2seq generate MODEL --prompt "To be" --temperature 0.8 --seed 1
  seq2seq generate MODEL --prompt-file beginning.txt --max-length 2000
  echo -n "To be" | seq2seq generate MODEL
  seq2seq generate MODEL --prompt "To be" --samples 3        each after a line "--- 1"
  seq2seq generate MODEL --interactive                       lines in turns; Ctrl-D ends
  seq2seq generate MODEL --lines --json < prompts.txt        a prompt on each line

With --json a line for each text: prompt, text (what follows the prompt), units (how many were
written) and reason (end, stop or length: what ended it). Equal prompts get equal texts.
"""
_WRITTEN_AT_ONCE = 64  # prompts

# option -> (how it is read, what it says); the names are those of GenerationConfig
_SETTINGS = {
    "max_length": (int, "N", "most units to write"),
    "temperature": (float, "X", "0: always the likeliest; 1: as the model says; higher: wilder"),
    "top_k": (int, "K", "draw from the K likeliest; 0: off"),
    "top_p": (float, "P", "draw from the likeliest that together have probability P; 1: off"),
    "min_p": (float, "P", "draw from those at least P times as likely as the likeliest; 0: off"),
    "repetition_penalty": (float, "X", "above 1: less of what stood before; 1: off"),
    "no_repeat_ngram": (int, "N", "no N units twice in the same order; 0: off"),
    "beam_size": (int, "K", "above 1: search for a likely text instead of drawing one"),
    "length_penalty": (float, "X", "of beam search"),
}


def _add_generate(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="TEXT", help="what the text begins with")
    prompt.add_argument(
        "--prompt-file", type=input_file, metavar="FILE", help="the same from a file"
    )
    prompt.add_argument("--interactive", action="store_true", help="prompts and text in turns")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="texts to write")
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed, the same text")
    parser.add_argument(
        "--without-prompt", action="store_true", help="write what is new and nothing else"
    )
    parser.add_argument("--json", action="store_true", help="write a JSON object for each text")
    parser.add_argument(
        "--lines", action="store_true", help="each line of the file or standard input is a prompt"
    )
    group = parser.add_argument_group("choice", "Left out: as in the model's configuration.")
    for name, (kind, metavar, text) in _SETTINGS.items():
        group.add_argument(option_name(name), type=kind, metavar=metavar, help=text)
    group.add_argument("--stop", action="append", metavar="TEXT", help="end at this text (repeat)")
    add_machine(parser, "auto", auto=True)


def _generate(options: argparse.Namespace) -> int:
    _check_generate(options)  # before torch: a mistake answers at once
    prompt = "" if options.interactive or options.lines else _prompt(options)
    generator = load_model(options, "generation")
    settings = dataclasses.replace(generator.config.generation, **_given(options))
    _check_beam(options, settings.beam_size)
    if options.interactive and settings.beam_size > 1:
        raise UsageError(
            f"--interactive writes as it goes, and the model's 'generation.beam_size' is "
            f"{settings.beam_size}; add --beam-size 1"
        )
    seed = secrets.randbits(32) if options.seed is None else options.seed  # one for all lines
    common = {"settings": settings, "seed": seed, "precision": options.precision}
    if options.interactive:
        _interact(generator.session(**common))
        return 0
    if options.json:
        some = _prompt_lines(options, generator) if options.lines else [([prompt], None)]
        for prompts, wrong in some:
            texts = generator.generate_batch(prompts, samples=options.samples, **common)
            _show("".join(map(_json_lines, prompts, texts)))
            if wrong is not None:
                raise wrong
        return 0
    shown = "" if options.without_prompt else prompt
    if options.samples == 1 and settings.beam_size == 1:
        stream = generator.session(**common).write(prompt)  # a bad prompt is known before it shows
        _show(shown)
        for text in stream:
            _show(text)
        _show("\n")
        return 0
    (found,) = generator.generate_batch([prompt], samples=options.samples, **common)
    for number, one in enumerate(found, start=1):
        head = f"--- {number}\n" if options.samples > 1 else ""
        _show(f"{head}{shown}{one.text}\n")
    return 0


def _prompt_lines(
    options: argparse.Namespace, generator: TextGenerator
) -> Iterator[tuple[list[str], UsageError | None]]:
    """Some prompts at a time, up to one that the model refuses, and why it does."""
    check_input(options.prompt_file, "--prompt-file")
    with open_input(options.prompt_file) as stream:
        name = options.prompt_file or "standard input"
        size = 1 if stream.isatty() else _WRITTEN_AT_ONCE
        for first, lines in chunks(stream, name, size):
            for number, line in enumerate(lines):
                if wrong := _refused(generator, line, f"{name}, line {first + number}"):
                    yield lines[:number], wrong
                    return
            yield lines, None


def _refused(generator: TextGenerator, prompt: str, where: str) -> UsageError | None:
    if generator.config.units.unknown != "refuse":
        return None
    try:
        generator.prompt_units(prompt)
    except UsageError as error:
        return UsageError(f"{where}: {error}")
    return None


def _json_lines(prompt: str, texts: Sequence[Generated]) -> str:
    rows = (
        {"prompt": prompt, "text": one.text, "units": one.units, "reason": one.reason}
        for one in texts
    )
    return "".join(to_json(row) + "\n" for row in rows)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    return given(options, (*_SETTINGS, "stop"))


def _check_generate(options: argparse.Namespace) -> None:
    try:
        check_generation(dataclasses.replace(GenerationConfig(), **_given(options)))
    except UsageError as error:
        name, rest = str(error).split(" ", 1)
        raise UsageError(f"{option_name(name)} {rest}") from None
    if not 1 <= options.samples <= MAX_SAMPLES:
        raise UsageError(f"--samples is {options.samples}; expected 1 to {MAX_SAMPLES:,}")
    if options.interactive and (options.samples > 1 or (options.beam_size or 1) > 1):
        raise UsageError("--interactive writes one text as it comes; leave out --samples, "
                         "--beam-size")  # fmt: skip


def _check_beam(options: argparse.Namespace, beam_size: int) -> None:
    """Raises UsageError for given options that do nothing with this beam size, which the options or
    the model's configuration say."""
    drawing = ("seed", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    if beam_size > 1 and (drawn := list(given(options, drawing))):
        raise UsageError(
            f"generate: {option_name(drawn[0])} does not go with --beam-size {beam_size}: a "
            "beam search draws nothing; --beam-size 1 draws"
        )
    off = {"top_k": 0, "top_p": 1, "min_p": 0}
    cuts = [name for name, value in given(options, off).items() if value != off[name]]
    if beam_size == 1 and options.temperature == 0 and cuts:
        raise UsageError(
            f"generate: {option_name(cuts[0])} does nothing with --temperature 0, which takes the "
            "likeliest; leave one of them out"
        )
    if beam_size == 1 and options.length_penalty:
        raise UsageError(
            "generate: --length-penalty goes with --beam-size K of at least 2; without it does "
            "nothing"
        )


def _prompt(options: argparse.Namespace) -> str:
    """From the option, a file, or standard input; there the last line's end is left out."""
    from seq2seq.tasks.generation.text import decode

    if options.prompt is not None:
        return options.prompt
    if options.prompt_file is not None:
        try:
            content = Path(options.prompt_file).read_bytes()
        except OSError as error:
            raise UsageError(
                f"--prompt-file {options.prompt_file}: cannot be read ({error.strerror})"
            ) from None
        name = options.prompt_file
    elif sys.stdin.isatty():
        return ""
    else:
        content, name = sys.stdin.buffer.read(), "standard input"
    return decode(content, name, "").removesuffix("\n")


def _interact(session: Any) -> None:
    """A line of the user, text of the model, in turns. Ctrl-C ends the text, Ctrl-D all; a line
    that cannot be read is complained of, and the next one may be better."""
    from seq2seq.tasks.generation.text import decode

    while True:
        with contextlib.suppress(KeyboardInterrupt):
            if sys.stdin.isatty():
                print("> ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.buffer.readline()
            if not line:
                return
            try:
                with _ctrl_c_stops() as stopped:
                    prompt = decode(line, "this line", "")
                    if session.generator.units.unknown("\n"):  # of documents that are lines
                        prompt = prompt.removesuffix("\n")
                    for text in session.write(prompt):
                        _show(text)
                        if stopped:
                            break
            except UsageError as error:
                print(f"seq2seq: {error}", file=sys.stderr, flush=True)
            _show("\n")


@contextlib.contextmanager
def _ctrl_c_stops() -> Iterator[list[bool]]:
    """Ctrl-C is taken down, and looked at between two units: the session stays whole."""
    stopped: list[bool] = []
    try:
        previous = signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    except ValueError:  # not the main thread
        yield stopped
        return
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, previous)


def _show(text: str) -> None:
    print(text, end="", flush=True)


COMMAND = Command(
    "generate",
    "write text",
    _add_generate,
    _generate,
    _GENERATE_EXAMPLES,
    rules=(
        Excludes(("--without-prompt",), ("--interactive", "--json")),
        Excludes(("--json",), ("--interactive",)),
        Excludes(("--lines",), ("--prompt",)),
        Needs(("--lines",), ("--json",)),
    ),
)
