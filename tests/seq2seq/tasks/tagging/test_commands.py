"""The commands: tag, evaluate-tags."""

from __future__ import annotations

import contextlib
import json
import os

import pytest

from seq2seq.tasks.tagging.config import TaggingDataConfig
from seq2seq.tasks.tagging.sentences import load_sentences

TEXT = b"we met Ann Bo in Rome ?\n\nwe saw Di .\n"


@pytest.fixture
def tag(run, model):
    def run_tag(*options, stdin=TEXT):
        status, out, err = run("tag", model, "--device", "cpu", *options, stdin=stdin)
        assert status == 0, err
        return out

    return run_tag


def test_columns(tag):
    blocks = tag().split("\n\n")
    assert blocks[0].splitlines() == [
        *("# kind = question", "we\tO\tW", "met\tO\tV", "Ann\tB-PER\tN", "Bo\tI-PER\tN"),
        *("in\tO\tW", "Rome\tB-LOC\tN", "?\tO\tM"),
    ]
    assert blocks[1].splitlines()[:3] == ["", "# kind = statement", "we\tO\tW"]
    lines = tag("--probabilities").splitlines()
    assert lines[1].startswith("# kind_probability = 0.9")
    line = lines[4].split("\t")
    assert line[:2] == ["Ann", "B-PER"] and 0 < float(line[2]) <= 1 and len(line) == 5


