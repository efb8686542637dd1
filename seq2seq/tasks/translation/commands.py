"""The commands of translation: translate, evaluate. ``seq2seq.cli`` runs them."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import chunks, open_input, open_output, progress, same_file
from seq2seq.command_line.options import (
    add_machine,
    add_model,
    given,
    load_model,
    number,
    picture,
    whole,
)
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.translate_options import check_sampling, columns, sampling_options
from seq2seq.text.characters import is_blank

if TYPE_CHECKING:
    from seq2seq.tasks.translation.config import DecodingConfig
    from seq2seq.tasks.translation.translator import Translation, Translator

_TRANSLATE_EXAMPLES = """\
Reads lines of UTF-8 text and writes one line of text for each, always: an empty line for an
empty one. Bytes that are not UTF-8 are replaced, with a warning that names the line.

Lines written, columns separated by a tab:
  plain                 text
  --scores              score, text
  --samples N (N > 1)   as --n-best, but drawn, in the order drawn
  --n-best N (N > 1)    line number, score, text; up to N lines for each line read, best first
  --json                one object: line, source, translations (up to N, best first); each has text,
                        score, log_probability, finished, tokens, token_scores (log probability
                        of each token, and of the end where finished)

  seq2seq translate MODEL < input.txt > output.txt
  seq2seq translate MODEL --input in.txt.gz --output out.txt --beam-size 1
  seq2seq translate MODEL --prefix-column < text-and-beginning.tsv > output.txt
  seq2seq translate MODEL --samples 5 --temperature 0.7 --seed 1 < input.txt
  seq2seq translate --ensemble MODEL-A MODEL-B MODEL-C < input.txt > output.txt
  echo "A dog runs." | seq2seq translate MODEL --attention-plot attention.png
"""

_EVALUATE_EXAMPLES = """\
  seq2seq evaluate MODEL --source test.en --reference test.de --output test.out
  seq2seq evaluate --hypotheses test.out --reference test.de
Several references: --reference a.de b.de
"""

_EXPORT_EXAMPLES = """\
  seq2seq export MODEL --format onnx -o graphs
