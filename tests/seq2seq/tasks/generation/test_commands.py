"""The commands generate, score and perplexity."""

from __future__ import annotations

import gzip
import json
import math
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
import torch

from seq2seq import TextGenerator
from tests.seq2seq.running import heavy_modules_after
from tests.seq2seq.tasks.generation.test_generator import TEXT, make


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    (folder / "text.txt").write_text(TEXT * 20, encoding="utf-8")
    generator = make()
    generator.config.data.train = str(folder / "text.txt")
    generator.save_pretrained(folder / "model")
    return str(folder / "model")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["generate", "--help"], 0),
        (["generate", "model", "--temperature", "-1"], 2),
        (["generate", "model", "--top-p", "0"], 2),
        (["generate", "model", "--top-p", "1.1"], 2),
        (["generate", "model", "--tempreature", "1"], 2),
        (["generate", "model", "--interactive", "--samples", "2"], 2),
        (["score", "model", "--threads", "0"], 2),
        (["perplexity", "--help"], 0),
    ],
)
def test_nothing_heavy_is_imported_for_help_and_mistakes(arguments, status):
    assert heavy_modules_after(*arguments) == f"{status} []"


def test_mistakes_name_the_option(run):
    for arguments, message in [
        (["--temperature", "-1"], "--temperature is -1.0; expected a number from 0"),
        (["--top-p", "0"], "--top-p is 0.0; expected 0 < top_p <= 1"),
        (["--tempreature", "1"], "did you mean --temperature?"),
        (["--prompt-file", "none.txt"], "--prompt-file none.txt: cannot be read"),
        (["--samples", "0"], "--samples is 0"),
    ]:
        status, out, err = run("generate", "model", *arguments)
        assert (status, out) == (2, "") and message in err
        assert err.count("\n") == 1


def test_generate_writes_prompt_and_text(run, model):
    expected = TextGenerator.from_pretrained(model).generate("To be", seed=1)
    status, out, _ = run("generate", model, "--prompt", "To be", "--seed", "1")
    assert (status, out) == (0, f"To be{expected}\n")
    status, out, _ = run("generate", model, "--seed", "1", "--without-prompt", stdin=b"To be\n")
    assert (status, out) == (0, f"{expected}\n")


