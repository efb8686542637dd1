"""The Microsoft sentence completion challenge: which of five words is missing from a sentence.

    python recipes/generation/cloze.py prepare FOLDER         into data/cloze: train.txt, msr.tsv,
                                                              msr.answers
    python recipes/generation/cloze.py score FILLED ANSWERS   what `seq2seq fill --json` wrote,
                                                              beside the words that are right

FOLDER holds the novels (`*.txt`, `*.txt.xz`, `*.txt.gz`, at any depth) and the questions with their
answers (`testing_data.csv`, `test_answer.csv`, or the same as .gz). The novels become a sentence on
each line, in random order: the questions are single sentences, too, without quotation marks, which
are left out here. If FOLDER, or the one above it, has `SAT_set_filled.csv`, sat.tsv and sat.answers
are written as well.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import lzma
import math
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2seq.errors import UsageError

LETTERS = "abcde"
_PARAGRAPHS = re.compile(r"\n\s*\n")
_QUOTES = re.compile(r"[\"\u201c\u201d_*|~<>{}\\]|''|``|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# A sentence ends at . ! or ? that white space and a capital letter follow, ...
_END = re.compile(r"(?<=[.!?])(['\u2019)\]]*)\s+(?=['\u2018(\[]?[A-Z0-9])")
# ... but not at a title, an initial or a usual abbreviation.
_TITLE = re.compile(
    r"(?:^|[\s(\['])(?:Mr|Mrs|Ms|Dr|St|Messrs|Mme|Mlle|Esq|Capt|Col|Gen|Lieut|Lt|Sergt|Prof|Rev|"
    r"Hon|Sr|Jr|No|Vol|Chap|Fig|vs|etc|viz|[A-Z])\.$"
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare and score sentence completion.")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="novels and questions as files of lines")
    prepare.add_argument("folder", type=Path)
    prepare.add_argument("--output", type=Path, default=Path("data/cloze"), help="(data/cloze)")
    score = commands.add_parser("score", help="how many words were found")
    score.add_argument("filled", type=Path, help="output of seq2seq fill --json")
    score.add_argument("answers", type=Path, help="the right words, one on each line")
    options = parser.parse_args()
    try:
        if options.command == "prepare":
            write(options.folder, options.output)
        else:
            right = correct(_lines(options.filled), _lines(options.answers))
            print(report(right))
    except (UsageError, OSError) as error:
        print(f"cloze: {error}", file=sys.stderr)
        sys.exit(2)


def write(folder: Path, output: Path) -> None:
    """Write the files that the recipe reads; raises UsageError for what is missing."""
    novels = sorted(
        path
        for path in folder.rglob("*")
        if re.search(r"\.txt(\.xz|\.gz)?$", path.name, re.IGNORECASE) and ".files." not in path.name
    )
    if not novels:
        raise UsageError(f"{folder}: no novels in it; expected *.txt, *.txt.xz or *.txt.gz")
    found = [sentence for path in novels for sentence in sentences(_read(path))]
    random.Random(1).shuffle(found)
    questions, answers = msr_questions(folder)
    output.mkdir(parents=True, exist_ok=True)
    files = {"train.txt": found, "msr.tsv": questions, "msr.answers": answers}
    for place in (folder, folder.parent):
        if (place / "SAT_set_filled.csv").exists():
            files["sat.tsv"], files["sat.answers"] = sat_questions(place / "SAT_set_filled.csv")
            break
    for name, lines in files.items():
        (output / name).write_text("".join(line + "\n" for line in lines), "utf-8")
        print(f"{output / name}: {len(lines):,} lines")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a book whose paragraphs are parted by blank lines; single words, such as
    most headings are, are left out."""
    for paragraph in _PARAGRAPHS.split(text.replace("\r", "")):
        whole = " ".join(_QUOTES.sub(" ", paragraph).split())
        start = 0
        for end in _END.finditer(whole):
            part = whole[start : end.start()]
            if not _TITLE.search(part):
                start = end.end()
                if " " in (part := part + end[1]):
                    yield part
        if " " in whole[start:]:
            yield whole[start:]


def msr_questions(folder: Path) -> tuple[list[str], list[str]]:
    """(lines of sentence and five candidates, the right words)."""
    right = {row["id"]: row["answer"] for row in _table(folder, "test_answer.csv")}
    lines, answers = [], []
    for row in _table(folder, "testing_data.csv"):
        candidates = [row[f"{letter})"] for letter in LETTERS]
        answers.append(row[f"{right[row['id']]})"])
        lines.append("\t".join([row["question"], *candidates]))
    return lines, answers


def sat_questions(path: Path) -> tuple[list[str], list[str]]:
    """The same for questions whose candidates are whole sentences: a question of one or two blanks
    becomes one blank for all words in which its five sentences differ."""
    lines, answers = [], []
    with open(path, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            whole = [row[f"{letter})"].split() for letter in LETTERS]
            first, last = _common(whole), _common([words[::-1] for words in whole])
            last = min(last, min(map(len, whole)) - first - 1)
            candidates = [" ".join(words[first : len(words) - last]) for words in whole]
            words = whole[0]
            after = words[len(words) - last :]
            lines.append("\t".join([" ".join([*words[:first], "_____", *after]), *candidates]))
            answers.append(candidates[LETTERS.index(row["ans"])])
    return lines, answers


def correct(filled: list[str], answers: list[str]) -> list[bool]:
    """Whether the best candidate of each line is the right one."""
    if len(filled) != len(answers):
        raise UsageError(f"{len(filled)} lines were filled, but there are {len(answers)} answers")
    best: list[Any] = [json.loads(line)["candidates"][0]["text"] for line in filled]
    return [word == answer for word, answer in zip(best, answers, strict=True)]


def report(right: list[bool]) -> str:
    """Accuracy with its 95% interval (normal approximation), and that of either half."""
    share, half = sum(right) / len(right), len(right) // 2
    margin = 1.96 * math.sqrt(share * (1 - share) / len(right))
    first, second = sum(right[:half]) / half, sum(right[half:]) / (len(right) - half)
    return (
        f"{100 * share:.1f}% of {len(right):,} ({sum(right)} right; 95% interval +-"
        f"{100 * margin:.1f}); first half {100 * first:.1f}%, second half {100 * second:.1f}%"
    )


def _common(lists: list[list[str]]) -> int:
    """How many words all lists begin with."""
    count = 0
    for words in zip(*lists, strict=False):
        if len(set(words)) > 1:
            break
        count += 1
    return count


def _table(folder: Path, name: str) -> list[dict[str, str]]:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return list(csv.DictReader(_read(path).splitlines()))
    raise UsageError(f"{folder}: no {name} in it, nor {name}.gz")


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def _read(path: Path) -> str:
    opener = {".xz": lzma.open, ".gz": gzip.open}.get(path.suffix, open)
    with opener(path, "rb") as stream:
        return stream.read().decode("utf-8", "replace")


if __name__ == "__main__":
    main()