writes encoder.onnx and decoder_step.onnx, the tokenizer, and a README.md that says what each input
is and holds a program that translates with onnxruntime.
"""


def _add_translate(parser: argparse.ArgumentParser) -> None:
    add_model(parser, nargs="?")
    parser.add_argument("--input", metavar="FILE", help="read this file, not standard input")
    parser.add_argument("--output", metavar="FILE", help="write this file, not standard output")
    _decoding_options(parser)
    sampling_options(parser)
    parser.add_argument(
        "--n-best", type=whole(1), default=1, metavar="N", help="translations of each line"
    )
    given_first = parser.add_mutually_exclusive_group()
    given_first.add_argument(
        "--prefix", metavar="TEXT", help="every translation begins with this text"
    )
    given_first.add_argument(
        "--prefix-column",
        action="store_true",
        help="lines are TSV: text, tab, what its translation begins with (may be left out)",
    )
    parser.add_argument(
        "--alignments",
        metavar="FILE",
        help="word alignments from attention: a line for each translation, such as 0-0 1-2 2-1 "
        "(Pharaoh format, source-target)",
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--scores", action="store_true", help="write the score before the text")
    shape.add_argument("--json", action="store_true", help="JSON lines, with scores of each token")
    parser.add_argument(
        "--attention-plot",
        type=picture,
        metavar="PICTURE",
        help="heat map of the first line that is not blank",
    )


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    add_model(parser, nargs="?")
    parser.add_argument("--source", metavar="FILE", help="text to translate with MODEL")
    parser.add_argument("--hypotheses", metavar="FILE", help="translations made before")
    parser.add_argument(
        "--reference", metavar="FILE", nargs="+", required=True, help="good translations"
    )
    parser.add_argument("--output", metavar="FILE", help="write the translations here")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.add_argument(
        "--metrics", nargs="+", default=["bleu", "chrf", "ter"], choices=["bleu", "chrf", "ter"]
    )
    parser.add_argument(
        "--bootstrap",
        type=whole(0),
        default=1000,
        metavar="N",
        help="resamples for the 95%% interval (default: 1000; 0: no interval)",
    )
    _decoding_options(parser)


def _decoding_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ensemble",
        metavar="MODEL",
        nargs="+",
        default=[],
        help="models of one vocabulary as one: the mean of their probabilities (and of MODEL's)",
    )
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


def _add_export(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--format", choices=["onnx"], default="onnx", help="ONNX graphs (default); extra 'onnx'"
    )
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write into")


def _translate(options: argparse.Namespace) -> int:
    if options.input and not Path(options.input).is_file():
        raise UsageError(f"--input {options.input}: no such file")
    if same_file(options.input, options.output):
        raise UsageError(f"--output {options.output}: is the input, and would be overwritten")
    if any(same_file(options.alignments, name) for name in (options.input, options.output)):
        raise UsageError(f"--alignments {options.alignments}: is the input or the output")
    check_sampling(options)
    translator = _load(options)
    settings = _settings(options, translator)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    plot = options.attention_plot
    shown = options.output is not None or not sys.stdout.isatty()
    with (
        open_input(options.input) as source,
        open_output(options.output) as sink,
        _alignments(options.alignments) as align,
        progress(None, shown and not source.isatty()) as advance,
    ):
        size = 1 if source.isatty() or settings.batch_size == 1 else 16 * settings.batch_size
        for first, texts in chunks(source, options.input or "standard input", size):
            texts, prefixes = columns(texts, first, options)
            if plot and any(not is_blank(text) for text in texts):
                at = next(i for i, text in enumerate(texts) if not is_blank(text))
                pair = texts[at], None if prefixes is None else prefixes[at]
                _plot_attention(translator, pair, settings, options.precision, plot)
                plot = None
            if options.samples is not None:
                translated = translator.sample(
                    texts,
                    samples=options.samples,
                    **given(options, ("temperature", "top_k", "top_p", "min_p")),
                    seed=seed,
                    decoding=settings,
                    precision=options.precision,
                    first_line=first,
                )
            else:
                translated = translator.translate_nbest(
                    texts,
                    n_best=options.n_best,
                    decoding=settings,
                    precision=options.precision,
                    first_line=first,
                    prefixes=prefixes,
                    attention=options.alignments is not None,
                )
            align(translated)
            for number, (text, found) in enumerate(zip(texts, translated, strict=True), first):
                sink.write(_lines(number, text, found, options).encode("utf-8", "replace"))
            sink.flush()
            advance(len(texts))
    if plot:
        raise UsageError(f"--attention-plot {plot}: every line of the input is blank")
    return 0


@contextlib.contextmanager
def _alignments(path: str | None) -> Iterator[Callable[[list[list[Translation]]], None]]:
    """Gives what writes the alignments of translations into ``path``; nothing where it is None."""
    if path is None:
        yield lambda translated: None
        return
    from seq2seq.tasks.translation.alignments import pharaoh, word_alignment

    try:
        stream = open(path, "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"--alignments {path}: cannot be written ({error.strerror})") from None
    with stream:
        yield lambda translated: stream.writelines(
            f"{pharaoh(word_alignment(one))}\n" for found in translated for one in found
        )


def _models(options: argparse.Namespace) -> list[str]:
    return [name for name in (options.model, *options.ensemble) if name is not None]


def _load(options: argparse.Namespace) -> Translator:
    """MODEL, or the ensemble of it and those of --ensemble."""
    from seq2seq.tasks.translation.translator import Translator

    names = _models(options)
    if not names:
        raise UsageError(
            "translate: the following arguments are required: MODEL (or --ensemble A B ...)"
        )
    translators = []
    for name in names:
        translators.append(
            load_model(argparse.Namespace(**{**vars(options), "model": name}), "translation")
        )
    return Translator.ensemble(translators) if options.ensemble else translators[0]


def _evaluate(options: argparse.Namespace) -> int:
    from seq2seq.tasks.translation.scores import format_scores, score
    from seq2seq.text.files import read_lines

    _check_evaluate(options)
    path = options.source or options.hypotheses
    texts = read_lines(path)
    references = [read_lines(name) for name in options.reference]
    for name, lines in zip(options.reference, references, strict=True):
        if len(lines) != len(texts):
            raise UsageError(
                f"{path} has {len(texts)} lines, {name} has {len(lines)}; expected as many: "
                "line by line, one is the translation of the other"
            )
    if _models(options):
        texts = _translate_all(texts, options)
    scores = score(texts, references, metrics=options.metrics, bootstrap=options.bootstrap)
    if options.json:
        values = {name: dataclasses.asdict(one) for name, one in scores.items()}
        print(json.dumps({"sentences": len(texts), "scores": values}, indent=2))
    else:
        print(format_scores(scores))
    return 0


def _check_evaluate(options: argparse.Namespace) -> None:
    models = bool(_models(options))
    if not models and options.hypotheses is None:
        raise UsageError(
            "evaluate: nothing to score; give MODEL (first) with --source, or --hypotheses"
        )
    if models and options.hypotheses is not None:
        raise UsageError("evaluate: --hypotheses are translations already; leave out MODEL")
    if models and options.source is None:
        raise UsageError("evaluate: --source is missing: the text that MODEL is to translate")
    if options.hypotheses is not None and (options.source or options.output):
        raise UsageError("evaluate: --source and --output go with MODEL, not with --hypotheses")
    inputs = [options.source, *options.reference]
    if any(same_file(name, options.output) for name in inputs):
        raise UsageError(f"--output {options.output}: is an input, and would be overwritten")


def _translate_all(texts: list[str], options: argparse.Namespace) -> list[str]:
    translator = _load(options)
    settings = _settings(options, translator)
    started = time.perf_counter()
    best: list[str] = []
    size = 16 * settings.batch_size
    with progress(len(texts), True) as advance:
        for first in range(0, len(texts), size):
            part = texts[first : first + size]
            translated = translator.translate_nbest(
                part,
                n_best=1,
                decoding=settings,
                precision=options.precision,
                first_line=first + 1,
            )
            best += [translations[0].text for translations in translated]
            advance(len(part))
    seconds = time.perf_counter() - started
    print(
        f"seq2seq: {len(texts)} sentences in {seconds:.1f} s "
        f"({len(texts) / seconds:.1f} sentences/s)",
        file=sys.stderr,
    )
    if options.output:
        with open_output(options.output) as sink:
            sink.write("".join(f"{text}\n" for text in best).encode("utf-8", "replace"))
    return best


def _plot_attention(
    translator: Translator,
    given: tuple[str, str | None],
    settings: DecodingConfig,
    precision: Any,
    path: str,
) -> None:
    """``given``: a text, and what its translation begins with."""
    from seq2seq.tasks.translation.plots import plot_attention

    text, prefix = given
    translation = translator.translate_nbest(
        [text], n_best=1, decoding=settings, precision=precision, attention=True, prefixes=prefix
    )[0][0]
    if translation.attention is None:
        raise UsageError("--attention-plot: this model has no attention to draw")
    plot_attention(translation.attention, translation.source_tokens, translation.tokens, path)


def _settings(options: argparse.Namespace, translator: Translator) -> DecodingConfig:
    names = (
        "beam_size",
        "batch_size",
        "length_penalty",
        "coverage_penalty",
        "no_repeat_ngram",
        "max_length_ratio",
    )
    return dataclasses.replace(translator.config.decoding, **given(options, names))


def _export(options: argparse.Namespace) -> int:
    from seq2seq.tasks.translation.export import export_onnx
    from seq2seq.tasks.translation.translator import Translator

    translator = Translator.from_pretrained(options.model, device="cpu")
    for path in export_onnx(translator, Path(options.output)):
        print(path)
    return 0


def _lines(
    number: int, source: str, translations: list[Translation], options: argparse.Namespace
) -> str:
    if options.json:
        names = ("text", "score", "log_probability", "finished", "tokens", "token_scores")
        found = [{name: getattr(one, name) for name in names} for one in translations]
        values = {"line": number, "source": source, "translations": found}
        return json.dumps(values, ensure_ascii=False) + "\n"
    if max(options.n_best, options.samples or 1) > 1:
        return "".join(f"{number}\t{found.score:.4f}\t{found.text}\n" for found in translations)
    score = f"{translations[0].score:.4f}\t" if options.scores else ""
    return f"{score}{translations[0].text}\n"


COMMANDS = (
    Command(
        "translate", "translate lines of text", _add_translate, _translate, _TRANSLATE_EXAMPLES
    ),
    Command("evaluate", "score translations", _add_evaluate, _evaluate, _EVALUATE_EXAMPLES),
    Command(
        "export", "write a translation model as ONNX graphs", _add_export, _export, _EXPORT_EXAMPLES
    ),
)
