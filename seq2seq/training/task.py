"""The protocol between the training loop and a task. ``seq2seq.registry`` lists the tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

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
    the data. With several processes it runs in the main one first, then in the others, which with
    ``resume`` or without read what the main one wrote into the folder.

    A task needs no code of its own for several processes: the loop deals the batches of an epoch to
    them, sums losses and gradients by targets, validates and writes in the main process. These
    class attributes may be left out:

    ``shares_rows``: True where batches carry state: then ``epoch`` gives each process its rows of
    every batch (by ``accelerator.process_index``), equally many batches in each, and rows are the
    first dimension of what is carried.
    ``epochs_vary``: True where ``len_epoch`` is quick and may differ by more than a batch or two
    from epoch to epoch: then schedules count each.
    ``shares_evaluation``: True where ``validate`` and ``test`` are to be called in every process,
    as they share the work by ``training.processes.shared_map``; ``test`` then writes files in the
    main process alone.
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

    def len_epoch(self, epoch: int) -> int | None:
        """Number of batches, for all processes together; None for a stream, whose end nobody
        knows: then ``training.max_steps`` must be set."""

    def epoch(self, epoch: int, skip: int) -> Iterator[Any]:
        """Batches with ``target_count``, the number of targets that the loss is summed over, and
        ``to(device)``; the first ``skip`` are left out.

        A third argument ``every`` (default 1) may be offered: then only each ``every``-th is made.
        Without it each process makes the batches of all, and uses its own.
        """

    def loss(self, objective: nn.Module, batch: Any, carried: Carried) -> Loss:
        """``objective`` is self.objective as accelerate has wrapped it."""

    def rate_factor(self, batch: Any) -> float:
        """A factor on the learning rate for this batch."""

    def validate(self) -> dict[str, float]:
        """The figures of the validation set. Called in the main process alone, or see
        ``shares_evaluation``."""

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
        model. Returns them as lines. Called as ``validate`` is."""


def counted(task: Task) -> str:
    """What ``target_count`` counts, for the log: tokens, unless the task says something else."""
    return str(getattr(task, "counted", "tokens"))


def shares_evaluation(task: Task) -> bool:
    """Whether every process takes part in validation and test."""
    return bool(getattr(task, "shares_evaluation", False))


def epochs_vary(task: Task) -> bool:
    """Whether epochs are not equally long."""
    return bool(getattr(task, "epochs_vary", False))


def shares_rows(task: Task) -> bool:
    """Whether the task gives each process some rows of every batch."""
    return bool(getattr(task, "shares_rows", False))


@runtime_checkable
class Streaming(Protocol):
    """What a task offers beside ``Task`` where its data is a stream: where it stands in it, as the
    batches that the loop has taken say. Saved with checkpoints."""

    def stream_state(self) -> dict[str, Any] | None:
        """What JSON can hold; None where the data is no stream."""

    def load_stream_state(self, state: dict[str, Any]) -> None:
        """Go back to a state; ``epoch`` is called next."""
