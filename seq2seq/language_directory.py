"""The directory that holds one saved language model.

config.json         format, vocabulary size, and the configuration of the run
model.safetensors   the weights
units.json          the vocabulary; subwords.model beside it where it is SentencePiece's
README.md           the model card
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seq2seq.config import LanguageConfig, config_to_dict
from seq2seq.errors import RunError
from seq2seq.model_directory import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_vocabulary,
    load_weights,
    read_card,
    read_values,
    replace_files,
    require,
    run_config,
    write_weights,
)
from seq2seq.models import LanguageModel
from seq2seq.units import UNIT_FILES, UNITS_FILE, Units, load_units, save_units

FORMAT = "seq2seq-generation"
FORMAT_VERSION = 1
ALL_FILES = (CONFIG_FILE, WEIGHTS_FILE, *UNIT_FILES, CARD_FILE)


@dataclass
class SavedLanguageModel:
    """What a model directory holds."""

    model: LanguageModel
    units: Units
    config: LanguageConfig
    readme: str | None


def write_language_model(saved: SavedLanguageModel, directory: Path) -> None:
    """Save a model as a directory, replacing the model that is there; RunError when that fails."""

    def write(staging: Path) -> None:
        save_units(saved.units, staging)
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "vocab_size": len(saved.units),
            "config": config_to_dict(saved.config),
        }
        write_weights(saved.model, staging, values, saved.readme)

    replace_files(directory, write, ALL_FILES)


def read_language_model(directory: Path) -> SavedLanguageModel:
    """Load the model that ``directory`` holds, on the CPU and in evaluation mode.

    Raises RunError where a file is missing or damaged, the format is another, or vocabulary,
    weights and configuration do not belong together.
    """
    values = read_values(directory, FORMAT, FORMAT_VERSION, {"vocab_size": int}, ALL_FILES)
    config = run_config(values, directory)
    if not isinstance(config, LanguageConfig):
        raise RunError(f"{directory / CONFIG_FILE}: the configuration is not one of generation")
    for name in (UNITS_FILE, WEIGHTS_FILE):
        require(directory, name, ALL_FILES)
    units = load_units(directory)
    check_vocabulary(directory / UNITS_FILE, len(units), values["vocab_size"], "vocab_size")
    model = LanguageModel(config.model, len(units))
    load_weights(model, directory / WEIGHTS_FILE)
    return SavedLanguageModel(model.eval(), units, config, read_card(directory))
