"""The saved model of the toy task as its user holds it; its network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.saved import directory as saved
from seq2seq.saved.card import check_card, table, usage, write_card
from seq2seq.saved.pretrained import Pretrained
from tests.seq2seq.toy_task.config import ToyConfig, ToyModelConfig


class ToyModel(nn.Module):
    def __init__(self, config: ToyModelConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(1, config.hidden_size)
        self.outer = nn.Linear(config.hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))  # (B, 1)


class Foreteller(Pretrained):
    task = "toy"
    files = (saved.CONFIG_FILE, saved.WEIGHTS_FILE, "scale.txt", saved.CARD_FILE)

    def __init__(
        self, model: ToyModel, scale: float, config: ToyConfig, readme: str | None = None
    ) -> None:
        self.model, self.scale, self.config, self.readme = model, scale, config, readme

    @classmethod
    def _from_directory(cls, directory: Path) -> Foreteller:
        values = saved.read_values(directory, cls.task, {"numbers": int}, cls.files)
        config = saved.run_config(values, directory, cls.task)
        saved.require(directory, "scale.txt", cls.files)
        model = ToyModel(config.model)
        saved.load_weights(model, directory / saved.WEIGHTS_FILE)
        scale = float((directory / "scale.txt").read_text())
        return cls(model.eval(), scale, config, saved.read_card(directory))

    def _write_vocabulary(self, directory: Path) -> dict[str, Any]:
        (directory / "scale.txt").write_text(repr(self.scale))
        return {"numbers": 1}

    def _card(self, parameters: int, card: dict[str, Any] | None) -> str:
        card = check_card(card)
        rows = {"parameters": parameters, "training": card.get("training")}
        use = usage("Foreteller", "toy", "toy.foretell(3.0)", "seq2seq foretell MODEL 3")
        return write_card({"tags": ["toy"]}, "Toy", card, table(rows), use)

    def foretell(self, value: float) -> float:
        with torch.inference_mode():
            return float(self.model(torch.tensor([[value / self.scale]]))) * self.scale
