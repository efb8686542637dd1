import gzip
import io
import json
import subprocess
import sys

import pytest
import torch

from seq2seq import Translator
from seq2seq.cli import main
from seq2seq.config import config_from_dict
from seq2seq.errors import RunError
from seq2seq.models import TranslationModel
from seq2seq.tokenizer import Tokenizer

LINES = ["a dog runs home", "the cat sleeps on the mat", "two birds sing in a tree"]
HEAVY = ("torch", "datasets", "pyarrow", "sentencepiece", "sacrebleu", "matplotlib", "numpy")


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


@pytest.fixture
def run(monkeypatch, capsysbinary):
    """Run a command in this process: (exit status, standard output, standard error)."""

    def run_command(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code
        out, err = capsysbinary.readouterr()
        return status, out.decode(), err.decode()

    return run_command


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# ----------------------------------------------------------------------- start, help, mistakes


def heavy_modules_after(*arguments):
    code = (
        "import sys\n"
        "from seq2seq.cli import main\n"
        "try:\n    status = main(sys.argv[1:])\n"
        "except SystemExit as error:\n    status = error.code\n"
        f"print(status, [name for name in {HEAVY} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["translate", "model", "--beam", "5"], 2),
        (["train", "no-such.yaml", "--training.max_step", "5"], 2),
        (["train", "no-such.yaml"], 2),
        (["evaluate", "--reference", "x"], 2),
    ],
)
def test_nothing_heavy_is_imported_for_help_and_mistakes(arguments, status):
    assert heavy_modules_after(*arguments) == f"{status} []"


def test_import_of_the_package_is_light():
    code = f"import seq2seq, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unknown_name_in_the_package():
    import seq2seq

    assert "Translator" in dir(seq2seq)
    with pytest.raises(AttributeError, match="Translater"):
        _ = seq2seq.Translater


@pytest.mark.parametrize("command", ["train", "translate", "evaluate", "plot"])
def test_each_command_has_help(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert f"usage: seq2seq {command}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translate", "m", "--beamsize", "5"], "unknown option --beamsize; did you mean --beam"),
        (["translate", "m", "more"], "unexpected argument 'more'"),
        (["translate", "m", "--beam-size", "0"], "'0' is no whole number of at least 1"),
        (["translate", "m", "--length-penalty", "nan"], "'nan' is no number of at least 0"),
        (["translate", "m", "--precision", "fp8"], "invalid choice: 'fp8'"),
        (["translate"], "the following arguments are required: MODEL"),
        (["translat"], "invalid choice: 'translat'"),
        (["train", "c.yaml", "--resum"], "unknown option --resum; did you mean --resume?"),
        (["train", "c.yaml", "--max_steps", "5"], "did you mean --training.max_steps?"),
        (["train", "c.yaml", "--trainin.max_step=5"], "did you mean --training.max_steps?"),
        (["train", "c.yaml", "--training.max_steps"], "--training.max_steps needs a value"),
        (["train", "no.yaml"], "config no.yaml: cannot be read"),
    ],
)
def test_wrong_use_is_named_and_exits_with_2(run, arguments, message):
    status, out, err = run(*arguments)
    assert status == 2
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_no_command_prints_the_help(run):
    status, out, _ = run()
    assert status == 2
    assert "translate" in out


def test_version(run):
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("seq2seq ")


# --------------------------------------------------------------------------------------- train


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """What the training loop is called with."""
    import seq2seq.training.loop

    calls = []

    def train(config, *, quiet, resume):
        calls.append((config, quiet, resume))
        return tmp_path / "model"

    monkeypatch.setattr(seq2seq.training.loop, "train", train)
    return calls


