"""The ``seq2seq`` command: train, and the commands of translation, text generation, captioning.

Exit status: 0 done, 1 the run failed, 2 wrong use, 130 interrupted (Ctrl-C), 141 nobody reads
the output any more. Nothing heavy is imported before the arguments are known to be good, so
that ``--help`` and a mistyped option answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from seq2seq import caption_commands, generation_commands
from seq2seq.errors import RunError, UsageError
from seq2seq.options import add_machine, number, picture, whole

if TYPE_CHECKING:
    from seq2seq.config import DecodingConfig
    from seq2seq.translator import Translation, Translator

_TRAIN_EXAMPLES = """\
Any key of the configuration can be given as an option by its dotted name:
  seq2seq train recipes/translation/multi30k.yaml --training.max_steps 2000 --seed=2

A run that was stopped (Ctrl-C, kill, power) goes on where it was with --resume.
"""

_TRANSLATE_EXAMPLES = """\
Reads lines of UTF-8 text and writes one line of text for each, always: an empty line for an
empty one. Bytes that are not UTF-8 are replaced, with a warning that names the line.

Lines written, columns separated by a tab:
  plain                 text
  --scores              score, text
  --n-best N (N > 1)    line number, score, text; up to N lines for each line read, best first

  seq2seq translate MODEL < input.txt > output.txt
  seq2seq translate MODEL --input in.txt.gz --output out.txt --beam-size 1
  echo "A dog runs." | seq2seq translate MODEL --attention-plot attention.png
"""

_EVALUATE_EXAMPLES = """\
  seq2seq evaluate MODEL --source test.en --reference test.de --output test.out
  seq2seq evaluate --hypotheses test.out --reference test.de
Several references: --reference a.de b.de
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (argparse exits by itself for wrong use)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    _log_to_stderr()
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except UsageError as error:
        return _complain(error, 2)
    except RunError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        # Python flushes standard output once more at exit; let that write go nowhere.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a full disk, a directory without permission
        return _complain(error, 1)
    except (MemoryError, RuntimeError) as error:  # torch's is a RuntimeError
        if not isinstance(error, MemoryError) and "allocate" not in str(error):
            raise
        return _complain(f"not enough memory: {str(error).splitlines()[0]}; take less at a time, "
                         "or a smaller model", 1)  # fmt: skip


def _run(arguments: list[str]) -> int:
    overrides: dict[str, str] = {}
    if arguments[:1] == ["train"]:
        rest, overrides = _split_overrides(arguments[1:])
        arguments = ["train", *rest]
    parser, commands = _parsers()
    options, unknown = parser.parse_known_args(arguments)
    if options.version:
        print(f"seq2seq {_version()}")
        return 0
    if options.command is None:
        parser.print_help()
        return 2
    if unknown:
        names = commands[options.command]._option_string_actions
        raise UsageError(f"{options.command}: {_unknown(unknown[0], list(names))}")
    if options.command == "train":
        return _train(options, overrides)
    run = {
        "translate": _translate,
        "evaluate": _evaluate,
        "generate": generation_commands.generate,
        "score": generation_commands.score,
        "perplexity": generation_commands.perplexity,
        "caption": caption_commands.caption,
        "evaluate-captions": caption_commands.evaluate,
        "plot": _plot,
    }
    return run[options.command](options)


def _complain(message: object, status: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"seq2seq: {message}", file=sys.stderr)
    return status


