"""Splitting Tatoeba: no English sentence on both sides, the same split every time."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import prepare_tatoeba as tatoeba
import pytest

PAIRS = [(f"Sentence {i}.", f"Satz {i}.") for i in range(60)]
# Other translations, and the same words with other punctuation and case.
PAIRS += [(f"Sentence {i}.", f"Der Satz {i}.") for i in range(0, 60, 2)]
PAIRS += [(f"SENTENCE {i}!", f"Satz {i}!") for i in range(0, 60, 3)]
REAL = Path("../shared/data/tatoeba/eng-deu.tsv.gz")


def letters(pairs):
    return {"".join(c for c in en.casefold() if c.isalnum()) for en, _ in pairs}


def test_groups_stay_together():
    made = tatoeba.split(PAIRS, validation=8, test=10)
    assert [len(made[name]) for name in ("validation", "test")] == [8, 10]
    assert len(letters(made["test"])) == 10
    assert not letters(made["train"]) & (letters(made["test"]) | letters(made["validation"]))
    assert not letters(made["validation"]) & letters(made["test"])
    assert letters(made["train"]) | letters(made["validation"]) | letters(made["test"]) == letters(
        PAIRS
    )
    held_out = letters(made["test"]) | letters(made["validation"])
    assert made["train"] == [pair for pair in PAIRS if not letters([pair]) <= held_out]


def test_the_order_of_the_input_does_not_matter_and_the_seed_does():
    made = tatoeba.split(PAIRS, 8, 10)
    assert letters(tatoeba.split(PAIRS[::-1], 8, 10)["test"]) == letters(made["test"])
    assert letters(tatoeba.split(PAIRS, 8, 10, seed=2)["test"]) != letters(made["test"])


def test_too_little_to_split():
    with pytest.raises(ValueError, match="60 distinct"):
        tatoeba.split(PAIRS, 30, 30)


def command(*arguments):
    return subprocess.run(
        [sys.executable, tatoeba.__file__, *map(str, arguments)], capture_output=True, text=True
    )


def test_command(tmp_path):
    path = tmp_path / "pairs.tsv.gz"
    path.write_bytes(gzip.compress("".join(f"{a}\t{b}\n" for a, b in PAIRS).encode()))
    done = command(path, "--output", tmp_path / "out", "--validation", 8, "--test", 10)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "test.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "en\tde"
    assert len(lines) == 11
    assert all(len(line.split("\t")) == 2 for line in lines)


@pytest.mark.parametrize("text", ["only one column\n", "an empty one\t\n", "a\tb\tc\n"])
def test_malformed_lines_are_named(tmp_path, text):
    path = tmp_path / "pairs.tsv"
    path.write_text("Hi.\tHallo!\n" + text, encoding="utf-8")
    done = command(path, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_file(tmp_path):
    done = command(tmp_path / "none.tsv", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "none.tsv" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not REAL.exists(), reason="the collection is not here")
def test_the_real_collection():
    pairs = tatoeba.read_pairs(REAL)
    assert len(pairs) == 169_197
    made = tatoeba.split(pairs, validation=1_000, test=5_000)
    train = {en for en, _ in made["train"]}
    assert not train & {en for name in ("validation", "test") for en, _ in made[name]}
    assert len(made["train"]) > 150_000
