"""Labelled sentences from files, and what is wrong with files."""

from __future__ import annotations

import gzip
import json
import logging
import lzma

import pytest

from seq2seq import UsageError
from seq2seq.tasks.tagging.columns import write_pairs
from seq2seq.tasks.tagging.config import TaggingDataConfig
from seq2seq.tasks.tagging.sentences import Sentence, format_of, load_sentences


def load(tmp_path, text, name="a.txt", **data):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_sentences(path, TaggingDataConfig(**data))


def test_columns(tmp_path):
    text = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n \t \nGerman JJ B-MISC\n"
    found = load(tmp_path, text, labels=["pos=1", "ner=-1"])
    assert found == [
        Sentence(["EU", "rejects"], [["NNP", "VBZ"], ["B-ORG", "O"]], None, 3),
        Sentence(["German"], [["JJ"], ["B-MISC"]], None, 7),
    ]
    tabs = load(tmp_path, "B-X\tNew York\nO\t.\n\nO\tx\n", words=1, labels=["ner=0"])
    assert [one.words for one in tabs] == [["New York", "."], ["x"]]  # a word with a space
    assert load(tmp_path, "a O\r\nb B-X\r\n")[0].labels == [["O", "B-X"]]


def test_comments_and_the_label_of_the_whole(tmp_path):
    text = "# intent = book\n# id = 7\nto O\nRome B-X\n\n# intent = ask\n# O\nwhy O\n"
    found = load(tmp_path, text, sentence_label="intent")
    assert [(one.words, one.sentence_label) for one in found] == [
        (["to", "Rome"], "book"),
        (["#", "why"], "ask"),  # a word, no comment
    ]
    with pytest.raises(UsageError, match=r"a.txt, line 5: .*'# intent = LABEL' above it"):
        load(tmp_path, "# intent = a\nb O\n\n\nc O\n", sentence_label="intent")


def test_conllu(tmp_path):
    rows = [
        "# text = I'm here",
        "# newpar",
        "1-2\tI'm\t_\t_\t_\t_\t_\t_\t_\t_",
        "1\tI\tI\tPRON\tPRP\t_\t3\tnsubj\t_\t_",
        "2\t'm\tbe\tAUX\tVBP\t_\t3\tcop\t_\t_",
        "2.1\tleft\t_\tX\t_\t_\t_\t_\t_\t_",
        "3\there\there\tADV\tRB\t_\t0\troot\t_\t_",
        "",
    ]
    text = "\n".join(rows)
    (found,) = load(tmp_path, text, "a.conllu", labels=["upos", "tag=xpos"])
    assert found.words == ["I", "'m", "here"]
    assert found.labels == [["PRON", "AUX", "ADV"], ["PRP", "VBP", "RB"]]
    with pytest.raises(UsageError, match=r"line 4: 2 columns.*CoNLL-U has 10"):
        load(tmp_path, "\n".join([*rows[:3], "I\tPRON"]), "a.conllu", labels=["upos"])
    with pytest.raises(UsageError, match=r"expected part=NUMBER.*or one of form, lemma, upos"):
        load(tmp_path, text, "a.conllu", labels=["part"])


def test_json_lines(tmp_path):
    lines = [
        {"tokens": ["Ann", "left"], "ner": ["B-P", "O"], "kind": "a"},
        {
            "text": "In New York, Ann left",
            "ner": [{"start": 3, "end": 11, "label": "L"}, {"start": 13, "end": 16, "type": "P"}],
            "kind": "b",
        },
        {"text": "Nobody", "ner": [], "kind": "b"},
    ]
    text = "\n\n".join(map(json.dumps, lines))
    found = load(tmp_path, text, "a.jsonl", labels=["ner"], sentence_label="kind")
    assert [one.labels for one in found] == [
        [["B-P", "O"]],
        [["O", "B-L", "I-L", "O", "B-P", "O"]],
        [["O"]],
    ]
    assert [one.line for one in found] == [1, 3, 5]
    assert found[1].words == ["In", "New", "York", ",", "Ann", "left"]


