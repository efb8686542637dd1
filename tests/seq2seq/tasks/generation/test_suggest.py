"""The next word: probabilities by hand, words in progress, every kind of unit, the command."""

from __future__ import annotations

import json
import random

import pytest
import torch

from seq2seq import TextGenerator, UsageError
from seq2seq.config import config_from_dict
from seq2seq.text.vocabulary import END
from seq2seq.training.loop import train
from tests.seq2seq.running import heavy_modules_after
from tests.seq2seq.tasks.generation.test_generator import make


def continued(generator, context: list[int], units: list[int]) -> tuple[float, torch.Tensor]:
    """(log p of ``units`` after ``context``, p of every unit after both)"""
    network = generator.model.eval()
    logits = network.projection(network(torch.tensor([context + units])).vectors)[0].double()
    every = logits.log_softmax(1)
    first = len(context) - 1
    total = sum(every[first + n, unit].item() for n, unit in enumerate(units))
    return total, every[-1].exp()


@pytest.mark.parametrize("begun", ["", "w"])
def test_words_of_a_vocabulary_have_its_probabilities(begun):
    generator = make("words")
    text = "to be " + begun
    _, shares = continued(generator, generator.prompt_units("to be "), [])
    words = {w: shares[n].item() for n, w in enumerate(generator.units.words, 2) if w != "<eos>"}
    words = {word: share for word, share in words.items() if word.startswith(begun)}
    found = generator.suggest(text, top=50)
    assert {one.text for one in found} == set(words)
    total = sum(words.values()) if begun else 1
    for one in found:
        assert one.probability == pytest.approx(words[one.text] / total, rel=1e-4)
    assert generator.suggest(text, top=2) == found[:2]


@pytest.mark.parametrize("kind", ["characters", "bytes"])
@pytest.mark.parametrize(("before", "begun"), [("To be ", ""), ("To be, or n", "n"), ("", "qu")])
def test_spelled_words_have_the_probability_of_their_letters(kind, before, begun):
    generator = make(kind)
    text = before if before.endswith(begun) else before + begun
    before = text.removesuffix(begun)
    found = generator.suggest(text, top=8)
    assert found == sorted(found, key=lambda one: -one.probability)
    pieces = [generator.units.piece(n) for n in range(len(generator.units))]
    if kind == "bytes":
        pieces = ["", "", *(chr(n) if n < 128 else "x" for n in range(256))]
    ends = [n for n, p in enumerate(pieces) if n > 1 and not (p.isalnum() or p in "_'-")]
    shares = []
    for one in found:
        assert one.text.startswith(begun)
        units = generator.units.encode(one.text).tolist()
        log_p, after = continued(generator, generator.prompt_units(before), units)
        shares.append(torch.tensor(log_p).exp().item() * after[ends].sum().item())
    for one, share in zip(found, shares, strict=True):
        assert one.probability / found[0].probability == pytest.approx(share / shares[0], rel=1e-3)
        if not begun:
            assert one.probability == pytest.approx(share, rel=1e-3)


def test_words_hold_their_vowel_signs(tmp_path):
    """In units of characters, a vowel sign is a unit of its own: the word goes on with it."""
    (tmp_path / "text.txt").write_text("मैं हिन्दी पढ़ती हूँ। " * 200, encoding="utf-8")
    values = {
        "task": "generation", "output": str(tmp_path / "run"),
        "data": {"train": str(tmp_path / "text.txt"), "batch_size": 4, "bptt": 32},
        "units": {"kind": "characters"},
        "model": {"embedding_size": 16, "hidden_size": 48, "layers": 1},
        "training": {"max_steps": 60, "learning_rate": 2e-2, "threads": 1, "device": "cpu"},
    }  # fmt: skip
    generator = TextGenerator.from_pretrained(train(config_from_dict(values), quiet=True))
    assert generator.suggest("मैं हि", top=1)[0].text == "हिन्दी"
    assert generator.suggest("मैं ", top=1)[0].text == "हिन्दी"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    random.seed(0)
    lines = []
    for _ in range(800):
        animal = random.choice(["dog", "doge", "cat"])
        lines.append(f"The {animal} {'barks' if animal[0] == 'd' else 'meows'}.\n")
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("kind", ["characters", "subwords", "words"])
def test_trained_models_suggest_what_fits(sentences, tmp_path, kind, run):
    values = {
        "task": "generation",
        "output": str(tmp_path / "run"),
        "data": {"train": str(sentences), "documents": "line", "batch_size": 16, "bptt": 24},
        "units": {"kind": kind, "vocab_size": 290, "subwords": "bpe",
                  "split_punctuation": True},
        "model": {"layers": 1, "hidden_size": 32, "embedding_size": 16},
        "training": {"max_steps": 120, "max_epochs": 100, "learning_rate": 2e-2, "threads": 1,
                     "precision": "fp32", "device": "cpu", "validate_every": 60},
    }  # fmt: skip
    model = train(config_from_dict(values), quiet=True)
    generator = TextGenerator.from_pretrained(model)
    for text, expected in [
        ("The dog ", ["barks"]), ("The cat m", ["meows"]), ("The cat", ["cat"]),
        ("Th", ["The"]), ("The do", ["dog", "doge"]), ("The doge b", ["barks"]),
    ]:  # fmt: skip
        found = generator.suggest(text, top=len(expected))
        assert sorted(one.text for one in found) == sorted(expected), text
        assert sum(one.probability for one in found) > 0.9
    shares = {one.text: one.probability for one in generator.suggest("The ")}
    assert all(0.2 < shares[animal] < 0.5 for animal in ("dog", "doge", "cat"))
    status, out, _ = run("suggest", model, "The dog ", "--top", "1")
    assert status == 0 and out.split("\t")[0] == "barks"
    status, out, _ = run("suggest", model, "--json", stdin=b"The cat \nThe do\n")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == ["The cat ", "The do"]
    assert rows[0]["suggestions"][0]["text"] == "meows"
    if kind == "words":
        status, out, err = run("suggest", model, "The zzzz")
        assert status == 0 and out == "\n" and "no word fits after 'The zzzz'" in err


def test_misuse():
    generator = make("words")
    for arguments, message in [((3,), "text is a int"), (("a", 0), "top is 0")]:
        with pytest.raises(UsageError, match=message):
            generator.suggest(*arguments)
    with pytest.raises(UsageError, match="cannot write"):
        make("words", direction="both").suggest("to ")
    assert END not in generator.units.encode("to").tolist()


def test_help_imports_nothing_heavy():
    assert heavy_modules_after("suggest", "--help") == "0 []"
