import gzip
import json
import lzma
import os
import re
import subprocess
import sys
import threading

import pytest
import torch

from seq2seq import Translator
from seq2seq.config import config_from_dict
from seq2seq.tasks.translation.config import DecodingConfig
from seq2seq.tasks.translation.model import TranslationModel
from seq2seq.text.sentencepiece import Tokenizer

LINES = ["a dog runs home", "the cat sleeps on the mat", "two birds sing in a tree"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with random weights: its text is nonsense, one line for each line all the same."""
    values = {
        "tokenizer": {"vocab_size": 45, "kind": "bpe", "byte_fallback": False},
        "model": {
            "encoder": {"layers": 1, "hidden_size": 8},
            "decoder": {"hidden_size": 8},
            "embedding_size": 8,
            "init_range": 0.7,
        },
        "decoding": {"max_length_ratio": 0.5, "max_length_extra": 4, "beam_size": 2},
    }
    config = config_from_dict(values)
    tokenizer = Tokenizer.train(LINES * 3, config.tokenizer)
    torch.manual_seed(1)
    network = TranslationModel(config.model, len(tokenizer), len(tokenizer))
    directory = tmp_path_factory.mktemp("saved") / "model"
    Translator(network, tokenizer, tokenizer, config).save_pretrained(directory)
    return str(directory)


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# ----------------------------------------------------------------------------------- translate


def test_translate_streams(run, model):
    status, out, err = run("translate", model, stdin="\n".join(LINES).encode())
    assert (status, err) == (0, "")
    expected = Translator.from_pretrained(model).translate(LINES)
    assert out == "".join(f"{line}\n" for line in expected)


@pytest.mark.parametrize("size", [1, 2])
def test_one_line_out_for_each_line_in_whatever_it_holds(run, model, size):
    odd = [
        b"a dog",
        b"",
        b" \t ",
        b"a\0dog",
        b"\xff\xfe dog",
        b"a\xe2\x80\xa8dog",
        b"dog\r",
        b"cat",
    ]
    status, out, err = run("translate", model, "--batch-size", size, stdin=b"\n".join(odd) + b"\n")
    assert status == 0
    lines = out.split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(odd)
    assert all(len(line.splitlines()) <= 1 for line in lines)
    assert lines[1] == lines[2] == ""
    assert lines[0] != "" and lines[7] != ""
    assert "standard input, line 5: not UTF-8 (byte 0xff at column 1)" in err
    assert len(err.splitlines()) == 1


def test_line_of_ten_thousand_words(run, model):
    text = b"dog\n" * 20 + b"dog " * 10_000 + b"\ndog\n"
    arguments = ["--max-length-ratio", "0.02", "--batch-size", "1"]
    status, out, err = run("translate", model, *arguments, stdin=text)
    assert status == 0
    assert out.count("\n") == 22
    assert "seq2seq: line 21 has " in err and "first 1024 are translated" in err


def test_empty_input(run, model):
    assert run("translate", model, stdin=b"")[:2] == (0, "")


def test_byte_order_mark_and_last_line_without_newline(run, model):
    plain = run("translate", model, stdin=b"a dog\ntwo birds\n")
    marked = run("translate", model, stdin=b"\xef\xbb\xbfa dog\r\ntwo birds")
    assert marked == plain


def test_translate_files(run, model, tmp_path):
    with gzip.open(tmp_path / "in.gz", "wb") as stream:
        stream.write("\n".join(LINES).encode())
    arguments = ["--input", tmp_path / "in.gz", "--output", tmp_path / "out"]
    assert run("translate", model, *arguments) == (0, "", "")
    expected = Translator.from_pretrained(model).translate(LINES)
    assert (tmp_path / "out").read_text().splitlines() == expected


def test_n_best_and_scores(run, model):
    text = "\n".join([LINES[0], "", LINES[1]]).encode()
    _, out, _ = run("translate", model, "--beam-size", 3, "--n-best", 2, stdin=text)
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "3", "3"]
    assert float(rows[0][1]) >= float(rows[1][1])
    assert rows[2] == ["2", "0.0000", ""]
    _, plain, _ = run("translate", model, "--beam-size", 3, stdin=text)
    _, scored, _ = run("translate", model, "--beam-size", 3, "--scores", stdin=text)
    first = scored.splitlines()[0].split("\t")
    assert first == [rows[0][1], plain.splitlines()[0]] == rows[0][1:]


def test_json(run, model):
    text = f"{LINES[0]}\n\n{LINES[1]} \u00e9\n".encode()
    arguments = ("--beam-size", 3, "--n-best", 2, "--json")
    status, out, err = run("translate", model, *arguments, stdin=text)
    assert (status, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    assert [(one["line"], one["source"]) for one in found] == [
        (1, LINES[0]),
        (2, ""),
        (3, f"{LINES[1]} \u00e9"),
    ]
    assert [len(one["translations"]) for one in found] == [2, 1, 2]
    translator = Translator.from_pretrained(model)
    expected = translator.translate_nbest([one["source"] for one in found], beam_size=3, n_best=2)
    for one, translations in zip(found, expected, strict=True):
        for given, translation in zip(one["translations"], translations, strict=True):
            assert given == {
                name: getattr(translation, name)
                for name in "text score log_probability finished tokens token_scores".split()
            }
    assert len(found[0]["translations"][0]["token_scores"]) > 1
    status, _, err = run("translate", model, "--json", "--scores", stdin=b"a dog\n")
    assert (status, "not allowed with" in err) == (2, True)


def test_search_options_reach_the_search(run, model):
    text = LINES[1].encode()
    _, out, _ = run("translate", model, "--beam-size", 1, stdin=text)
    translator = Translator.from_pretrained(model)
    assert out.rstrip("\n") == translator.translate([LINES[1]], beam_size=1)[0]
    _, short, _ = run("translate", model, "--max-length-ratio", 0, stdin=text)
    assert len(short) < len(out)
    count = len(translator.target_tokenizer.encode(out.rstrip("\n")))
    longer = ("--max-length-extra", 60, "--min-length", count + 20)
    _, long, _ = run("translate", model, *longer, "--beam-size", 1, stdin=text)
    decoding = DecodingConfig(beam_size=1, max_length_ratio=0.5, max_length_extra=60)
    decoding.min_length = count + 20
    assert long.rstrip("\n") == translator.translate(LINES[1], decoding=decoding) != out
    _, once, _ = run("translate", model, "--no-repeat-ngram", 1, stdin=text)
    pieces = translator.target_tokenizer.encode(once)
    assert len(set(pieces)) == len(pieces)


def test_n_best_beyond_the_beam(run, model):
    status, _, err = run("translate", model, "--beam-size", 2, "--n-best", 3, stdin=b"a dog")
    assert status == 2
    assert "--n-best is 3; expected 1 to 2" in err


def test_attention_plot(run, model, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "attention.png"
    status, out, _ = run("translate", model, "--attention-plot", path, stdin=b"\n\na dog runs\n")
    assert status == 0
    assert out.count("\n") == 3
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_another_kind_is_refused_at_once(run, model, tmp_path):
    status, _, err = run("translate", model, "--attention-plot", tmp_path / "a.jpg", stdin=b"a\n")
    assert status == 2
    assert "a.jpg' is no name of a picture that ends in one of: .png, .svg, .pdf" in err


def test_attention_plot_of_blank_lines(run, model, tmp_path):
    status, out, err = run("translate", model, "--attention-plot", tmp_path / "a.png", stdin=b"\n")
    assert (status, out) == (2, "\n")
    assert "every line of the input is blank" in err


@pytest.mark.parametrize(
    ("backend", "message"), [("foo", "unknown backend 'foo'"), ("triton", "backend 'triton'")]
)
def test_a_backend_that_cannot_run_is_one_line(run, model, monkeypatch, backend, message):
    monkeypatch.setenv("KERNELS_BACKEND", backend)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    status, _, err = run("translate", model, stdin=b"a dog\n")
    assert status == 2
    assert message in err and err.count("\n") == 1


def test_a_model_of_another_task_names_the_command(run, model):
    status, _, err = run("generate", model, "--prompt", "a")
    assert status == 1
    assert "this is a translation model" in err and "use 'seq2seq translate'" in err


def test_missing_model_and_missing_input(run, model, tmp_path):
    status, _, err = run("translate", tmp_path / "none")
    assert (status, "no such directory" in err) == (2, True)
    status, _, err = run("translate", model, "--input", tmp_path / "none.txt")
    assert (status, "no such file" in err) == (2, True)


def test_damaged_model_exits_with_1(run, tmp_path):
    (tmp_path / "config.json").write_text("{")
    status, _, err = run("translate", tmp_path)
    assert status == 1
    assert "config.json: damaged" in err


def test_input_is_not_overwritten(run, model, tmp_path):
    path = write(tmp_path / "text", LINES)
    status, _, err = run("translate", model, "--input", path, "--output", path)
    assert status == 2
    assert "would be overwritten" in err
    assert path.read_text().splitlines() == LINES


def test_progress_where_nobody_watches(run, model):
    status, out, err = run("translate", model, "--progress", stdin=b"a dog\n\na cat\n")
    assert status == 0 and out.count("\n") == 3
    assert re.fullmatch(r"seq2seq: 3 lines, [\d.]+ lines/s\n", err)


@pytest.mark.parametrize(("ending", "module"), [("gz", gzip), ("xz", lzma)])
def test_packed_input(run, model, tmp_path, ending, module):
    path, text = tmp_path / f"in.{ending}", "\n".join(LINES).encode()
    path.write_bytes(module.compress(text))
    plain = run("translate", model, stdin=text)
    assert run("translate", model, "--input", path) == plain
    path.write_bytes(module.compress(text * 50)[:-12])
    status, _, err = run("translate", model, "--input", path)
    assert status == 2 and f"in.{ending}: not a whole" in err


@pytest.mark.parametrize("kind", ["utf-16", "utf-16le", "utf-32"])
def test_text_of_another_encoding_is_refused(run, model, kind):
    status, out, err = run("translate", model, stdin="a dog runs\n".encode(kind))
    assert (status, out) == (2, "")
    assert "standard input: UTF-" in err and "convert it with: iconv" in err


def test_a_pipe_is_an_input(run, model, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("\n".join(LINES),))
    writer.start()
    found = run("translate", model, "--input", pipe)
    writer.join()
    assert found == run("translate", model, stdin="\n".join(LINES).encode())


def test_reader_that_goes_away_is_no_error(model):
    """``seq2seq translate ... | head -1``"""
    command = [sys.executable, "-m", "seq2seq", "translate", model, "--batch-size", "1"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _, err = process.communicate(b"a dog\n" * 50)
    assert process.returncode == 141
    assert err == b""


# ------------------------------------------------------------------------------------ evaluate


@pytest.fixture
def files(tmp_path):
    return {
        "source": write(tmp_path / "source", LINES),
        "reference": write(
            tmp_path / "reference",
            ["ein hund rennt heim", "die katze schläft hier", "zwei vögel singen heute"],
        ),
    }


def test_evaluate_a_model(run, model, files, tmp_path):
    common = ["--source", files["source"], "--reference", files["reference"], "--json"]
    common += ["--metrics", "chrf", "bleu", "--bootstrap", "20"]
    status, out, err = run("evaluate", model, *common, "--output", tmp_path / "hypotheses")
    assert status == 0
    assert "3 sentences in" in err
    found = json.loads(out)
    assert found["sentences"] == 3
    assert list(found["scores"]) == ["chrf", "bleu"]
    assert "tok:13a" in found["scores"]["bleu"]["signature"]
    expected = Translator.from_pretrained(model).translate(LINES)
    assert (tmp_path / "hypotheses").read_text().splitlines() == expected
    again = ["--hypotheses", tmp_path / "hypotheses", *common[2:]]
    status, out, err = run("evaluate", *again)
    assert (status, json.loads(out)) == (0, found)


def test_evaluate_text_without_spaces(run, tmp_path):
    (tmp_path / "z").write_text("我是一个人在这里吃饭\n", encoding="utf-8")
    arguments = ("evaluate", "--hypotheses", tmp_path / "z", "--reference", tmp_path / "z")
    _, out, err = run(*arguments, "--bootstrap", 0)
    assert "BLEU = 0.00" in out and "--tokenize zh (Chinese) or char" in err
    _, out, err = run(*arguments, "--bootstrap", 0, "--tokenize", "zh", "--lowercase")
    assert "BLEU = 100.00" in out and "case:lc" in out and not err


def test_what_is_written_is_packed_as_it_is_named(run, model, tmp_path):
    plain = run("translate", model, stdin=b"a dog\na bird\n")[1]
    for ending, packer in ((".gz", gzip), (".xz", lzma)):
        path = tmp_path / f"out{ending}"
        assert run("translate", model, "--output", path, stdin=b"a dog\na bird\n")[0] == 0
        assert packer.open(path, "rt").read() == plain
        status, out, _ = run("evaluate", "--hypotheses", path, "--reference", path, "--metrics=ter")
        assert status == 0 and "TER = 0.00" in out


def test_evaluate_hypotheses_with_several_references(run, files):
    names = [files["source"], files["reference"]]
    status, out, _ = run(
        "evaluate", "--hypotheses", names[1], "--reference", *names, "--bootstrap", "0"
    )
    assert status == 0
    assert out.startswith("BLEU = 100.00  [nrefs:2|case:mixed|eff:no|tok:13a|")
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (LINES[:2], "source has 3 lines, {bad} has 2"),
        ([], "{bad}: the file is empty"),
    ],
)
def test_unequal_and_empty_files(run, files, tmp_path, lines, message):
    bad = write(tmp_path / "bad", lines)
    status, _, err = run("evaluate", "no/model/needed", "--source", files["source"],
                         "--reference", bad)  # fmt: skip
    assert status == 2
    assert message.format(bad=bad) in err


def test_missing_and_invalid_files(run, files, tmp_path):
    status, _, err = run(
        "evaluate", "--hypotheses", tmp_path / "none", "--reference", files["reference"]
    )
    assert (status, "none: cannot be read" in err) == (2, True)
    (tmp_path / "latin").write_bytes("zwei v\xf6gel\n".encode("latin1"))
    status, _, err = run(
        "evaluate", "--hypotheses", tmp_path / "latin", "--reference", files["reference"]
    )
    assert status == 2
    assert "latin, line 1: not valid UTF-8" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reference", "r"], "nothing to score"),
        (["m", "--reference", "r"], "--source is missing"),
        (["m", "--hypotheses", "h", "--reference", "r"], "leave out MODEL"),
        (["--hypotheses", "h", "--source", "s", "--reference", "r"], "go with MODEL"),
    ],
)
def test_evaluate_needs_something_to_score(run, arguments, message):
    status, _, err = run("evaluate", *arguments)
    assert status == 2
    assert message in err


def test_evaluate_does_not_overwrite_its_input(run, model, files):
    source, reference = files["source"], files["reference"]
    arguments = ["--source", source, "--reference", reference, "--output", reference]
    status, _, err = run("evaluate", model, *arguments)
    assert status == 2
    assert "would be overwritten" in err
    assert len(files["reference"].read_text().splitlines()) == 3