def json_of(tmp_path, values, **data):
    return load(tmp_path, json.dumps(values), "a.jsonl", **data)[0]


def test_spans_of_words_in_their_text(tmp_path):
    values = {"text": "In New York's, York", "tokens": ["In", "New", "York's", ",", "York"]}
    values["ner"] = [{"start": 3, "end": 13, "label": "L"}]
    found = json_of(tmp_path, values, labels=["ner"])
    assert found.words == values["tokens"] and found.labels == [["O", "B-L", "I-L", "O", "O"]]
    # without words of its own the text would be split otherwise: York | 's
    values["ner"] = [{"start": 15, "end": 19, "label": "L"}]
    values["offsets"] = [[0, 2], [3, 6], [7, 13], [13, 14], [15, 19]]
    assert json_of(tmp_path, values, labels=["ner"]).labels == [["O", "O", "O", "O", "B-L"]]
    values |= {"tokens": ["New", "York"], "offsets": [[3, 6], [15, 19]]}  # the second York
    assert json_of(tmp_path, values, labels=["ner"]).labels == [["O", "B-L"]]
    values = {"text": "a ( b", "tokens": ["a", "-LRB-", "b"], "ner": ["O", "O", "B-X"]}
    assert json_of(tmp_path, values, labels=["ner"]).labels == [["O", "O", "B-X"]]
    values["ner"] = []  # no span
    assert json_of(tmp_path, values, labels=["ner"]).labels == [["O", "O", "O"]]


def test_labels_as_tag_writes_them(tmp_path):
    spans = [{"start": 3, "end": 7, "label": "L"}]
    values = {"text": "in Oslo", "spans": {"ner": spans}, "labels": {"pos": ["P", "N"]}}
    values["sentence_label"] = "x"
    for labels in (["ner", "pos"], ["place=ner", "pos"], ["ner=1", "pos=2"]):
        found = json_of(tmp_path, values, labels=labels, sentence_label="kind")
        assert found == Sentence(["in", "Oslo"], [["O", "B-L"], ["P", "N"]], "x", 1)
    values |= {"kind": "y", "ner": ["O", "B-M"]}  # the keys themselves come first
    found = json_of(tmp_path, values, labels=["ner"], sentence_label="kind")
    assert found.labels == [["O", "B-M"]] and found.sentence_label == "y"
    values = {"tokens": ["a"], "labels": {"labels": ["X"]}}  # a column of this name
    assert json_of(tmp_path, values, labels=["labels"]).labels == [["X"]]


