"""The recipe of sentence completion: books become sentences, questions become lines, and answers
are counted."""

from __future__ import annotations

import csv
import gzip
import importlib
import json
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.config import load_config
from seq2seq.tasks.generation.blanks import make_blanked, parse_line

FOLDER = Path(__file__).parents[2] / "recipes" / "generation"
BOOK = """THE END

CHAPTER I.

"Take care, Mr. Smith," said one; "they are _here_." He had
come--in a hurry--to St. James's.  'Why?' asked J. Brown. She
told him at 5.30 p.m. yesterday. What then

A last word... It stood by itself!
"""


@pytest.fixture(scope="module")
def cloze():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("cloze")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture
def folder(tmp_path):
    """Two books, three questions."""
    place = tmp_path / "cloze" / "msr"
    (place / "books").mkdir(parents=True)
    (place / "books" / "ONE.TXT").write_text(BOOK)
    (place / "two.txt.xz").write_bytes(lzma.compress(b"Another one.\r\nBook it is.\r\n"))
    (place / "list.files.txt").write_text("no book at all")
    header = "id,question,a),b),c),d),e)\n"
    rows = "".join(f'{n},"It was {n} , a _____ day .",one,two,three,four,five\n' for n in (1, 2, 3))
    (place / "testing_data.csv.gz").write_bytes(gzip.compress((header + rows).encode()))
    (place / "test_answer.csv").write_text("id,answer\n1,c\n2,a\n3,e\n")
    sat = [
        "7,b,A _____ thing.,A good thing.,A bad thing.,A so so thing.,A no thing.,A big thing.",
        "8,e,It _____ and _____.,It a and b.,It c and d.,It e and f.,It g and h.,It i and j.",
    ]
    table = "\n".join(["id,ans,question,a),b),c),d),e)", *sat])
    (place.parent / "SAT_set_filled.csv").write_text(table + "\n")
    return place


def test_a_book_becomes_sentences(cloze):
    assert list(cloze.sentences(BOOK)) == [
        "THE END",
        "CHAPTER I.",
        "Take care, Mr. Smith, said one; they are here .",
        "He had come--in a hurry--to St. James's.",
        "'Why?' asked J. Brown.",
        "She told him at 5.30 p.m. yesterday.",
        "What then",
        "A last word...",
        "It stood by itself!",
    ]


def test_files_are_written_and_can_be_filled(cloze, folder, tmp_path):
    out = tmp_path / "out"
    cloze.write(folder, out)
    lines = (out / "train.txt").read_text().splitlines()
    assert sorted(lines) == sorted(
        [*cloze.sentences(BOOK), "Another one.", "Book it is."]
    ) and lines != sorted(lines)
    assert (out / "msr.answers").read_text().split() == ["three", "one", "five"]
    questions = (out / "msr.tsv").read_text().splitlines()
    text, candidates = parse_line(questions[0])
    blanked = make_blanked(text, candidates, "")
    assert blanked.filled(blanked.candidates[2]) == "It was 1 , a three day ."
    sat = [
        make_blanked(*parse_line(line), "") for line in (out / "sat.tsv").read_text().splitlines()
    ]
    assert [one.filled(one.candidates[2]) for one in sat] == ["A so so thing.", "It e and f."]
    assert (out / "sat.answers").read_text().splitlines() == ["bad", "i and j."]


def test_answers_are_counted(cloze, tmp_path):
    best = ["three", "one", "two", "four"]
    filled = [json.dumps({"candidates": [{"text": word}, {"text": "x"}]}) for word in best]
    right = cloze.correct(filled, ["three", "one", "five", "four"])
    assert right == [True, True, False, True]
    assert cloze.report(right).startswith(
        "75.0% of 4 (3 right; 95% interval +-42.4); first half 100"
    )


@pytest.mark.parametrize("missing", ["books", "testing_data.csv.gz", "test_answer.csv"])
def test_what_is_missing_is_named(folder, missing, tmp_path):
    if missing == "books":
        (folder / "books" / "ONE.TXT").unlink()
        (folder / "two.txt.xz").unlink()
    else:
        (folder / missing).unlink()
    command = [sys.executable, str(FOLDER / "cloze.py"), "prepare", str(folder)]
    done = subprocess.run([*command, "--output", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert ("no novels" if missing == "books" else missing.removesuffix(".gz")) in done.stderr


def test_the_recipe_is_valid_for_each_direction():
    config = load_config(FOLDER / "cloze.yaml")
    assert config.model.direction == "both" and config.units.split_punctuation


SHARED = Path("../shared/data/cloze/msr_scc")


@pytest.mark.skipif(not SHARED.exists(), reason="the questions are not here")
def test_the_questions_as_published(cloze):
    lines, answers = cloze.msr_questions(SHARED)
    assert len(lines) == len(answers) == 1040
    for line, answer in zip(lines, answers, strict=True):
        blanked = make_blanked(*parse_line(line), "")
        assert len(blanked.candidates) == 5 and (answer,) in blanked.candidates
    with open(SHARED.parent / "SAT_set_filled.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines, answers = cloze.sat_questions(SHARED.parent / "SAT_set_filled.csv")
    for line, answer, row in zip(lines, answers, rows, strict=True):
        blanked = make_blanked(*parse_line(line), "")
        filled = blanked.filled((answer,)).split()
        assert filled == row[f"{row['ans']})"].split()
