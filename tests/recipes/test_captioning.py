"""The captioning recipes' configurations, and the demo end to end at a fraction of its size."""

from __future__ import annotations

from pathlib import Path

import demo_caption as demo
import pytest

from seq2seq.config import load_config
from seq2seq.tasks.captioning.config import CaptioningConfig

FOLDER = Path(demo.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_is_a_valid_configuration(path):
    config = load_config(path)
    assert isinstance(config, CaptioningConfig)
    assert config.data.train and config.output.startswith("runs/")


def test_the_demo_at_a_fraction_of_its_size(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo.shapes, "SPLITS", {"train": 24, "validation": 4, "test": 8})
    monkeypatch.setattr(demo, "SHEET", 4)
    whole = demo.configuration

    def small(output):
        config = whole(output)
        config.model.encoder.stem, config.model.encoder.widths = 8, [8, 8, 8]
        config.training.max_steps, config.training.word_epochs = 2, 0
        config.training.threads = 1
        config.data.batch_images, config.decoding.max_length = 8, 6
        return config

    monkeypatch.setattr(demo, "configuration", small)
    demo.run(tmp_path / "demo")
    told = capsys.readouterr().out
    assert "exact meaning: 0.0%" in told and "BLEU-4 = " in told
    assert told.count("✗") == 8
    made = {path.name for path in (tmp_path / "demo" / "run").iterdir()}
    assert {"model", "sheet.png", "learning_curve.png", "attention.png"} <= made