def test_overrides_in_both_spellings(run, tmp_path, trained):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\ntraining:\n  max_steps: 7\n")
    status, out, err = run(
        "train", "--training.max_steps", "9", path, "--seed=2", "--data.filter.max_length=50",
        "--training.learning_rate", "1e-4", "--output", "runs/x=y", "--quiet",
    )  # fmt: skip
    assert (status, err) == (0, "")
    ((config, quiet, resume),) = trained
    assert (config.training.max_steps, config.seed, config.output) == (9, 2, "runs/x=y")
    assert config.data.filter.max_length == 50
    assert config.training.learning_rate == 1e-4
    assert (quiet, resume) == (True, False)
    assert str(tmp_path / "model") in out


def test_resume(run, tmp_path, trained):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\n")
    assert run("train", path, "--resume")[0] == 0
    assert trained[0][1:] == (False, True)


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("trainin:\n  max_steps: 5\n", [], "unknown key 'trainin'; did you mean 'training'?"),
        ("seed: many\n", [], "'seed' is 'many'; expected a whole number"),
        ("seed: 1\n", ["--seed", "x"], "'seed' is 'x'; expected a whole number"),
        ("seed: [\n", [], "not valid YAML"),
    ],
)
def test_bad_configuration(run, tmp_path, trained, text, arguments, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    status, _, err = run("train", path, *arguments)
    assert (status, trained) == (2, [])
    assert message in err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RunError("loss is NaN at step 3"), 1, "seq2seq: loss is NaN at step 3\n"),
        (KeyboardInterrupt(), 130, "seq2seq: interrupted\n"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
    ],
)
def test_exit_status_of_failures(run, tmp_path, monkeypatch, error, status, message):
    import seq2seq.training.loop

    def train(config, *, quiet, resume):
        raise error

    monkeypatch.setattr(seq2seq.training.loop, "train", train)
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\n")
    found, _, err = run("train", path)
    assert found == status
    assert message in err and "Traceback" not in err


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


def test_search_options_reach_the_search(run, model):
    text = LINES[1].encode()
    _, out, _ = run("translate", model, "--beam-size", 1, stdin=text)
    translator = Translator.from_pretrained(model)
    assert out.rstrip("\n") == translator.translate([LINES[1]], beam_size=1)[0]
    _, short, _ = run("translate", model, "--max-length-ratio", 0, stdin=text)
    assert len(short) < len(out)
    _, once, _ = run("translate", model, "--no-repeat-ngram", 1, stdin=text)
    pieces = translator.target_tokenizer.encode(once)
    assert len(set(pieces)) == len(pieces)


def test_n_best_beyond_the_beam(run, model):
    status, _, err = run("translate", model, "--beam-size", 2, "--n-best", 3, stdin=b"a dog")
    assert status == 2
    assert "n_best is 3; expected 1 to 2" in err


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
    assert "a.jpg' is no name of a picture that ends in .png" in err


def test_attention_plot_of_blank_lines(run, model, tmp_path):
    status, out, err = run("translate", model, "--attention-plot", tmp_path / "a.png", stdin=b"\n")
    assert (status, out) == (2, "\n")
    assert "every line of the input is blank" in err


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


def test_truncated_gzip(run, model, tmp_path):
    whole = gzip.compress("\n".join(LINES * 50).encode())
    (tmp_path / "in.gz").write_bytes(whole[:-12])
    status, _, err = run("translate", model, "--input", tmp_path / "in.gz")
    assert status == 1
    assert "not a whole gzip file" in err


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


# ---------------------------------------------------------------------------------------- plot


def test_plot(run, tmp_path):
    pytest.importorskip("matplotlib")
    entries = [{"step": step, "loss": 9.0 - step} for step in range(5)]
    write(tmp_path / "log.jsonl", [json.dumps(entry) for entry in entries])
    status, out, _ = run("plot", tmp_path)
    assert status == 0
    assert out == f"{tmp_path / 'learning_curve.png'}\n"
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert run("plot", tmp_path, "--output", tmp_path / "other.png")[0] == 0
    assert (tmp_path / "other.png").exists()


def test_plot_of_no_run(run, tmp_path):
    status, _, err = run("plot", tmp_path)
    assert status == 2
    assert "log.jsonl: cannot be read" in err
