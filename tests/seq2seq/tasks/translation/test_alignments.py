"""Word alignments: by hand, of a model that learnt its pairs, by command."""

from __future__ import annotations

import pytest
import torch

from seq2seq.errors import UsageError
from seq2seq.tasks.translation.alignments import pharaoh, word_alignment
from seq2seq.tasks.translation.translator import Translation
from tests.seq2seq.tasks.translation.models import TEXTS, make_translator


def made(tokens, source, attention):
    return Translation("", 0.0, 0.0, True, tokens, source, torch.tensor(attention))


def test_pieces_are_joined_into_words():
    source = ["\u2581a", "\u2581do", "g", "\u2581runs"]
    target = ["\u2581er", "\u2581ren", "nt", "\u2581Hund"]
    attention = [
        [0.4, 0.3, 0.3, 0.0],  # "dog" as a word has .6, "a" .4, though "a" is the largest piece
        [0.7, 0.0, 0.0, 0.3],  # "rennt": the mean of two rows is .4 on "a", .6 on "runs"
        [0.1, 0.0, 0.0, 0.9],
        [0.5, 0.25, 0.25, 0.0],  # equal: the first
        [0.0, 0.0, 0.0, 1.0],  # the end is no word
    ]
    links = word_alignment(made(target, source, attention))
    assert links == [(1, 0), (2, 1), (0, 2)]
    assert pharaoh(links) == "1-0 2-1 0-2"
    assert word_alignment(made(target, source, attention[:4])) == links  # cut, without the end


def test_a_space_alone_is_no_word():
    attention = [[0.9, 0.0, 0.1], [0.9, 0.1, 0.0], [0.9, 0.0, 0.1]]
    spaced = made(["\u2581x", "\u2581", "\u2581y"], ["\u2581", "\u2581a", "\u2581b"], attention)
    assert word_alignment(spaced) == [(1, 0), (1, 1)]


def test_links_name_the_words_of_both_texts(translator):
    found = translator.translate_nbest(TEXTS, attention=True, n_best=3)
    for text, translations in zip(TEXTS, found, strict=True):
        for one in translations:
            links = word_alignment(one)
            assert [target for _, target in links] == list(range(len(one.text.split())))
            assert all(0 <= source < len(text.split()) for source, _ in links)


def test_without_attention(translator):
    with pytest.raises(UsageError, match="alignments need attention"):
        word_alignment(translator.translate_nbest(["a dog"])[0][0])


def test_alignments_by_command(run, saved, translator, tmp_path):
    text, path = "\n".join(TEXTS).encode(), tmp_path / "links"
    status, out, err = run("translate", saved, "--alignments", path, stdin=text)
    assert (status, err) == (0, "")
    found = translator.translate_nbest(TEXTS, n_best=1, attention=True)
    assert path.read_text().splitlines() == [pharaoh(word_alignment(one)) for (one,) in found]
    assert out.splitlines() == [one.text for (one,) in found]
    run("translate", saved, "--alignments", path, "--n-best", 2, stdin=b"a dog\n\n")
    assert len(path.read_text().splitlines()) == 3
    status, _, err = run("translate", saved, "--alignments", tmp_path, stdin=text)
    assert status == 2 and "--alignments" in err and "cannot be written" in err
    status, _, err = run("translate", saved, "--alignments", path, "--samples", 2, stdin=text)
    assert status == 2 and "--alignments does not go with --samples" in err
    arguments = ("--input", path, "--alignments", path)
    status, _, err = run("translate", saved, *arguments)
    assert status == 2 and "is an input, and would be overwritten" in err


def test_a_model_without_attention_is_one_line(run, tmp_path):
    make_translator(attention="none").save_pretrained(tmp_path / "model")
    arguments = ("--alignments", tmp_path / "links")
    status, out, err = run("translate", tmp_path / "model", *arguments, stdin=b"a dog\n")
    assert (status, out) == (2, "") and "alignments need attention" in err
    assert err.count("\n") == 1
