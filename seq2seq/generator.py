"""A trained language model as its user holds it: a prompt in, text out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from seq2seq.config import LanguageConfig
from seq2seq.language_directory import (
    ALL_FILES,
    SavedLanguageModel,
    read_language_model,
    write_language_model,
)
from seq2seq.model_card import language_card
from seq2seq.models import LanguageModel
from seq2seq.pretrained import device_named, model_folder
from seq2seq.units import Units


class TextGenerator:
    def __init__(
        self,
        model: LanguageModel,
        units: Units,
        config: LanguageConfig,
        readme: str | None = None,
    ) -> None:
        self.model, self.units, self.config, self.readme = model, units, config, readme

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *, device: str = "auto") -> Any:
        place = device_named(device)
        saved = read_language_model(model_folder(str(name), ALL_FILES))
        return cls(saved.model.to(place), saved.units, saved.config, saved.readme)

    def save_pretrained(
        self, directory: str | os.PathLike[str], card: dict[str, Any] | None = None
    ) -> None:
        if card is not None or self.readme is None:
            parameters = sum(parameter.numel() for parameter in self.model.parameters())
            self.readme = language_card(self.config, parameters, card)
        saved = SavedLanguageModel(self.model, self.units, self.config, self.readme)
        write_language_model(saved, Path(directory))