def test_blank_lines_as_tag_writes_them(tmp_path):
    blank = {"text": " ", "tokens": [], "offsets": [], "labels": {"ner": []}}
    text = json.dumps(blank) + '\n{"tokens": ["a"], "ner": ["O"]}\n'
    assert [one.line for one in load(tmp_path, text, "a.jsonl", labels=["ner"])] == [2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "expected an object"),
        ("{", "not JSON"),
        ('{"ner": []}', "expected 'tokens'"),
        ('{"tokens": [], "ner": []}', "a sentence without words"),
        ('{"tokens": ["a", ""], "ner": []}', "expected 'tokens', a list of words"),
        ('{"tokens": ["a"]}', "'ner' is None"),
        ('{"tokens": ["a"], "ner": ["O", "O"]}', "1 words and 2 labels in 'ner'"),
        ('{"tokens": ["a"], "ner": [{"start": 0, "end": 1, "label": "X"}]}', "need 'text'"),
        ('{"text": "ab", "ner": [{"start": 0, "end": 1, "label": "X"}]}', "within a word"),
        ('{"text": "ab", "ner": [{"start": 0, "label": "X"}]}', "no span with"),
        (
            '{"text": "a b", "ner": [{"start": 0, "end": 3, "label": "X"},'
            ' {"start": 2, "end": 3, "label": "Y"}]}',
            "spans overlap at word 1",
        ),
        ('{"text": "a b", "ner": [{"start": 2, "end": 1, "label": "X"}]}', "ends before it begins"),
        ('{"tokens": ["a\\ud800"], "ner": ["O"]}', "half a character"),
        ('{"tokens": ["a\\tb"], "ner": ["O"]}', r"the word 'a\\tb'; expected neither a tab nor"),
        ('{"tokens": ["a", "\\n"], "ner": ["O", "O"]}', r"the word '\\n'; expected neither"),
        ('{"tokens": ["a"], "ner": ["B-X\\tY"]}', r"'ner' has the label 'B-X\\tY'"),
        (
            '{"text": "a", "ner": [{"start": 0, "end": 1, "label": "X\\r"}]}',
            r"'ner' has the label 'B-X\\r'",
        ),
        ('{"tokens": ["a"], "labels": {"ner": []}}', "1 words and 0 labels in 'labels.ner'"),
        ('{"tokens": ["a"], "spans": {"ner": [{}]}}', "spans in 'spans.ner' need 'text'"),
        (
            '{"text": "a", "spans": {"ner": []}, "labels": {"ner": ["B-X"]}}',
            "'a' is O by 'spans.ner' and B-X by 'labels.ner'",
        ),
        (
            '{"text": "a b", "tokens": ["b", "a"], "ner": [{"start": 2, "end": 3, "label": "X"}]}',
            "'tokens' has 'a', which 'text' lacks from character 3 on",
        ),
        (
            '{"text": "a", "tokens": ["a"], "offsets": [], "ner": [{"start": 0}]}',
            "0 pairs in 'offsets' for 1 words",
        ),
        (
            '{"text": "a", "tokens": ["a"], "offsets": [[0]], "ner": [{"start": 0}]}',
            r"'offsets' has \[0\]; expected \[start, end\]",
        ),
        (
            '{"text": "ab", "tokens": ["a"], "offsets": [[1, 2]], "ner": [{"start": 0}]}',
            r"'offsets' has \[1, 2\] for 'a', and 'text' has there 'b'",
        ),
    ],
)
def test_wrong_json(tmp_path, line, message):
    good = '{"tokens": ["a"], "ner": ["O"]}\n'
    with pytest.raises(UsageError, match=f"a.jsonl, line 2.*{message}"):
        load(tmp_path, good + line, "a.jsonl", labels=["ner"])


def test_a_label_of_the_whole_on_two_lines(tmp_path):
    text = '{"tokens": ["a"], "ner": ["O"], "kind": "x\\ny"}'
    with pytest.raises(UsageError, match=r"a.jsonl, line 1: the label of the sentence is 'x\\ny'"):
        load(tmp_path, text, "a.jsonl", labels=["ner"], sentence_label="kind")


@pytest.mark.parametrize(
    ("text", "data", "message"),
    [
        ("a O\nb\n", {}, r"line 2: 1 columns \('b'\); the first line has 2"),
        ("a O\nb O X\n", {}, "line 2: 3 columns"),
        ("a\tO\nb\t\n", {}, "line 2: no label 'label' in column 1"),
        ("a\tO\n\tO\n", {}, "line 2: no word in column 0"),
        ("a O\n", {"labels": ["x=2"]}, "line 1: 2 columns, and x should stand in column 2"),
        ("a O\n", {"words": -3}, "words should stand in column -3"),
        ("a O\n", {"labels": ["x=0"]}, "two read the same column"),
        ("a O\n", {"labels": ["x=last"]}, "expected x=NUMBER, a column counted from 0"),
        ("\n \n", {}, "no sentence in it"),
        (b"caf\xe9 O\n", {}, "line 1: not valid UTF-8.*latin1"),
    ],
)
def test_wrong_columns(tmp_path, text, data, message):
    with pytest.raises(UsageError, match=f"a.txt.*{message}"):
        load(tmp_path, text, **data)