def _open_closed_streams() -> None:
    """Python leaves None for a stream that the caller closed (``<&-``): nothing comes from there,
    and what goes there goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("seq2seq: %(message)s"))
    logging.getLogger("seq2seq").handlers = [handler]


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("recurrent-seq2seq")
    except PackageNotFoundError:
        return "(not installed)"


def _unknown(given: str, known: list[str]) -> str:
    name = given.split("=")[0]
    if not name.startswith("-"):
        return f"unexpected argument {given!r}"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "see --help"
    return f"unknown option {name}; {hint}"


# ------------------------------------------------------------------------------ the options


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="seq2seq",
        description="Translation, text generation and captioning with recurrent networks.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(command=None)
    group = parser.add_subparsers(title="commands", metavar="COMMAND")
    train = _command(group, "train", "train a model from a YAML file", _TRAIN_EXAMPLES)
    train.add_argument("config", metavar="CONFIG.yaml", help="the configuration of the run")
    train.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    train.add_argument("--quiet", action="store_true", help="plain lines, no progress bar")

    translate = _command(group, "translate", "translate lines of text", _TRANSLATE_EXAMPLES)
    translate.add_argument("model", metavar="MODEL", help="directory, or name on the hub")
    translate.add_argument("--input", metavar="FILE", help="read this file, not standard input")
    translate.add_argument("--output", metavar="FILE", help="write this file, not standard output")
    _decoding_options(translate)
    translate.add_argument(
        "--n-best", type=whole(1), default=1, metavar="N", help="translations of each line"
    )
    translate.add_argument("--scores", action="store_true", help="write the score before the text")
    translate.add_argument(
        "--attention-plot",
        type=picture,
        metavar="PNG",
        help="heat map of the first line that is not blank",
    )

    evaluate = _command(group, "evaluate", "score translations", _EVALUATE_EXAMPLES)
    evaluate.add_argument("model", metavar="MODEL", nargs="?", help="directory, or name on the hub")
    evaluate.add_argument("--source", metavar="FILE", help="text to translate with MODEL")
    evaluate.add_argument("--hypotheses", metavar="FILE", help="translations made before")
    evaluate.add_argument(
        "--reference", metavar="FILE", nargs="+", required=True, help="good translations"
    )
    evaluate.add_argument("--output", metavar="FILE", help="write the translations here")
    evaluate.add_argument("--json", action="store_true", help="print the scores as JSON")
    evaluate.add_argument(
        "--metrics", nargs="+", default=["bleu", "chrf", "ter"], choices=["bleu", "chrf", "ter"]
    )
    evaluate.add_argument(
        "--bootstrap",
        type=whole(0),
        default=1000,
        metavar="N",
        help="resamples for the 95%% interval (default: 1000; 0: no interval)",
    )
    _decoding_options(evaluate)

    generation = generation_commands
    generation.add_generate(_command(group, "generate", "write text", generation.GENERATE_EXAMPLES))
    generation.add_score(
        _command(group, "score", "log probability of each line", generation.SCORE_EXAMPLES)
    )
    generation.add_perplexity(
        _command(
            group, "perplexity", "how well a text is predicted", generation.PERPLEXITY_EXAMPLES
        )
    )

    captions = caption_commands
    captions.add_caption(_command(group, "caption", "describe images", captions.CAPTION_EXAMPLES))
    captions.add_evaluate(
        _command(group, "evaluate-captions", "score captions", captions.EVALUATE_EXAMPLES)
    )

    plot = _command(group, "plot", "draw the learning curve of a run", None)
    plot.add_argument("run", metavar="RUN_DIR", help="the 'output' of the configuration")
    plot.add_argument(
        "--output",
        type=picture,
        metavar="PNG",
        help="picture to write (default: RUN_DIR/learning_curve.png)",
    )
    return parser, group.choices


def _command(group: Any, name: str, summary: str, epilog: str | None) -> argparse.ArgumentParser:
    parser = group.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=name)
    return parser


def _decoding_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search", "Left out: as in the model's configuration.")
    group.add_argument("--beam-size", type=whole(1), metavar="K", help="1: greedy search")
    group.add_argument("--batch-size", type=whole(1), metavar="N", help="sentences at a time")
    group.add_argument("--length-penalty", type=number, metavar="X", help="0: none")
    group.add_argument("--coverage-penalty", type=number, metavar="X", help="0: none")
    group.add_argument(
        "--no-repeat-ngram", type=whole(0), metavar="N", help="no N-gram twice; 0: off"
    )
    group.add_argument(
        "--max-length-ratio", type=number, metavar="X", help="longest target / source, in subwords"
    )
    add_machine(parser)


def _split_overrides(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Part what argparse knows from the keys of the configuration.

    Done before argparse looks, which would take the value of an option it does not know for
    CONFIG.yaml.
    """
    from seq2seq.config import TASKS, config_to_dict

    # those of all tasks: CONFIG.yaml, which says which, is not read yet
    keys = ["--" + key for kind, _ in TASKS.values() for key in _dotted(config_to_dict(kind()))]
    keys = list(dict.fromkeys(keys))
    flags = ["--resume", "--quiet", "--help"]
    rest: list[str] = []
    overrides: dict[str, str] = {}
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if not argument.startswith("--") or argument in flags:
            rest.append(argument)
        elif name not in keys:
            near = [key for key in keys if key.endswith("." + name[2:])]
            hint = f"unknown option {name}; did you mean {near[0]}?" if near else None
            raise UsageError(f"train: {hint or _unknown(name, keys + flags)}")
        elif equals:
            overrides[name[2:]] = value
        else:
            value = next(waiting, None)
            if value is None or value.startswith("--"):
                raise UsageError(f"train: {name} needs a value: {name} VALUE")
            overrides[name[2:]] = value
    return rest, overrides