def test_colours(tag, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\033" not in tag()  # no terminal
    coloured = tag("--colour", "always")
    assert "\033[1;36mAnn\tB-PER\tN\033[0m" in coloured and "\033[1;33mRome" in coloured


def test_json_one_line_for_each_line(tag):
    values = [json.loads(line) for line in tag("--json").splitlines()]
    assert [one["text"] for one in values] == ["we met Ann Bo in Rome ?", "", "we saw Di ."]
    assert values[0]["spans"]["ner"][0] == {"start": 7, "end": 13, "label": "PER", "text": "Ann Bo"}
    assert values[0]["sentence_label"] == "question" and values[1]["tokens"] == []
    assert all(one.keys() == values[0].keys() for one in values)
    assert values[1]["sentence_label"] is None and values[1]["spans"] == {"ner": []}
    lines = [json.loads(line) for line in tag("--json", "--probabilities").splitlines()]
    assert all(one.keys() == lines[0].keys() for one in lines)
    assert lines[1]["probabilities"] == lines[1]["labels"] == {"ner": [], "pos": []}
    sure = lines[0]
    assert len(sure["probabilities"]["pos"]) == 7 and sure["spans"]["ner"][0]["probability"] > 0.5


@pytest.mark.parametrize("options", [(), ("--split", "words"), ("--columns",)])
def test_json_is_data_again(tag, run, model, tmp_path, options):
    text = "we met Ann Bo  in Rome's ?\n\nwe saw Di .\n"
    if "--columns" in options:
        text = "we\tx\nsaw\tx\nDi Bo\tx\nBo\tx\n\nwe\tx\n"  # a word with a space
    path = tmp_path / "labels.jsonl"
    tag("--json", "--output", path, "--probabilities", *options, stdin=text.encode())
    written = [one for one in map(json.loads, path.read_text().splitlines()) if one["tokens"]]
    for labels in (["ner", "pos"], ["ner=1", "pos=2"]):
        found = load_sentences(path, TaggingDataConfig(labels=labels, sentence_label="kind"))
        for one, values in zip(found, written, strict=True):
            assert one.words == values["tokens"]
            assert one.labels == list(values["labels"].values())
            assert one.sentence_label == values["sentence_label"]
    for part in ("labels", "spans"):  # each alone says it, too
        alone = [{k: v for k, v in one.items() if k != part} for one in written]
        path.write_text("\n".join(map(json.dumps, alone)))
        labels = ["ner"] if part == "labels" else ["ner", "pos"]
        again = load_sentences(path, TaggingDataConfig(labels=labels))
        assert [one.labels for one in again] == [one.labels[: len(labels)] for one in found]
    status, out, err = run("evaluate-tags", model, path, "--device", "cpu", "--json")
    assert status == 0, err
    assert json.loads(out)["pos"]["accuracy"] == json.loads(out)["kind"]["accuracy"] == 100


def test_running_text_and_its_characters(tag):
    text = "We saw Di in Oslo."
    (line,) = tag("--json", "--split", "words", stdin=text.encode()).splitlines()
    span = json.loads(line)["spans"]["ner"][-1]
    assert text[span["start"] : span["end"]] == span["text"] == "Oslo"


def test_columns_are_kept(tag, tmp_path):
    text = "# id = 7\n# kind = ?\nwe\tx\ty\nsaw\tx\ty\nDi\tx\ty\n\nBo\tx\ty\n"
    out = tag("--columns", stdin=text.encode())
    assert out.startswith("# id = 7\n# kind = statement\nwe\tx\ty\tO\tW\n")
    rows = [line.split("\t") for line in out.splitlines() if line and not line.startswith("#")]
    assert rows[2] == ["Di", "x", "y", "B-PER", "N"] and len(rows) == 4
    path = tmp_path / "labels.txt"
    tag("--columns", "--input", _file(tmp_path, text), "--output", path)
    assert path.read_text() == out


def test_lines_that_are_no_word_stand_where_they_stood(tag):
    text = "-DOCSTART- -X-\n\n# id = 7\n# kind = ?\n# more = 1\nwe x\nsaw x\n\n\nDi x\n"
    first = tag("--columns", "--probabilities", stdin=text.encode()).splitlines()[0]
    assert first == "-DOCSTART-\t-X-\tO\t_\t_\t_"  # two labels with a probability each
    out = tag("--columns", stdin=text.encode())
    blocks = out.split("\n\n")
    assert blocks[0] == "-DOCSTART-\t-X-\tO\t_"
    assert blocks[1].splitlines() == [
        *("# id = 7", "# kind = statement", "# more = 1", "we\tx\tO\tW", "saw\tx\tO\tV"),
    ]
    assert blocks[2].splitlines()[-1] == "Di\tx\tB-PER\tN"
    assert tag("--columns", stdin=out.encode()).splitlines()[0] == "-DOCSTART-\t-X-\tO\t_\tO\t_"
    values = tag("--columns", "--json", stdin=text.encode()).splitlines()
    assert len(values) == 2 and all(json.loads(line)["tokens"] for line in values)


def test_conllu_is_kept(tag, tmp_path):
    rest = "\t_" * 8
    rows = [
        *("# newdoc", "# text = we'm Di", f"1-2\twe'm{rest}", f"1\twe{rest}", f"2\tmet{rest}"),
        *(f"2.1\tleft{rest}", f"3\tDi{rest}", "", "# end"),
    ]
    path = tmp_path / "in.conllu"
    path.write_text("\n".join(rows))
    lines = tag("--columns", "--input", path).splitlines()
    assert lines == [
        *("# newdoc", "# text = we'm Di", "# kind = statement", f"1-2\twe'm{rest}\tO\t_"),
        *(f"1\twe{rest}\tO\tW", f"2\tmet{rest}\tO\tV", f"2.1\tleft{rest}\tO\t_"),
        *(f"3\tDi{rest}\tB-PER\tN", "", "# end", ""),
    ]
    for bare in (rows, rows[2:]):  # of a stream, without a name
        assert tag("--columns", stdin="\n".join(bare).encode()).splitlines()[-6:] == lines[-6:]


@contextlib.contextmanager
def pipe(text):
    """The name of a pipe that holds ``text``."""
    end, begin = os.pipe()
    with open(begin, "wb") as stream:
        stream.write(text.encode())
    yield f"/dev/fd/{end}"
    os.close(end)


def test_streams_are_scored_as_files_are(run, model, tmp_path):
    rest = "\t_" * 5
    rows = [
        *("# newdoc", "# kind = statement", f"1-2\twe'm{rest}\t_\t_\tO", f"1\twe\t_\tW{rest}\tO"),
        *(f"2\tsaw\t_\tV{rest}\tO", f"3\tDi\t_\tN{rest}\tB-PER", f"4\t.\t_\tM{rest}\tO"),
    ]
    conllu = "\n".join(rows) + "\n\n" + "\n".join(rows[1:]) + "\n"
    values = {"tokens": ["we", "saw", "Di", "."], "9": ["O", "O", "B-PER", "O"], "upos": [*"WVNM"]}
    lines = 2 * (json.dumps({**values, "kind": "statement"}) + "\n")
    scores = []
    for name, text in (("a.conllu", conllu), ("a.jsonl", lines)):
        (tmp_path / name).write_text(text)
        with pipe(text) as stream:
            for path in (tmp_path / name, stream):
                options = ("--labels", "ner=9", "pos=upos", "--device", "cpu", "--json")
                status, out, err = run("evaluate-tags", model, path, *options)
                assert status == 0, err
                scores.append(json.loads(out))
    assert scores[0]["words"] == 8 and scores[0]["pos"]["accuracy"] == 100
    assert all(one == scores[0] for one in scores)
    columns = "1\tDi" + "\tB-PER\tN" * 4 + "\n"  # --words says that it is no CoNLL-U
    options = ("--words", "1", "--labels", "ner=2", "pos=3", "--device", "cpu")
    with pipe("# kind = statement\n" + columns) as stream:
        status, _, err = run("evaluate-tags", model, stream, *options)
    assert status == 0, err


def test_pictures(tag, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "spans.svg"
    tag("--plot", path)
    assert path.stat().st_size > 1000


def _file(folder, text):
    path = folder / "in.txt"
    path.write_text(text)
    return path


def test_scores(run, model, tmp_path):
    data = model.parent.parent / "validation.txt"
    output = tmp_path / "pairs.txt"
    status, out, err = run("evaluate-tags", model, data, "--device", "cpu", "--output", output)
    assert status == 0, err
    assert out.startswith("ner: F1 ") and "\n  LOC  F1 " in out and "\nkind: accuracy" in out
    assert "30 sentences" in err and "words/s" in err
    kept = (model.parent / "validation.columns").read_text()
    assert output.read_text() == kept
    status, out, _ = run("evaluate-tags", model, data, "--device", "cpu", "--json")
    scores = json.loads((model.parent / "validation.scores.json").read_text())
    values = json.loads(out)
    assert status == 0 and values["ner"] == scores["ner"] and values["sentences"] == 30
    assert values["kind"]["accuracy"] == scores["kind"]["accuracy"]


def test_other_columns(run, model, tmp_path):
    path = _file(tmp_path, "# kind = question\n7\tN\tB-PER\tAnn\n8\tM\tO\t?\n")
    options = ("--device", "cpu", "--words", "3", "--labels", "ner=2", "pos=1")
    status, out, err = run("evaluate-tags", model, path, *options)
    assert status == 0, err
    assert out.startswith("ner: F1")
    status, _, err = run("evaluate-tags", model, path, "--labels", "pos=1")
    assert status == 2 and "the model labels ner, pos" in err
    (tmp_path / "a.conllu").write_text("1\tAnn" + "\t_" * 8 + "\n")
    options = ("--columns", "--words", "1", "--input", tmp_path / "a.conllu")
    status, _, err = run("tag", model, *options)
    assert status == 2 and "--words goes with columns, and " in err and "is conllu" in err
    status, _, err = run("evaluate-tags", model, tmp_path / "a.jsonl", "--words", "3")
    assert status == 2 and "--words goes with columns" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--input", "none.txt"), "no such file"),
        (("--batch-size", "0"), "no whole number of at least 1"),
        (("--plot", "a.txt"), "no name of a picture"),
        (("--split", "lines"), "invalid choice"),
        (("--words", "1"), "--words goes with --columns"),
        (("--features", "a=1"), "--features goes with --columns"),
        (("--columns", "--features", "a=1"), "--features a=1: the model reads words alone"),
    ],
)
def test_mistakes(run, model, options, message):
    status, _, err = run("tag", model, *options, stdin=TEXT)
    assert status == 2 and message in err


def test_columns_that_are_none(run, model):
    status, _, err = run("tag", model, "--columns", stdin=b"a b\nc\n")
    assert status == 2 and "standard input, line 2: 1 columns" in err
    status, _, err = run("tag", model, "--columns", stdin=b'{"tokens": ["a"]}\n')
    assert status == 2 and "standard input: JSON lines; --columns expects" in err
    status, _, err = run("tag", model, "--plot", "a.png", stdin=b"\n")
    assert status == 2 and "no sentence was labelled" in err


def test_input_that_is_output(run, model, tmp_path):
    path = _file(tmp_path, "a\n")
    status, _, err = run("tag", model, "--input", path, "--output", path)
    assert status == 2 and "would be overwritten" in err