def test_files_and_their_endings(tmp_path):
    text = b"a O\n"
    assert len(load(tmp_path, gzip.compress(text), "a.txt.gz")) == 1
    assert len(load(tmp_path, lzma.compress(text), "a.txt.xz")) == 1
    with pytest.raises(UsageError, match=r"a.xz: not a whole xz file"):
        load(tmp_path, lzma.compress(text)[:-9], "a.xz")
    with pytest.raises(UsageError, match=r"none.txt: no such file"):
        load_sentences(tmp_path / "none.txt", TaggingDataConfig())
    assert format_of("a.jsonl.gz") == "json" and format_of("a.CONLLU.xz") == "conllu"
    assert format_of("a.conll") == "columns" and format_of("a.json", "columns") == "columns"


CONLLU = "# newdoc id = 1\n# text = I'm\n\n# newpar\n{}1\tI\t_\tPRON" + "\t_" * 6 + "\n"


@pytest.mark.parametrize("before", ["", "1-2\tI'm" + "\t_" * 8 + "\n", "0.1\tx" + "\t_" * 8 + "\n"])
def test_conllu_by_its_first_line(tmp_path, before):
    text = CONLLU.format(before)
    for words in (0, 1):
        (found,) = load(tmp_path, text, labels=["upos", "miss=-1"], words=words)
        assert found.words == ["I"] and found.labels == [["PRON"], ["_"]]
    with pytest.raises(UsageError, match=rf"line {text.count(chr(10)) + 1}: .*CoNLL-U has 10"):
        load(tmp_path, text + "2\tam\n", labels=["upos"])


def test_columns_that_look_like_conllu(tmp_path):
    text = CONLLU.format("").removeprefix("# newdoc id = 1\n# text = I'm\n\n# newpar\n")
    for data in ({"words": 1}, {"words": 3, "labels": ["x=1"]}, {"format": "columns"}):
        assert load(tmp_path, text, **data)[0].words[0] in ("I", "PRON", "1")
    assert load(tmp_path, text, words=1)[0].labels == [["_"]]  # the last column, as ever
    assert load(tmp_path, text, format="columns", labels=["x=3"])[0].words == ["1"]
    nine = text.replace("\t_\n", "\n")
    assert load(tmp_path, nine, labels=["x=3"])[0].words == ["1"]


def test_json_by_its_first_line(tmp_path):
    text = '\n {"tokens": ["a"], "label": ["O"]}\n'
    assert [(one.words, one.line) for one in load(tmp_path, text)] == [(["a"], 2)]
    found = load(tmp_path, "{ O\n\n{x} O\n")  # words, no objects
    assert [one.words for one in found] == [["{"], ["{x}"]]
    assert load(tmp_path, "# O\n{ O\n")[0].words == ["#", "{"]


def test_what_bio_forbids_is_repaired_and_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found = load(tmp_path, "a B-X\nb I-Y\n\nc O\nd I-X\n")
    assert [one.labels[0] for one in found] == [["B-X", "B-Y"], ["O", "B-X"]]
    assert "line 1: label: B-X I-Y is no sequence" in caplog.text and "(1 of 2" in caplog.text
    caplog.clear()
    assert load(tmp_path, "a I-X\nb B-X\n")[0].labels == [["B-X", "B-X"]]  # IOB1
    assert load(tmp_path, "a U-X\nb B-Y\nc L-Y\n")[0].labels == [["B-X", "B-Y", "I-Y"]]  # BILOU
    assert not caplog.text


def test_pairs_are_columns_again(tmp_path):
    sentences = [Sentence(["a", "b"], [["B-X", "O"]], None, 1)]
    text = write_pairs(sentences, [[["O", "O"]]])
    assert text == "a\tB-X\tO\nb\tO\tO\n\n"
    assert load(tmp_path, text, labels=["gold=1", "found=2"])[0].labels[0] == ["B-X", "O"]