def test_prompts_from_files_and_what_is_wrong_with_them(run, model, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_bytes("日本".encode())
    status, out, err = run("generate", model, "--prompt-file", path, "--max-length", "3")
    assert status == 0 and out.startswith("日本") and len(out) == 6 and not err
    path.write_bytes(b"abc\xe9")
    status, _, err = run("generate", model, "--prompt-file", path)
    assert status == 2 and "not UTF-8 text (byte offset 3, line 1: 0xe9)" in err
    status, _, err = run("generate", model, "--prompt", "Ω", "--max-length", "3")
    assert status == 0 and "never seen; left out: 'Ω'" in err


def test_several_samples_and_beams(run, model):
    status, out, _ = run("generate", model, "--prompt", "W", "--samples", "3", "--seed", "2")
    assert status == 0 and [line for line in out.split("\n") if line.startswith("---")] == [
        "--- 1",
        "--- 2",
        "--- 3",
    ]
    arguments = ["--prompt", "W", "--beam-size", "4", "--max-length", "8"]
    assert run("generate", model, *arguments) == run("generate", model, *arguments)
    for option in ("--seed", "--temperature", "--top-k", "--top-p", "--repetition-penalty"):
        status, out, err = run("generate", model, *arguments, option, "1")
        assert (status, out) == (2, "") and f"{option} does not go with --beam-size 4" in err
    status, _, err = run("generate", model, "--prompt", "W", "--length-penalty", "1")
    assert status == 2 and "--length-penalty goes with --beam-size" in err


def test_a_huge_prompt_is_read_whole(run, model):
    prompt = (TEXT * 400).encode()
    assert len(prompt) > 30_000
    status, out, err = run("generate", model, "--without-prompt", "--max-length", "5", stdin=prompt)
    assert status == 0 and len(out) == 6 and not err


def test_interactive_remembers(run, model):
    arguments = ["generate", model, "--interactive", "--max-length", "6", "--seed", "1"]
    status, out, _ = run(*arguments, stdin=b"To be\nor not\n")
    assert status == 0
    session = TextGenerator.from_pretrained(model).session(
        seed=1, settings=_short(TextGenerator.from_pretrained(model))
    )
    turns = ["".join(session.write(line)) for line in ("To be\n", "or not\n")]
    assert out == "".join(f"{turn}\n" for turn in turns)


def _short(generator):
    import dataclasses

    return dataclasses.replace(generator.config.generation, max_length=6)


def test_ctrl_c_ends_the_text_and_ctrl_d_the_session(model):
    """On a terminal of its own."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "seq2seq", "generate", model, "--interactive"]
    process = subprocess.Popen(
        [*command, "--max-length", "100000000"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(terminal)
    os.write(controller, b"To be\n")
    assert process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    os.write(controller, b"or\n")
    assert process.stdout.read(200)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    os.write(controller, b"\x04")
    _, errors = process.communicate(timeout=60)
    os.close(controller)
    assert process.returncode == 0 and b"Traceback" not in errors, errors


def test_an_interrupted_stream_ends_quietly(model):
    command = [sys.executable, "-m", "seq2seq", "generate", model, "--prompt", "To"]
    for how in ("signal", "pipe"):
        process = subprocess.Popen(
            [*command, "--max-length", "100000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout.read(30).startswith(b"To")
        if how == "signal":
            process.send_signal(signal.SIGINT)
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=60) in ((130, 141) if how == "signal" else (141,))
        assert b"Traceback" not in errors


def test_score_gives_a_number_a_line(run, model):
    generator = TextGenerator.from_pretrained(model)
    expected = [s.log_probability for s in generator.score(["be", "", "question"], context="To ")]
    status, out, _ = run("score", model, "--context", "To ", stdin=b"be\n\nquestion\n")
    assert status == 0
    assert [float(line) for line in out.split()] == pytest.approx(expected, abs=1e-4)
    _, out, _ = run("score", model, "--mean", "--context", "To ", stdin=b"be\n\nquestion")
    means = [float(line) for line in out.split()]
    assert means == pytest.approx([expected[0] / 2, 0, expected[2] / 8], abs=1e-4)
    assert run("score", model, stdin=b"")[:2] == (0, "")
    status, out, err = run("score", model, stdin=b"a\nb\xff\n\nc")
    assert status == 0 and len(out.splitlines()) == 4
    assert "standard input, line 2: not UTF-8 (byte 0xff at column 2)" in err
    status, _, err = run("score", model, stdin="a\nb\n".encode("utf-16"))
    assert status == 2 and "UTF-16 text" in err
    status, _, err = run("generate", model, stdin=gzip.compress(b"ab"))
    assert status == 2 and "standard input: packed, not text; unpack it first: zcat" in err


def test_perplexity_of_a_file_and_of_the_validation_text(run, model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    status, out, _ = run("perplexity", model, "--text", path, "--json")
    found = json.loads(out)
    expected = TextGenerator.from_pretrained(model).perplexity(TEXT)
    assert status == 0 and found["nats"] == pytest.approx(expected.nats, rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(found["nats"] / math.log(2))
    status, out, _ = run("perplexity", model, "--cold-window", "16")
    assert status == 0 and "bits a character" in out
    for extra in (["--cache"], ["--dynamic"], ["--rows", "4"]):
        status, out, _ = run("perplexity", model, "--json", *extra)
        assert status == 0 and math.isfinite(json.loads(out)["nats"])
    for arguments, message in [
        (["--cold-window", "0"], "--cold-window is 0"),
        (["--cache", "--cache-weight", "1.5"], "--cache-weight is 1.5"),
        (["--text", tmp_path / "none"], "cannot be read"),
    ]:
        status, _, err = run("perplexity", model, *arguments)
        assert status == 2 and message in err


def test_a_translation_model_is_refused(run, tmp_path):
    (tmp_path / "config.json").write_text('{"format": "seq2seq-translation"}')
    status, _, err = run("generate", tmp_path, "--prompt", "a")
    assert status == 1 and "expected 'seq2seq-generation'" in err
    assert torch.is_inference_mode_enabled() is False


def test_a_line_that_cannot_be_read_does_not_end_the_session(run, model):
    arguments = ["generate", model, "--interactive", "--max-length", "6", "--seed", "1"]
    status, out, err = run(*arguments, stdin=b"To \xff\nTo be\r\n")
    assert status == 0
    assert "this line: not UTF-8 text (byte offset 3, line 1: 0xff); convert it\n" in err
    expected = run(*arguments, stdin=b"To be\n")[1]
    assert out == "\n" + expected


def test_closed_streams_are_empty_ones(model):
    command = f"{sys.executable} -m seq2seq"
    for rest in (f"generate {model} --max-length 3 <&-", f"generate {model} --prompt To >&-",
                 f"score {model} <&-", f"generate {model} --interactive <&-"):  # fmt: skip
        done = subprocess.run(f"{command} {rest}", shell=True, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), rest


def test_wrong_options_of_perplexity_are_named(run):
    for name, value in [
        ("--cache-flatness", "nan"),
        ("--cache-weight", "1"),
        ("--dynamic-rate", "-1"),
        ("--dynamic-steps", "0"),
        ("--rows", "0"),
    ]:
        status, out, err = run("perplexity", "model", "--cache", "--dynamic", name, value)
        assert (status, out) == (2, "") and f"{name} is {value}" in err, err


@pytest.mark.parametrize(
    ("size", "expected", "told"),
    [(10**9, 1, "not enough memory"), (2**63 - 1, 2, "expected at most 2,147,483,647")],
)
def test_too_large_a_model_is_said_in_words(run, tmp_path, size, expected, told):
    (tmp_path / "text.txt").write_text("some text\n" * 20)
    (tmp_path / "run.yaml").write_text(f"task: generation\nmodel: {{hidden_size: {size}}}\n")
    options = ["--data.train", tmp_path / "text.txt", "--output", tmp_path / "run"]
    status, _, err = run("train", tmp_path / "run.yaml", *options)
    assert status == expected and told in err and "Traceback" not in err


def test_a_perplexity_beyond_floating_point_is_null_in_json(model, run, tmp_path):
    (tmp_path / "long.txt").write_text("a" * 3000, encoding="utf-8")
    status, out, err = run("perplexity", model, "--text", tmp_path / "long.txt", "--json")
    assert status == 0, err
    assert "Infinity" not in out and json.loads(out)["word_perplexity"] is None


def test_json_of_one_prompt_and_of_one_on_each_line(run, model, tmp_path):
    fixed = ("--seed", "1", "--max-length", "5")
    status, out, err = run("generate", model, "--json", "--prompt", "To be", *fixed)
    assert status == 0, err
    one = json.loads(out)
    assert one.keys() == {"prompt", "text", "units", "reason"}
    assert (one["prompt"], one["units"], one["reason"]) == ("To be", 5, "length")
    _, plain, _ = run("generate", model, "--prompt", "To be", "--without-prompt", *fixed)
    assert plain == one["text"] + "\n"
    lines = ("--json", "--lines", "--samples", "2", *fixed)
    stdin = "To be\n\nW\r\nTo be\n"
    status, out, err = run("generate", model, *lines, stdin=stdin.encode())
    assert status == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["prompt"] for row in rows] == ["To be", "To be", "", "", "W", "W"] + ["To be"] * 2
    assert rows[0] == one and rows[:2] == rows[-2:] and rows[1] != one
    (tmp_path / "prompts.txt").write_text(stdin)
    path = ("--prompt-file", str(tmp_path / "prompts.txt"))
    assert run("generate", model, *lines, *path)[1] == out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lines"], "--lines goes with --json"),
        (["--lines", "--json", "--prompt", "a"], "--lines does not go with --prompt"),
        (["--json", "--interactive"], "--json does not go with --interactive"),
        (["--json", "--without-prompt"], "--without-prompt does not go with --json"),
        (["--temperature", "0", "--top-k", "3"], "--top-k does nothing with --temperature 0"),
    ],
)
def test_options_of_generate_that_do_nothing(run, model, arguments, message):
    status, out, err = run("generate", model, *arguments)
    assert (status, out) == (2, "") and message in err


def test_prompts_before_one_that_is_refused_are_answered(run, tmp_path):
    generator = make(unknown="refuse")
    generator.save_pretrained(tmp_path / "model")
    lines = ("--json", "--lines", "--max-length", "3")
    stdin = b"To be\nW\nxyzQ\nTo\n"
    status, out, err = run("generate", str(tmp_path / "model"), *lines, stdin=stdin)
    assert status == 2 and "standard input, line 3: the prompt holds what" in err
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == ["To be", "W"]
    status, out, err = run("generate", str(tmp_path / "model"), *lines, "--prompt-file", "none")
    assert (status, out) == (2, "") and "--prompt-file none" in err


def test_what_is_switched_off_goes_with_temperature_0(run, model):
    off = ("--temperature", "0", "--top-k", "0", "--top-p", "1", "--max-length", "3")
    assert run("generate", model, "--prompt", "To be", *off)[0] == 0
