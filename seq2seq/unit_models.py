"""The directory that holds one saved model of units: a language model, or one of captioning.

config.json         format, vocabulary size, and the configuration of the run
model.safetensors   the weights; of captioning image encoder and batch statistics, too
units.json          the vocabulary; subwords.model beside it where it is SentencePiece's
README.md           the model card
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from seq2seq.config import CaptioningConfig, LanguageConfig, config_to_dict
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
from seq2seq.models import CaptioningModel, LanguageModel
from seq2seq.units import UNIT_FILES, UNITS_FILE, Units, load_units, save_units

FORMAT_VERSION = 1
ALL_FILES = (CONFIG_FILE, WEIGHTS_FILE, *UNIT_FILES, CARD_FILE)
MODELS = {"generation": LanguageModel, "captioning": CaptioningModel}  # by task

Model = TypeVar("Model", LanguageModel, CaptioningModel)
Config = TypeVar("Config", LanguageConfig, CaptioningConfig)


@dataclass
class SavedModel(Generic[Model, Config]):
    """What a model directory holds."""

    model: Model
    units: Units
    config: Config
    readme: str | None


def write_model(saved: SavedModel, directory: Path) -> None:
    """Save a model as a directory, replacing the model that is there; RunError when that fails."""

    def write(staging: Path) -> None:
        save_units(saved.units, staging)
        values = {
            "format": f"seq2seq-{saved.config.task}",
            "format_version": FORMAT_VERSION,
            "vocab_size": len(saved.units),
            "config": config_to_dict(saved.config),
        }
        write_weights(saved.model, staging, values, saved.readme)

    replace_files(directory, write, ALL_FILES)


def read_model(directory: Path, task: str) -> SavedModel:
    """Load the model of ``task`` (of ``MODELS``) that ``directory`` holds, on the CPU and in
    evaluation mode. A backbone of ``timm`` is built without its pretrained weights: all weights are
    in the directory.

    Raises RunError where a file is missing or damaged, the format is another, or vocabulary,
    weights and configuration do not belong together; UsageError where ``timm`` is needed and is
    not installed.
    """
    values = read_values(
        directory, f"seq2seq-{task}", FORMAT_VERSION, {"vocab_size": int}, ALL_FILES
    )
    config = run_config(values, directory)
    if config.task != task:
        raise RunError(f"{directory / CONFIG_FILE}: the configuration is not one of {task}")
    for name in (UNITS_FILE, WEIGHTS_FILE):
        require(directory, name, ALL_FILES)
    units = load_units(directory)
    check_vocabulary(directory / UNITS_FILE, len(units), values["vocab_size"], "vocab_size")
    model = MODELS[task](config.model, len(units))
    load_weights(model, directory / WEIGHTS_FILE)
    return SavedModel(model.eval(), units, config, read_card(directory))
