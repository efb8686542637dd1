"""The made-up corpus: the same for the same seed, distinct, and cleanly split."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import corpus
import pytest
from grammar import lexicon
from grammar.draw import Draw

SCRIPT = Path(corpus.__file__)
CHOICES = [1, 6, 5, 2, 3, 3, 4, 5, "a", True]  # of Draw(1): eight dice, a letter, a coin


@pytest.fixture(scope="module")
def made():
    return corpus.generate(train=4_000, validation=200, test=400, seed=1)


def test_counts_and_distinct_within_and_across_splits(made):
    assert {split: len(pairs) for split, pairs in made.items()} == {
        "train": 4_000,
        "validation": 200,
        "test": 400,
    }
    everything = [pair.en for pairs in made.values() for pair in pairs]
    assert len(set(everything)) == len(everything)
    train = {pair.de for pair in made["train"]}
    assert not train & {pair.de for pair in made["test"]}


def test_same_seed_same_corpus_and_other_seed_another():
    first = corpus.generate(50, 10, 20, seed=7)
    assert corpus.generate(50, 10, 20, seed=7) == first
    other = corpus.generate(50, 10, 20, seed=8)
    assert not {pair.en for pair in first["train"]} & {pair.en for pair in other["train"]}


def test_test_set_does_not_depend_on_the_size_of_the_training_set():
    assert corpus.generate(10, 5, 20, seed=3)["test"] == corpus.generate(90, 5, 20, seed=3)["test"]


def test_choices_are_those_of_every_python_version():
    """Written down once; a change of these numbers changes every corpus."""
    draw = Draw(1)
    found = [draw.whole(1, 6) for _ in range(8)] + [draw.one("abcdef"), draw.chance(0.5)]
    assert found == CHOICES
    digest = hashlib.sha256()
    for split, pairs in corpus.generate(200, 20, 20, seed=1).items():
        digest.update("".join(f"{split}\t{pair.en}\t{pair.de}\n" for pair in pairs).encode())
    code = (
        "import sys, corpus, hashlib; d = hashlib.sha256()\n"
        "for s, ps in corpus.generate(200, 20, 20, seed=1).items():\n"
        "    d.update(''.join(f'{s}\\t{p.en}\\t{p.de}\\n' for p in ps).encode())\n"
        "sys.stdout.write(d.hexdigest())"
    )
    # Another process has other hashes of strings: sets must not decide an order.
    for hash_seed in ("0", "1"):
        again = subprocess.run(
            [sys.executable, "-c", code],
            cwd=SCRIPT.parent,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert again.stdout == digest.hexdigest()


def test_a_name_belongs_to_one_split(made):
    """Names of the test set never stand in the training set."""
    months = {month.en for month in lexicon.months}
    pattern = re.compile(r"\b[A-Z][a-z]{4,}")

    def shared_words(split):
        return {
            w for pair in made[split] for w in pattern.findall(pair.en) if w in pair.de
        } - months

    test_names = shared_words("test")
    assert len(test_names) > 200
    assert not test_names & (shared_words("train") | shared_words("validation"))


def test_shape_of_sentences(made):
    lengths = [len(pair.en.split()) for pair in made["train"]]
    assert min(lengths) >= 2
    assert max(lengths) <= 30
    assert sum(4 <= n <= 22 for n in lengths) > 0.95 * len(lengths)
    short, long = (sum(n <= 6 for n in lengths), sum(n >= 13 for n in lengths))
    assert short > 0.1 * len(lengths)
    assert long > 0.1 * len(lengths)
    for pair in made["train"]:
        for text in (pair.en, pair.de):
            assert text == " ".join(text.split())
            assert text[-1] in ".?"
            assert not text[0].islower()
            assert not re.search(r",[,.?]|\.\.| [,.?]|None|\{", text), text
        assert pair.en.endswith("?") == pair.de.endswith("?")


def test_articles_agree(made):
    for pair in made["train"]:
        assert not re.search(r"\ba [aeio]", pair.en.lower()), pair.en
        assert not re.search(r"\ban [^aeiou]", pair.en.lower()), pair.en


def test_one_english_sentence_has_one_translation():
    """Drawn twice with other seeds, what comes up again is translated as before."""
    known: dict[str, str] = {}
    again = 0
    for seed in range(1, 4):
        for pair in corpus.generate(3_000, 0, 0, seed)["train"]:
            again += pair.en in known
            assert known.setdefault(pair.en, pair.de) == pair.de
    assert again > 10


def test_command_writes_six_files(tmp_path):
    counts = {"train": 30, "validation": 5, "test": 7}
    options = [word for name, n in counts.items() for word in (f"--{name}", str(n))]
    subprocess.run(
        [sys.executable, SCRIPT, "--output", tmp_path / "data", "--seed", "2", *options], check=True
    )
    written = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert written == sorted(f"{name}.{language}" for name in counts for language in ("en", "de"))
    for name, count in counts.items():
        for language in ("en", "de"):
            text = (tmp_path / "data" / f"{name}.{language}").read_text(encoding="utf-8")
            assert text.count("\n") == count
            assert text.endswith("\n")
