"""The commands of classification: classify, evaluate-classes. ``seq2seq.cli`` runs them."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import check_input, chunks, open_input, open_output
from seq2seq.command_line.options import (
    add_machine,
    add_model,
    further_file,
    input_file,
    load_model,
    number,
    output_file,
    picture,
    whole,
)
from seq2seq.config.paths import STANDARD_INPUT
from seq2seq.errors import UsageError
from seq2seq.json_files import begins_json, to_json

if TYPE_CHECKING:
    from seq2seq.tasks.classification.classifier import Classified, Classifier

_EXAMPLES = """\
Writes a line for each input, in order, columns separated by a tab:
  plain          label, its probability (of a model of numbers: the number)
  --top N        the N likeliest labels, each with its probability
  --explain      and then each word with its share of the attention, most first
  --json         an object: label, probability, labels (likeliest first); or value; explanation

What an input is, is the model's:
  text     a line of FILE or of standard input (.gz too); an empty line is answered, too
  series   a series of a CSV, NPZ or JSON-lines FILE as in training, labels not needed; of CSV on
           standard input; a line of JSON there: {"values": [[1, 2], [null, 3]], "times": [0, 1.5]}
  image    an image FILE, a folder of them, an idx FILE; a file's name on a line of standard input.
           One that cannot be read is told on standard error and has an empty line, or with --json
           an object with error; the exit status is then 1

With --format csv, tsv or jsonl an input is a row of a table, or an object; its text stands in the
column or key that the model's data.text names ("text"), and labels are not needed.

  seq2seq classify MODEL < lines.txt > labels.tsv
  seq2seq classify MODEL reviews.txt --top 3 --json
  seq2seq classify MODEL reviews.csv --format csv
  echo "a film that nobody needs" | seq2seq classify MODEL --explain --plot words.png
"""

_EVALUATE_EXAMPLES = """\
Answers the inputs of DATA and scores the answers: accuracy, macro F1 and, of two labels or several,
AUC and average precision; of numbers errors and R2. DATA is a file as in training.

  seq2seq evaluate-classes MODEL test.tsv
  seq2seq evaluate-classes MODEL test.tsv --output answers.tsv    # which it has wrong
