"""Documents, split into sentences and put together again."""

from __future__ import annotations

import sys

import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.translation.documents import join_document, split_document
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN

pytest.importorskip("sentencex")

TEXT = "  Dr. Smith ran.  He sat!\n\n \tIt cost 3.50. Yes\r\n\nEnd of it."


def test_nothing_is_lost():
    for text in (TEXT, "", "\n", " ", "a", "a\n", "\n\n a. B c.\t\n", "これは文です。次の文です。"):
        parts = split_document(text, "en")
        assert "".join(sentence + after for sentence, after in parts) == text
    sentences = [sentence for sentence, _ in split_document(TEXT, "en") if sentence]
    assert sentences == ["Dr. Smith ran.", "He sat!", "It cost 3.50.", "Yes", "End of it."]


@pytest.mark.parametrize(
    ("text", "source", "target", "expected"),
    [
        ("He ran.  She sat.\n\n Yes.", "en", "de", "<He ran.>  <She sat.>\n\n <Yes.>"),
        ("これは文です。次の文です。", "ja", "en", "<これは文です。> <次の文です。>"),
        ("He ran. She sat.\n", "en_GB", "zh-Hans", "<He ran.><She sat.>\n"),
        ("Herr Dr. Wu kam z. B. am 3. Mai. Er blieb.", "de", "en",
         "<Herr Dr. Wu kam z. B. am 3. Mai.> <Er blieb.>"),
        ("He ran. She sat.", "klingon", "en", "<He ran.> <She sat.>"),
    ],
)  # fmt: skip
def test_spaces_are_those_of_the_target(text, source, target, expected):
    parts = split_document(text, source)
    sentences = iter([f"<{sentence}>" for sentence, _ in parts if sentence])
    assert join_document(parts, sentences, target) == expected


def sentences(texts):
    return [f"{text.capitalize()}." for text in texts]


def test_a_document_of_any_length(translator):
    lines = [" ".join(sentences(ENGLISH)), "", f"  {sentences(ENGLISH)[1]}"] * 40
    (found,) = translator.translate_documents(["\n".join(lines)])
    every = translator.translate(sentences(ENGLISH))
    assert found.split("\n") == [" ".join(every), "", f"  {every[1]}"] * 40
    assert translator.translate_documents([]) == []


def test_by_command(run, saved, translator, tmp_path):
    lines = [" ".join(sentences(ENGLISH)), "", f"  {sentences(ENGLISH)[1]}", " ".join(ENGLISH)]
    status, out, err = run("translate", saved, "--split-sentences", stdin="\n".join(lines).encode())
    every = translator.translate(sentences(ENGLISH))
    joined = translator.translate(" ".join(ENGLISH))
    assert (status, err) == (0, "")
    assert out.split("\n") == [" ".join(every), "", every[1], joined, ""]
    for extra in (["--json"], ["--n-best", 2], ["--require", "a"], ["--prefix-column"]):
        status, _, err = run("translate", saved, "--split-sentences", *extra, stdin=b"a\n")
        assert status == 2 and "does not go with --split-sentences" in err
    assert len(GERMAN) == 3


def test_without_the_library(translator, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(UsageError, match=r"pip install 'recurrent-seq2seq\[sentences\]'"):
        translator.translate_documents(["a"])
