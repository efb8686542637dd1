"""The toy task as the training loop sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from seq2seq.errors import UsageError
from seq2seq.public_data import missing_hint
from seq2seq.training.task import Carried, Loss
from tests.seq2seq.toy_task.config import ToyConfig
from tests.seq2seq.toy_task.user import Foreteller, ToyModel


@dataclass
class Batch:
    x: Tensor  # (B, 1)
    y: Tensor  # (B, 1)

    @property
    def target_count(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Batch:
        return Batch(self.x.to(device), self.y.to(device))


class SquaredError(nn.Module):
    def __init__(self, model: ToyModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.model(x) - y).pow(2).sum()


class ToyTask:
    """See ``seq2seq.training.task``."""

    figures = ("validation_loss", "worst_error")
    has_validation = True
    average_patience = None

    @staticmethod
    def unread_parameters(config: ToyConfig) -> bool:
        return False

    def __init__(
        self, config: ToyConfig, folder: Path, accelerator: Accelerator, resume: bool
    ) -> None:
        self.config = config
        path = Path(config.data.train or "")
        if not path.is_file():
            raise UsageError(f"{path}: no such file{missing_hint(path)}")
        numbers = torch.tensor([float(line) for line in path.read_text().split()])
        self.scale = float(numbers.abs().max())
        self.x, self.y = numbers[:-1, None] / self.scale, numbers[1:, None] / self.scale
        self.model = ToyModel(config.model).to(accelerator.device)
        self.objective = SquaredError(self.model)

    def describe(self) -> str:
        return f"{len(self.x)} pairs of numbers"

    def len_epoch(self, epoch: int) -> int:
        return -(-len(self.x) // self.config.data.batch_size)

    def epoch(self, epoch: int, skip: int) -> Iterator[Batch]:
        draw = torch.Generator().manual_seed(self.config.seed + epoch)
        order = torch.randperm(len(self.x), generator=draw)
        for index in order.split(self.config.data.batch_size)[skip:]:
            yield Batch(self.x[index], self.y[index])

    def loss(self, objective: nn.Module, batch: Batch, carried: Carried) -> Loss:
        loss = objective(batch.x, batch.y)
        return Loss(loss, loss, carried)

    def rate_factor(self, batch: Batch) -> float:
        return 1.0

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        errors = (self.model(self.x) - self.y).abs()
        return {"validation_loss": float(errors.pow(2).mean()), "worst_error": float(errors.max())}

    def score(self, figures: dict[str, float]) -> float:
        return -figures["worst_error"]

    def tell(self, score: float) -> str:
        return f"worst error {-score:.4f}"

    def save(self, folder: Path, training: str) -> None:
        user = Foreteller(self.model, self.scale, self.config)
        user.save_pretrained(folder, card={"training": training})

    def test(self, run: Path, model: Path, training: str) -> list[str]:
        return []
