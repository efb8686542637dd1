"""The validation text of training, which ``perplexity`` reads again where no text is given."""

from __future__ import annotations

import json
import shutil

import pytest

from seq2seq.config import config_from_dict
from seq2seq.training.loop import train
from tests.seq2seq.tasks.generation.test_generator import make

LINES = "".join(f"{a} and {b} make {a + b}\n" for a in range(12) for b in range(12))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run that read my.txt, by this name, from its own folder."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "my.txt").write_text(LINES)
    values = {
        "task": "generation",
        "output": "run",
        "data": {"train": "my.txt", "batch_size": 4, "bptt": 16},
        "model": {"hidden_size": 8, "embedding_size": 4, "layers": 1},
        "training": {"max_steps": 2, "device": "cpu", "threads": 1},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(config_from_dict(values), quiet=True)
    return folder


def test_the_text_is_known_again(run_folder, run, monkeypatch, tmp_path):
    monkeypatch.chdir(run_folder)
    status, out, err = run("perplexity", "run/model", "--json")
    assert status == 0 and "warning" not in err
    expected = json.loads(out)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    model = str(run_folder / "run/model")
    for content, told in [
        (None, "'data.train': my.txt is not there"),
        (LINES[::-1], "'data.train': my.txt has changed since, or is another file"),
    ]:
        if content:
            (elsewhere / "my.txt").write_text(content)
        status, out, err = run("perplexity", model)
        assert (status, out) == (2, "") and told in err and "give a text: --text FILE" in err
    (elsewhere / "my.txt").write_text(LINES)
    status, out, _ = run("perplexity", model, "--json")
    assert status == 0 and json.loads(out) == expected


def test_a_model_outside_its_run_warns(run_folder, run, monkeypatch, tmp_path):
    shutil.copytree(run_folder / "run/model", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    status, _, err = run("perplexity", "model")
    assert status == 2 and "my.txt: no such file" in err and "--text FILE" in err
    (tmp_path / "my.txt").write_text(LINES)
    status, _, err = run("perplexity", "model")
    assert status == 0 and "nothing tells whether 'data.train' is still the text" in err


def test_a_session_leaves_out_the_end_of_lines_that_the_model_does_not_know(run, tmp_path):
    generator = make(documents="line", unknown="refuse")
    known = [c for c in generator.units.characters if c != "\n"]
    generator = make(documents="line", unknown="refuse")
    generator.units = type(generator.units)(known, False)
    from seq2seq.tasks.generation.cloze_model import make_model

    generator.model = make_model(generator.config.model, len(generator.units))
    generator.save_pretrained(tmp_path / "model")
    path = str(tmp_path / "model")
    status, out, err = run("generate", path, "--interactive", stdin=b"To be\nor not\n")
    assert status == 0 and "never seen" not in err
    assert out.count("\n") == 2


def test_suggest_and_the_text_name_what_is_wrong(run, tmp_path):
    make(unknown="refuse").save_pretrained(tmp_path / "model")
    status, _, err = run("suggest", str(tmp_path / "model"), stdin="To be\nß x\n".encode())
    assert status == 2 and "standard input, line 2: the prompt holds what the model has" in err
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    options = ("--text", str(tmp_path / "latin.txt"))
    status, _, err = run("perplexity", str(tmp_path / "model"), *options)
    assert status == 2 and "convert it" in err and "units.kind" not in err


def test_stretches_are_no_shorter_than_what_is_read_before_them(monkeypatch):
    from seq2seq.tasks.generation import generator as module

    asked = []
    evaluate = module.evaluate
    monkeypatch.setattr(
        module, "evaluate", lambda *a, rows, **k: asked.append(rows) or evaluate(*a, rows=rows, **k)
    )
    model = make()
    text = "To be, or not to be: that is the question.\n" * 60  # 2,580 characters
    exact, many = model.perplexity(text), model.perplexity(text, rows=10**6)
    assert asked == [1, 2] and many.nats == pytest.approx(exact.nats, rel=1e-3)


def test_a_beam_of_the_configuration_is_named(run, tmp_path):
    generator = make()
    generator.config.generation.beam_size = 3
    generator.save_pretrained(tmp_path / "model")
    status, _, err = run("generate", str(tmp_path / "model"), "--interactive", stdin=b"a\n")
    assert status == 2 and "'generation.beam_size' is 3; add --beam-size 1" in err
