"""The recipes' configurations, and the demo from end to end at a fraction of its size."""

from __future__ import annotations

import json
from pathlib import Path

import demo
import pytest
import yaml

from seq2seq.config import config_to_dict, load_config
from seq2seq.public_data import fetch
from seq2seq.tasks.translation.config import TranslationConfig

FOLDER = Path(demo.__file__).parent
SHARED = Path("../shared/data/multi30k")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_is_a_valid_configuration(path):
    config = load_config(path)
    assert config.data.train and config.data.validation
    assert config.output.startswith("runs/")


def keys(values, prefix=""):
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


def test_multi30k_documents_every_key():
    written = set(keys(yaml.safe_load((FOLDER / "multi30k.yaml").read_text(encoding="utf-8"))))
    assert written == set(keys(config_to_dict(TranslationConfig())))


@pytest.mark.skipif(not SHARED.exists(), reason="Multi30k is not here")
def test_multi30k_finds_its_files(tmp_path):
    fetch("multi30k", tmp_path / "data", mirror=str(SHARED.parent))
    data = load_config(FOLDER / "multi30k.yaml").data
    for pattern in (data.train, data.validation, data.test):
        for language in (data.source, data.target):
            assert (tmp_path / pattern.format(lang=language)).exists()


def test_the_demos_differ_in_attention_alone():
    first = config_to_dict(load_config(FOLDER / "demo.yaml"))
    second = config_to_dict(load_config(FOLDER / "demo_no_attention.yaml"))
    assert second["model"]["decoder"].pop("attention") == "none"
    assert first["model"]["decoder"].pop("attention") != "none"
    assert first.pop("output") != second.pop("output")
    assert first == second


def test_names_and_numbers_of_a_sentence():
    source = "On 3 May, Mrs Talbach sold Talina's hats for €1,200.50."
    reference = "Am 3. Mai verkaufte Frau Talbach Talinas Hüte für 1.200,50 €."
    assert demo.names(source, reference) == ["Talbach", "Talina"]
    assert demo.numbers(reference) == ["3.", "1.200,50"]


def test_demo_end_to_end(tmp_path, monkeypatch, capsys):
    """Twice, with and without attention: pictures, scores, translations, the comparison."""
    monkeypatch.setattr(demo, "TRAIN", 300)
    monkeypatch.setattr(demo, "VALIDATION", 10)
    monkeypatch.setattr(demo, "TEST", 20)
    real = demo.configuration

    def small(output, attention):
        config = real(output, attention)
        config.tokenizer.vocab_size = 420
        config.model.embedding_size = 16
        config.model.encoder.hidden_size = 8
        config.model.decoder.hidden_size = 16
        config.training.max_steps, config.training.max_epochs = 4, 1
        config.training.log_every = 1
        config.decoding.max_length_ratio, config.decoding.beam_size = 1.0, 2
        config.data.cache_dir = str(tmp_path / "cache")
        return config

    monkeypatch.setattr(demo, "configuration", small)
    demo.run(tmp_path, attention=True)
    demo.run(tmp_path, attention=True)  # an earlier demo is replaced
    said = capsys.readouterr().out
    assert "BLEU" in said
    assert "seq2seq demo translation --no-attention" in said
    folder = tmp_path / "attention"
    for picture in ("attention.png", "learning_curve.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    translations = (folder / "test.hypotheses.de").read_text(encoding="utf-8")
    assert translations.count("\n") == 20
    assert 0 <= json.loads((folder / "scores.json").read_text())["BLEU"] <= 100
    monkeypatch.setattr(demo, "can_draw", lambda: False)  # matplotlib is an extra
    demo.run(tmp_path, attention=False)
    said = capsys.readouterr().out
    assert "need matplotlib: pip install" in said
    assert not (tmp_path / "no_attention" / "learning_curve.png").exists()
    assert "without" in said
    assert not (tmp_path / "no_attention" / "attention.png").exists()