def _dotted(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key


# ----------------------------------------------------------------------------- the commands


def _train(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    from seq2seq.config import load_config

    config = load_config(options.config, overrides)  # before torch: a mistake answers at once

    from seq2seq.training.loop import train

    directory = train(config, quiet=options.quiet, resume=options.resume)
    print(f"model saved: {directory}")
    return 0


def _translate(options: argparse.Namespace) -> int:
    if options.input and not Path(options.input).is_file():
        raise UsageError(f"--input {options.input}: no such file")
    if _same_file(options.input, options.output):
        raise UsageError(f"--output {options.output}: is the input, and would be overwritten")
    translator = _load(options)
    settings = _settings(options, translator)
    plot = options.attention_plot
    shown = options.output is not None or not sys.stdout.isatty()
    with (
        _open_input(options.input) as source,
        _open_output(options.output) as sink,
        _progress(None, shown and not source.isatty()) as advance,
    ):
        size = 1 if source.isatty() or settings.batch_size == 1 else 16 * settings.batch_size
        for first, texts in _chunks(source, options.input or "standard input", size):
            if plot and any(text.strip() for text in texts):
                text = next(text for text in texts if text.strip())
                _plot_attention(translator, text, settings, options.precision, plot)
                plot = None
            found = translator.translate_nbest(
                texts,
                n_best=options.n_best,
                decoding=settings,
                precision=options.precision,
                first_line=first,
            )
            for number, translations in enumerate(found, start=first):
                sink.write(_lines(number, translations, options).encode("utf-8", "replace"))
            sink.flush()
            advance(len(texts))
    if plot:
        raise UsageError(f"--attention-plot {plot}: every line of the input is blank")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from seq2seq.evaluation import format_scores, score

    _check_evaluate(options)
    path = options.source or options.hypotheses
    texts = _read(path)
    references = [_read(name) for name in options.reference]
    for name, lines in zip(options.reference, references, strict=True):
        if len(lines) != len(texts):
            raise UsageError(
                f"{path} has {len(texts)} lines, {name} has {len(lines)}; expected as many: "
                "line by line, one is the translation of the other"
            )
    if options.model is not None:
        texts = _translate_all(texts, options)
    scores = score(texts, references, metrics=options.metrics, bootstrap=options.bootstrap)
    if options.json:
        values = {name: dataclasses.asdict(one) for name, one in scores.items()}
        print(json.dumps({"sentences": len(texts), "scores": values}, indent=2))
    else:
        print(format_scores(scores))
    return 0


def _check_evaluate(options: argparse.Namespace) -> None:
    if options.model is None and options.hypotheses is None:
        raise UsageError(
            "evaluate: nothing to score; give MODEL (first) with --source, or --hypotheses"
        )
    if options.model is not None and options.hypotheses is not None:
        raise UsageError("evaluate: --hypotheses are translations already; leave out MODEL")
    if options.model is not None and options.source is None:
        raise UsageError("evaluate: --source is missing: the text that MODEL is to translate")
    if options.hypotheses is not None and (options.source or options.output):
        raise UsageError("evaluate: --source and --output go with MODEL, not with --hypotheses")
    inputs = [options.source, *options.reference]
    if any(_same_file(name, options.output) for name in inputs):
        raise UsageError(f"--output {options.output}: is an input, and would be overwritten")


def _translate_all(texts: list[str], options: argparse.Namespace) -> list[str]:
    translator = _load(options)
    settings = _settings(options, translator)
    started = time.perf_counter()
    found: list[str] = []
    size = 16 * settings.batch_size
    with _progress(len(texts), True) as advance:
        for first in range(0, len(texts), size):
            part = texts[first : first + size]
            translated = translator.translate_nbest(
                part,
                n_best=1,
                decoding=settings,
                precision=options.precision,
                first_line=first + 1,
            )
            found += [translations[0].text for translations in translated]
            advance(len(part))
    seconds = time.perf_counter() - started
    print(
        f"seq2seq: {len(texts)} sentences in {seconds:.1f} s "
        f"({len(texts) / seconds:.1f} sentences/s)",
        file=sys.stderr,
    )
    if options.output:
        with _open_output(options.output) as sink:
            sink.write("".join(f"{text}\n" for text in found).encode("utf-8", "replace"))
    return found


def _plot(options: argparse.Namespace) -> int:
    from seq2seq.plots import plot_learning_curve

    path = options.output or os.path.join(options.run, "learning_curve.png")
    plot_learning_curve(options.run, path)
    print(path)
    return 0


def _plot_attention(
    translator: Translator, text: str, settings: DecodingConfig, precision: Any, path: str
) -> None:
    from seq2seq.plots import plot_attention

    found = translator.translate_nbest(
        [text], n_best=1, decoding=settings, precision=precision, attention=True
    )[0][0]
    if found.attention is None:
        raise UsageError("--attention-plot: this model has no attention to draw")
    plot_attention(found.attention, found.source_tokens, found.tokens, path)


# -------------------------------------------------------------------------- model and files


def _load(options: argparse.Namespace) -> Translator:
    import torch

    from seq2seq.config import MAX_THREADS
    from seq2seq.translator import Translator

    if (options.threads or 1) > MAX_THREADS:
        raise UsageError(f"--threads is {options.threads}; expected at most {MAX_THREADS}")
    if options.threads:
        torch.set_num_threads(options.threads)
    return Translator.from_pretrained(options.model, device=options.device)


def _settings(options: argparse.Namespace, translator: Translator) -> DecodingConfig:
    names = (
        "beam_size",
        "batch_size",
        "length_penalty",
        "coverage_penalty",
        "no_repeat_ngram",
        "max_length_ratio",
    )
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(translator.config.decoding, **given)


@contextlib.contextmanager
def _progress(total: int | None, shown: bool) -> Iterator[Callable[[int], object]]:
    """A progress bar where somebody watches; gives what is called with the lines just done."""
    from tqdm import tqdm

    quiet = not (shown and sys.stderr.isatty())
    with tqdm(total=total, unit=" lines", dynamic_ncols=True, disable=quiet) as bar:
        yield bar.update


def _lines(number: int, translations: list[Translation], options: argparse.Namespace) -> str:
    if options.n_best > 1:
        return "".join(f"{number}\t{found.score:.4f}\t{found.text}\n" for found in translations)
    score = f"{translations[0].score:.4f}\t" if options.scores else ""
    return f"{score}{translations[0].text}\n"


def _chunks(stream: IO[bytes], name: str, size: int) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, texts) for up to ``size`` lines at a time."""
    texts: list[str] = []
    number = 0
    for number, line in enumerate(stream, start=1):
        texts.append(_decode(line, name, number))
        if len(texts) == size:
            yield number - size + 1, texts
            texts = []
    if texts:
        yield number - len(texts) + 1, texts


def _decode(line: bytes, name: str, number: int) -> str:
    if number == 1:
        line = line.removeprefix(b"\xef\xbb\xbf")
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        logging.getLogger("seq2seq").warning(
            "%s, line %d: not UTF-8 (byte 0x%02x at column %d); what cannot be read is replaced",
            name,
            number,
            line[error.start],
            error.start + 1,
        )
        return line.decode("utf-8", "replace")


@contextlib.contextmanager
def _open_input(path: str | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdin.buffer
        return
    import gzip
    import zlib

    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RunError(f"{path}: not a whole gzip file ({error})") from None


@contextlib.contextmanager
def _open_output(path: str | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        stream = open(path, "wb")  # noqa: SIM115  an error in the caller's body is not ours
    except OSError as error:
        raise UsageError(f"--output {path}: cannot be written ({error.strerror})") from None
    with stream:
        yield stream


def _read(path: str) -> list[str]:
    from seq2seq.data.sources import read_lines

    return read_lines(path)


def _same_file(one: str | None, other: str | None) -> bool:
    if not one or not other:
        return False
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)
    return False
