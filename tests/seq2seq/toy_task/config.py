"""The configuration of the toy task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seq2seq.config.checks import check_positive
from seq2seq.config.paths import PathText
from seq2seq.config.training import TrainingConfig, check_run


@dataclass
class ToyDataConfig:
    train: PathText | None = None  # numbers, one a line: each predicts the next
    batch_size: int = 8


@dataclass
class ToyModelConfig:
    hidden_size: int = 4


@dataclass
class ToyConfig:
    task: Literal["toy"] = "toy"
    output: PathText = "runs/toy"
    seed: int = 1
    data: ToyDataConfig = field(default_factory=ToyDataConfig)
    model: ToyModelConfig = field(default_factory=ToyModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def check(config: ToyConfig, where: str) -> None:
    check_positive({"data.batch_size": config.data.batch_size}, where)
    check_run(config, where, has_validation=True)
