"""The captioning recipes: valid configurations, and the manual of every key."""

from pathlib import Path

import pytest
import yaml

from seq2seq.config import config_to_dict, load_config
from seq2seq.tasks.captioning.config import CaptioningConfig

FOLDER = Path(__file__).parents[2] / "recipes" / "captioning"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_is_a_valid_configuration(path):
    assert load_config(path).task == "captioning"


def keys(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_flickr8k_documents_every_key():
    text = (FOLDER / "flickr8k.yaml").read_text(encoding="utf-8")
    written = set(keys(yaml.safe_load(text)))
    assert written == set(keys(config_to_dict(CaptioningConfig())))


def test_what_is_compared_differs_in_what_it_is_named_after_alone():
    """Data, decoder and search of the baselines are those of flickr8k.yaml."""
    whole = config_to_dict(load_config(FOLDER / "flickr8k.yaml"))
    allowed = {
        "pooled": {"output", "model.encoder.pooled"},
        "constant": {
            "output", "model.encoder.kind", "model.words", "training.word_loss",
            "training.word_epochs", "training.max_epochs",
        },
    }  # fmt: skip
    for name, may_differ in allowed.items():
        other = config_to_dict(load_config(FOLDER / f"flickr8k_{name}.yaml"))
        found = {key for key in keys(whole) if _at(whole, key) != _at(other, key)}
        assert found == may_differ


def _at(values, key):
    for part in key.split("."):
        values = values[part]
    return values