"""

_AT_ONCE = 1000  # inputs that are read and answered together
_TABLES = ("csv", "tsv", "jsonl")
_log = logging.getLogger("seq2seq")


def _add_classify(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "files", type=input_file, metavar="FILE", nargs="*", help="default: standard input"
    )
    parser.add_argument(
        "--output", type=output_file, metavar="FILE", help="write this file, not standard output"
    )
    parser.add_argument(
        "--format",
        choices=("lines", *_TABLES),
        default="lines",
        help="of text: lines, or a table or JSON lines with a column 'text' (default: lines)",
    )
    parser.add_argument(
        "--threshold",
        type=number,
        metavar="P",
        help="of several labels those at least as likely are given (default: the model's)",
    )
    parser.add_argument("--top", type=whole(1), metavar="N", help="the N likeliest labels")
    parser.add_argument("--json", action="store_true", help="JSON lines")
    parser.add_argument("--explain", action="store_true", help="which words decided: attention")
    parser.add_argument(
        "--plot", type=picture, metavar="PICTURE", help="draw the attention of the first inputs"
    )
    parser.add_argument("--batch-size", type=whole(1), metavar="N", help="inputs at a time")
    add_machine(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("data", type=input_file, metavar="DATA", help="inputs with labels")
    parser.add_argument(
        "--output",
        type=further_file,
        metavar="FILE",
        help="write the answers here: place, true label, probability of each label (or the number)",
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.add_argument("--batch-size", type=whole(1), metavar="N", help="inputs at a time")
    add_machine(parser)


def _classify(options: argparse.Namespace) -> int:
    """Exit status 1 where an image could not be read."""
    classifier = load_model(options, "classification")
    if options.format != "lines" and classifier.config.data.kind != "text":
        raise UsageError(
            f"--format is of text; this model reads {classifier.config.data.kind}: leave it out"
        )
    if options.threshold is not None and options.threshold > 1:
        raise UsageError(f"--threshold is {options.threshold:g}; expected 0 to 1")
    if options.threshold is not None and classifier.targets.kind != "labels":
        raise UsageError("--threshold is of models that give several labels; leave it out")
    explain = options.explain or bool(options.plot)
    if explain:
        _check_explainable(classifier)
    if options.top and classifier.targets.kind == "number":
        raise UsageError("--top: this model answers with a number, it has no labels")
    drawn: list[Classified] = []
    failed, spread = 0, float(classifier.model.spread)
    with open_output(options.output) as sink:
        for inputs in _inputs(options.files, classifier, options.format):
            answers = classifier.classify(
                [one for one in inputs if not isinstance(one, UsageError)],
                explain=explain,
                threshold=options.threshold,
                batch_size=options.batch_size,
                precision=options.precision,
            )
            rest = iter(answers)
            for one in inputs:
                if isinstance(one, UsageError):
                    failed += 1
                    _log.error("%s", one)
                    line = to_json({"error": str(one)}) if options.json else ""
                else:
                    line = _line(next(rest), options, spread)
                sink.write((line + "\n").encode("utf-8", "replace"))
            drawn += answers[: _DRAWN - len(drawn)]
            sink.flush()
    if options.plot:  # last: a picture that cannot be written loses no answer
        from seq2seq.tasks.classification.plots import draw_attention

        if not drawn:
            raise UsageError(f"--plot {options.plot}: there was no input")
        draw_attention(drawn, options.plot)
    return 1 if failed else 0


_DRAWN = 12  # inputs in a picture


def _check_explainable(classifier: Classifier) -> None:
    if "attention" not in classifier.config.model.pooling:
        raise UsageError(
            "--explain, --plot: this model has no attention to show; train one whose "
            "'model.pooling' holds attention"
        )


def _inputs(files: list[str], classifier: Classifier, form: str) -> Iterator[list[Any]]:
    """Inputs, some at a time; an error in the place of an image that cannot be read."""
    kind = classifier.config.data.kind
    if kind == "text":
        for name in files or [None]:  # type: ignore[list-item]
            yield from _texts(name, classifier, form)
        return
    for name in files or [STANDARD_INPUT]:
        if name != STANDARD_INPUT:
            yield from _of_file(name, classifier)
        elif kind == "image":
            for _, lines in chunks(sys.stdin.buffer, "standard input", _AT_ONCE):
                yield [_image(line, classifier) for line in lines if line]
        else:
            yield from _series_of_stream(sys.stdin.buffer, classifier)


def _texts(name: str | None, classifier: Classifier, form: str) -> Iterator[list[Any]]:
    ending = (name or "").lower().removesuffix(".gz").removesuffix(".xz").rpartition(".")[2]
    if form == "lines" and ending in _TABLES:
        _log.warning("%s: each line is read as a text; --format %s reads a table", name, ending)
    where = "standard input" if name in (None, STANDARD_INPUT) else str(name)
    with _open(name) as stream:
        parts = (texts for _, texts in chunks(stream, where, _AT_ONCE))
        if form == "lines":
            yield from parts
            return
        from seq2seq.tasks.classification.labelled import texts_of

        lines = list(itertools.chain.from_iterable(parts))
    yield from _in_parts(texts_of(where, lines, classifier.config.data, form))


def _image(name: str, classifier: Classifier) -> Any:
    """The bytes of an image, or why it cannot be read."""
    from seq2seq.tasks.classification.images import read_pixels

    try:
        return read_pixels(name, classifier.config.data.image)
    except UsageError as error:
        return error


def _series_of_stream(stream: IO[bytes], classifier: Classifier) -> Iterator[list[Any]]:
    """JSON, a line at a time, or a whole table in CSV, as the first line says."""
    from seq2seq.tasks.classification.series_files import read_series
    from seq2seq.text.files import decode_lines

    name, data = "standard input", classifier.config.data
    begins = stream.readline()
    whole = itertools.chain([begins] if begins else [], stream)
    text = begins.decode("utf-8", "replace").removeprefix("\N{BYTE ORDER MARK}")
    if text.strip() and not begins_json(text):
        lines = list(decode_lines(whole, name))
        yield from _in_parts(read_series(name, data, False, classifier.columns, lines).inputs)
        return
    for first, lines in chunks(whole, name, _AT_ONCE):
        numbered = enumerate(lines, first)
        yield [_of_json(line, n, data.bin) for n, line in numbered if line.strip()]


def _in_parts(inputs: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(inputs), _AT_ONCE):
        yield inputs[start : start + _AT_ONCE]


def _open(name: str | None) -> Any:
    check_input(name)
    return open_input(name)


def _of_json(line: str, number: int, width: float) -> Any:
    from seq2seq.tasks.classification.series import averaged
    from seq2seq.tasks.classification.series_files import series_of_json

    return averaged(series_of_json(line, f"standard input, line {number}")[0], width)


def _of_file(name: str, classifier: Classifier) -> Iterator[list[Any]]:
    data = classifier.config.data
    if data.kind == "series":
        from seq2seq.tasks.classification.series_files import read_series

        inputs = read_series(name, data, False, classifier.columns).inputs
    else:
        from seq2seq.config.images import IMAGE_ENDINGS
        from seq2seq.tasks.classification.images import listed_images, read_images

        if os.path.isdir(name):
            files, _ = listed_images(Path(name), data, labelled=False)
            for some in _in_parts(files):
                yield [_image(str(file), classifier) for file in some]
            return
        if name.lower().endswith(IMAGE_ENDINGS):
            yield [_image(name, classifier)]
            return
        inputs = list(read_images(name, data, labelled=False).inputs)
    yield from _in_parts(inputs)


def _line(answer: Classified, options: argparse.Namespace, spread: float) -> str:
    if options.json:
        return to_json(_object(answer, options.explain, options.top))
    if answer.value is not None:
        from seq2seq.tasks.classification.answers import number_text

        columns = [number_text(answer.value, spread)]
    elif options.top:
        columns = [part for name, p in answer.ranking[: options.top] for part in (name, f"{p:.4f}")]
    else:
        columns = [answer.label, f"{answer.probability:.4f}"]
    if options.explain:
        shares = sorted(answer.explanation or [], key=lambda pair: -pair[1])
        columns.append(" ".join(f"{word}:{share:.3f}" for word, share in shares))
    return "\t".join(columns)


def _object(answer: Classified, explain: bool, top: int | None) -> dict[str, Any]:
    found: dict[str, Any]
    if answer.value is not None:
        found = {"value": answer.value}
    else:
        ranking = [{"label": name, "probability": round(p, 6)} for name, p in answer.ranking[:top]]
        found = {
            "label": answer.label,
            "probability": round(answer.probability, 6),
            "labels": ranking,
        }
    if explain:
        shares = answer.explanation or []
        found["explanation"] = [[word, round(share, 6)] for word, share in shares]
    return found


def _evaluate(options: argparse.Namespace) -> int:
    from seq2seq.tasks.classification.answers import answers_text
    from seq2seq.tasks.classification.examples import read_examples
    from seq2seq.tasks.classification.scores import confusion, score, told

    classifier = load_model(options, "classification")
    data, targets = classifier.config.data, classifier.targets
    labelled = read_examples(options.data, data, columns=classifier.columns)
    truth = targets.encode(labelled)
    source = classifier.read(labelled.inputs)
    started = time.perf_counter()
    # opened first: an answer of hours is not for a file that cannot be written
    with open_output(options.output) if options.output else contextlib.nullcontext() as sink:
        answers = classifier.answers(source, options.precision, options.batch_size)
        if sink:
            text = answers_text(answers, labelled, targets, float(classifier.model.spread))
            sink.write(text.encode("utf-8", "replace"))
    seconds = time.perf_counter() - started
    figures = score(targets.kind, answers, truth, classifier.config.decoding.threshold)
    steps = int(source.lengths.sum())
    print(
        f"seq2seq: {len(labelled):,} inputs, {steps:,} steps in {seconds:.1f} s "
        f"({steps / max(seconds, 1e-9):,.0f} steps/s)",
        file=sys.stderr,
    )
    if options.json:
        print(to_json({"examples": len(labelled), "scores": figures}, indent=2, ascii_only=True))
    else:
        print(told(figures))
        if targets.kind == "label" and len(targets.names) <= _TABLE:
            table = confusion(answers, truth, targets.names)
            print(f"\ntrue labels (rows), answers (columns):\n{table}")
    return 0


_TABLE = 12  # labels of which a table of confusions can be read

COMMANDS = (
    Command("classify", "give texts, series or images labels", _add_classify, _classify, _EXAMPLES),
    Command("evaluate-classes", "score a classifier", _add_evaluate, _evaluate, _EVALUATE_EXAMPLES),
)
