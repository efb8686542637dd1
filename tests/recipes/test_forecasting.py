"""The forecasting recipes: valid configurations, and the manual of every key."""

from pathlib import Path

import pytest
import yaml

from seq2seq.command_line.overrides import dotted
from seq2seq.config import config_to_dict, load_config
from seq2seq.tasks.forecasting.config import ForecastConfig

FOLDER = Path(__file__).parents[2] / "recipes" / "forecasting"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_is_a_valid_configuration(path):
    assert load_config(path).task == "forecasting"


def test_etth1_documents_every_key():
    written = yaml.safe_load((FOLDER / "etth1.yaml").read_text(encoding="utf-8"))
    expected = config_to_dict(ForecastConfig())
    assert {key for key, _ in dotted(written)} == {key for key, _ in dotted(expected)}
