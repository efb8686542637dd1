"""The protocol between the training loop and a task. ``seq2seq.registry`` lists the tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

Carried = dict[str, Tensor]  # state for the next batch, by name; saved with checkpoints


class Loss(NamedTuple):
    """The loss of one batch, summed over its targets."""

    minimised: Tensor
    reported: Tensor  # without terms that are not the loss itself
    carried: Carried
    parts: dict[str, Tensor] | None = None  # what else ``minimised`` holds, logged as loss_NAME


class Task(Protocol):
    """Data, model and validation figures of one kind of run.

    The constructor takes (config, folder of the run, accelerator, resume), and reads and prepares
    the data.
    """

    @staticmethod
    def unread_parameters(config: Any) -> bool:
        """Whether some weights get no gradient in some steps."""

    model: nn.Module  # whose weights are trained, averaged and saved
    objective: nn.Module  # a module that contains the model; ``loss`` calls it
    figures: tuple[str, ...]  # names of what ``validate`` returns
    has_validation: bool
    # after this many validations without a better score the mean of the weights begins (NT-ASGD:
    # Merity et al. 2018, algorithm 1); None: no mean
    average_patience: int | None

    def len_epoch(self, epoch: int) -> int: ...

    def epoch(self, epoch: int, skip: int) -> Iterator[Any]:
        """Batches with ``target_count``, the number of targets that the loss is summed over, and
        ``to(device)``."""

    def loss(self, objective: nn.Module, batch: Any, carried: Carried) -> Loss:
        """``objective`` is self.objective as accelerate has wrapped it."""

    def rate_factor(self, batch: Any) -> float:
        """A factor on the learning rate for this batch."""

    def validate(self) -> dict[str, float]:
        """The figures of the validation set. Called only in the main process."""

    def score(self, figures: dict[str, float]) -> float:
        """The number by which the best checkpoint is chosen: higher is better."""

    def tell(self, score: float) -> str:
        """The score in words."""

    def describe(self) -> str:
        """Size of data and model, for the log."""

    def save(self, folder: Path, training: str) -> None:
        """Write the model folder; ``training`` is a sentence for its card."""

    def test(self, run: Path, model: Path, training: str) -> list[str]:
        """Score the test set, if there is one, and write the scores into the card of the saved
        model. Returns them as lines."""
