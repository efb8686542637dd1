"""Every form of labelled text gives the same examples, and wrong files say where."""

from __future__ import annotations

import gzip
import json
import lzma

import pytest

from seq2seq import UsageError
from seq2seq.tasks.classification.config import ClassDataConfig
from seq2seq.tasks.classification.labelled import read_texts, texts_of
from seq2seq.tasks.classification.series_files import read_series
from seq2seq.tasks.classification.targets import Targets, learn_targets
from seq2seq.tasks.classification.trees import phrases_of, read_tree

ROWS = [("good", "a fine film"), ("bad", "it 's dull , no ?")]


def jsonl(rows):
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for label, text in rows)


FORMS = {
    "a.tsv": "".join(f"{label}\t{text}\n" for label, text in ROWS),
    "header.tsv": "text\tlabel\n" + "".join(f"{text}\t{label}\n" for label, text in ROWS),
    "a.csv": "id,label,text\n" + "".join(f'1,{label},"{text}"\n' for label, text in ROWS),
    "a.jsonl": jsonl(ROWS),
    "a.txt": "".join(f"__label__{label} {text}\n" for label, text in ROWS),
    "first": "".join(f"{label} {text}\n" for label, text in ROWS),
    "trees.txt": "(good (0 (1 a) (2 fine)) (0 film))\n"
    "(bad (0 it) (0 (0 's) (0 (0 dull) (0 (0 ,) (0 (0 no) (0 ?))))))\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_examples(tmp_path, name):
    for ending, pack in (("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)):
        path = tmp_path / (name + ending)
        path.write_bytes(pack(FORMS[name].encode()))
        found = read_texts(str(path), ClassDataConfig())
        assert list(zip(found.targets, found.inputs, strict=True)) == ROWS
        assert found.where(1).startswith(f"{path}, line ")


def test_several_labels_and_numbers(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("x,y\tone\n\ty two\ny\tthree\n".replace("\ty two", "y,\ttwo"))
    found = read_texts(str(path), ClassDataConfig(target="labels"))
    assert found.targets == [["x", "y"], ["y"], ["y"]]
    assert Targets("labels", ("x", "y")).encode(found).tolist() == [[1, 1], [0, 1], [0, 1]]
    fasttext = tmp_path / "a.txt"
    fasttext.write_text("__label__x __label__y one\n")
    assert read_texts(str(fasttext), ClassDataConfig(target="labels")).targets == [["x", "y"]]
    path.write_text("1.5\tone\n-2e3\ttwo\n")
    assert read_texts(str(path), ClassDataConfig(target="number")).targets == [1.5, -2000]


def test_other_encodings(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes("x\tné\r\ny\tb\n".encode("latin1"))
    with pytest.raises(UsageError, match=r"line 1: not valid UTF-8.*; or set 'data.encoding'"):
        read_texts(str(path), ClassDataConfig())
    assert read_texts(str(path), ClassDataConfig(encoding="latin1")).inputs == ["né", "b"]
    with pytest.raises(UsageError, match="not ascii text"):
        read_texts(str(path), ClassDataConfig(encoding="ascii"))


def test_labels_are_renamed_and_left_out(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("0\ta\n1\tb\n2\tc\n")
    config = ClassDataConfig(rename=["0=low", "1="])
    found = read_texts(str(path), config)
    assert (found.targets, found.inputs) == (["low", "2"], ["a", "c"])
    with pytest.raises(UsageError, match="no example is left"):
        read_texts(str(path), ClassDataConfig(rename=["0=", "1=", "2="]))


def test_rules_without_use_are_known(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("0\ta\n1\tb\n")
    found = read_texts(str(path), ClassDataConfig(rename=["0=low", "on=high", "1="]))
    assert found.unused == ["on"]


def test_several_labels_may_be_none_at_all(tmp_path):
    config = ClassDataConfig(target="labels")
    for name, text in (
        ("a.tsv", "x,y\tone\n\ttwo\n"),
        ("a.csv", 'label,text\n"x,y",one\n ,two\n'),
        ("a.jsonl", '{"text": "one", "label": "x,y"}\n{"text": "two", "label": []}\n'),
    ):
        (tmp_path / name).write_text(text)
        assert read_texts(str(tmp_path / name), config).targets == [["x", "y"], []]


@pytest.mark.parametrize("name", FORMS)
def test_blank_lines_before_the_first_tell_nothing(tmp_path, name):
    path = tmp_path / name
    path.write_text("\n \n\n" + FORMS[name] if "csv" not in name else "\n\n" + FORMS[name])
    found = read_texts(str(path), ClassDataConfig())
    assert list(zip(found.targets, found.inputs, strict=True)) == ROWS


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt", "trees.txt"])
@pytest.mark.parametrize("text", ["\n\n", " \n\t\n", ",\n,,\n"])
def test_files_with_nothing_in_them(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    for config in (ClassDataConfig(), ClassDataConfig(target="labels")):
        with pytest.raises(UsageError):
            read_texts(str(tmp_path / name), config)
    if name == "a.csv":
        with pytest.raises(UsageError):
            read_series(str(tmp_path / name), ClassDataConfig(kind="series"))


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_texts_without_labels(form):
    head = "" if form == "jsonl" else {"csv": "id,text", "tsv": "id\ttext"}[form]
    rows = {
        "csv": ['1,"a, ""b""', 'c"', "2,d"],
        "tsv": ["1\ta", "2\td"],
        "jsonl": ['{"text": "a"}', "", '{"text": "d", "label": 3}'],
    }[form]
    found = texts_of("here", ["", head, *rows], ClassDataConfig(), form)
    assert found == (['a, "b"\nc', "d"] if form == "csv" else ["a", "d"])
    wrong = {"csv": ["a,b", "1,2"], "tsv": ["text\tb", "1"], "jsonl": ['{"txt": 1}']}[form]
    with pytest.raises(UsageError, match=r"here, (line|text) 1: "):
        texts_of("here", wrong, ClassDataConfig(), form)


def test_phrases_of_trees(tmp_path):
    path = tmp_path / "trees"
    path.write_text("(3 (2 a) (4 (4 fine) (2 -LRB-)))\n(2 (2 a) (1 (1 dull) (2 a)))\n")
    whole = read_texts(str(path), ClassDataConfig(format="trees"))
    assert whole.inputs == ["a fine (", "a dull a"]
    found = read_texts(str(path), ClassDataConfig(format="trees", phrases=True), phrases=True)
    pairs = list(zip(found.targets, found.inputs, strict=True))
    assert pairs == [
        ("3", "a fine ("), ("2", "a"), ("4", "fine ("), ("4", "fine"), ("2", "("),
        ("2", "a dull a"), ("1", "dull a"), ("1", "dull"),
    ]  # fmt: skip
    assert len(phrases_of(read_tree("(1 (2 a))", "here"))) == 2


BAD = {
    "a.tsv": [
        ("good\ta film\n\tno label\n", "line 2: a text without label: 'no label'"),
        ("good\ta film\ngood\t \n", r"line 2: a label \('good'\) without text"),
        ("good\ta film\ngood\ta\tb\n", "line 2: 3 columns; expected 2"),
        ("a\tb\tc\n", "line 1: 3 columns; expected label, a tab and the text"),
    ],
    "a.csv": [
        ("label,words\nx,y\n", "line 1: no column 'text' .'data.text'.; there are: label, words"),
        ("label,text\nx\n", "line 2: 1 columns; the header has 2"),
        ("label,text\nx,y\n \t,z\n", "line 3: a text without label: 'z'"),
        ('label,text\nx,"y\n', "line 2: not CSV"),
    ],
    "a.jsonl": [
        ('{"text": "a", "label": 1}\n{"text": "a"}\n', "line 2: a text without label"),
        ('{"text": 1, "label": 1}\n', "line 1: expected an object with a text 'text'"),
        ("{\n", "line 1: not JSON"),
        ('{"text": "é", "label": "a\\ud800"}\n', "line 1 holds .*half a character"),
        ('{"text": "\\ud800", "label": "a"}\n', "line 1 holds .*half a character"),
        ('{"text": "a", "label": ["x", "y"]}\n', "line 1: several labels.*data.target: labels"),
    ],
    "a.txt": [("__label__x a\nb c\n", "line 2: a text without label: 'b c'")],
    "first": [("x a\nx\n", "line 2: a label .'x'. without text")],
    "trees": [
        ("(1 (2 a)\n", "line 1: no tree: brackets do not match"),
        ("(1 (2 a)) b\n", "first_word|without"),
        ("(1 ())\n", "line 1: no tree: a bracket without label"),
    ],
}


@pytest.mark.parametrize(
    ("name", "content", "message"), [(n, *case) for n, cases in BAD.items() for case in cases]
)
def test_wrong_files_say_where(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    if "first_word" in message:  # not a tree at its end: the first word is taken for the label
        assert read_texts(str(path), ClassDataConfig()).targets == ["(1"]
        return
    with pytest.raises(UsageError, match=message):
        read_texts(str(path), ClassDataConfig())


def test_wrong_numbers_and_labels_say_where(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("1\ta\nnan\tb\n")
    with pytest.raises(UsageError, match="line 2: the target is 'nan'; expected a number"):
        read_texts(str(path), ClassDataConfig(target="number"))
    path.write_text("good\ta\nbad\tb\n")
    targets = learn_targets("label", read_texts(str(path), ClassDataConfig()))
    assert targets.names == ("bad", "good")
    path.write_text("good\ta\ngoood\tb\n")
    found = read_texts(str(path), ClassDataConfig())
    with pytest.raises(UsageError, match=r"line 2: label 'goood' is none.*did you mean 'good'"):
        targets.encode(found)
    path.write_text("good\ta\ngood\tb\n")
    with pytest.raises(UsageError, match="one label alone, 'good'"):
        learn_targets("label", read_texts(str(path), ClassDataConfig()))
    with pytest.raises(UsageError, match="no such file"):
        read_texts(str(tmp_path / "none"), ClassDataConfig())


def test_labels_that_are_numbers_stand_by_value(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"{n}\tx\n" for n in (10, 9, 2, "a")))
    assert learn_targets("label", read_texts(str(path), ClassDataConfig())).names == (
        "2", "9", "10", "a",
    )  # fmt: skip
