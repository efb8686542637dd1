"""The generation recipes' configurations, and the demo end to end at a fraction of its size."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import yaml

from seq2seq.config import config_to_dict, load_config
from seq2seq.tasks.generation.config import LanguageConfig

FOLDER = Path(__file__).parents[2] / "recipes" / "generation"
SHARED = Path("../shared/data/tinyshakespeare")


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("demo_generate")
    for name in ("demo_generate", "library"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_is_a_valid_configuration(path):
    config = load_config(path)
    assert isinstance(config, LanguageConfig)
    assert config.data.train
    assert config.output.startswith("runs/")


def keys(values, prefix=""):
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


def test_tinyshakespeare_documents_every_key():
    text = (FOLDER / "tinyshakespeare.yaml").read_text(encoding="utf-8")
    written = set(keys(yaml.safe_load(text)))
    assert written == set(keys(config_to_dict(LanguageConfig())))


def test_tinyshakespeare_is_within_its_size():
    from seq2seq.tasks.generation.model import LanguageModel

    config = load_config(FOLDER / "tinyshakespeare.yaml")
    model = LanguageModel(config.model, 67)
    assert sum(p.numel() for p in model.parameters()) <= 3_500_000


@pytest.mark.skipif(not SHARED.exists(), reason="Tiny Shakespeare is not here")
def test_tinyshakespeare_finds_its_file_and_parts_it_at_nine_tenths(tmp_path, monkeypatch):
    from seq2seq.public_data import fetch
    from seq2seq.tasks.generation.training import load_texts

    fetch("tinyshakespeare", tmp_path / "data", mirror=str(SHARED.parent))
    recipe = (FOLDER / "tinyshakespeare.yaml").resolve()
    monkeypatch.chdir(tmp_path)
    texts = load_texts(load_config(recipe))
    assert [len(texts[name].pieces[0][0]) for name in ("train", "validation")] == [1003854, 111540]


def test_the_library_is_found_and_repeats_itself(demo):
    library = importlib.import_module("library")
    text = library.source(50_000)
    assert 30_000 < len(text) <= 51_000
    assert text.isascii() and "def " in text and "import " in text
    assert text == library.source(50_000)


def test_demo_end_to_end(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "CHARACTERS", 20_000)
    real = demo.load_config

    def small(path, overrides):
        config = real(path, overrides)
        config.model.hidden_size, config.training.max_steps = 16, 3
        config.generation.max_length = 30
        return config

    monkeypatch.setattr(demo, "load_config", small)
    demo.run(tmp_path / "demo")
    demo.run(tmp_path / "demo")  # an earlier demo is replaced
    said = capsys.readouterr().out
    assert "bits a character" in said and demo.PROMPT in said
    assert (tmp_path / "demo" / "model" / "model.safetensors").exists()
