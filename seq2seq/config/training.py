"""What the training loop reads of every configuration: the keys of ``training`` that all tasks
have, and what a whole configuration must offer."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from seq2seq.config.checks import (
    MAX_THREADS,
    check_fractions,
    check_model_sizes,
    check_not_negative,
    check_positive,
)
from seq2seq.config.paths import PathText
from seq2seq.errors import UsageError

# those that accelerate knows
Tracker = Literal[
    "tensorboard", "wandb", "mlflow", "comet_ml", "aim", "clearml", "dvclive", "swanlab", "trackio"
]


@dataclass
class TrainingConfig:
    """The keys of ``training`` that every task has; a task's own class changes defaults and adds
    keys."""

    # A saved model whose weights to begin with (fine-tuning). What turns its text into numbers is
    # taken too, and its shape must be that of ``model``.
    start_from: PathText | None = None
    max_epochs: int = 30
    max_steps: int | None = None
    optimizer: Literal["adam", "adamw", "sgd", "asgd"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    schedule: Literal["constant", "inverse_sqrt", "cosine", "plateau"] = "cosine"
    warmup_steps: int = 0
    # after so many epochs the schedule, its warm-up too, begins anew (Loshchilov & Hutter 2017)
    restarts: list[int] = field(default_factory=list)
    final_learning_rate: float = 0.0  # where cosine ends
    plateau_factor: float = 0.5
    plateau_patience: int = 2  # validations without a better score before the rate drops
    clip_norm: float = 1.0  # 0: no clipping
    accumulation: int = 1  # batches per optimizer step
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    ema_decay: float = 0.0  # 0: no exponential moving average of the weights
    validate_every: int | None = None  # optimizer steps; default: every epoch
    checkpoint_every: int | None = None  # optimizer steps; default: at every validation
    patience: int | None = None  # validations without a better score before stopping
    keep_best: int = 1  # checkpoints kept, and averaged at the end
    average: bool = False  # final model: the mean of the kept checkpoints
    log_every: int = 50  # optimizer steps
    trackers: list[Tracker] = field(default_factory=list)  # each needs its own package
    tensorboard: bool = False  # the same as ``tensorboard`` among the trackers
    threads: int | None = None  # CPU threads; default: torch's own choice
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"] = "auto"


class RunConfig(Protocol):
    """A whole configuration, whatever its task."""

    @property
    def task(self) -> str: ...

    @property
    def output(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def training(self) -> TrainingConfig: ...


def check_run(config: RunConfig, where: str, has_validation: bool) -> None:
    """Raises UsageError for a seed, threads, sizes of the model or keys of ``TrainingConfig`` out
    of range."""
    check_model_sizes(config, where)
    training = config.training
    positive = "learning_rate accumulation keep_best max_epochs plateau_patience plateau_factor"
    positive += " log_every max_steps validate_every checkpoint_every patience threads"
    check_positive({f"training.{key}": getattr(training, key) for key in positive.split()}, where)
    not_negative = "clip_norm warmup_steps weight_decay final_learning_rate"
    check_not_negative(
        {f"training.{key}": getattr(training, key) for key in not_negative.split()}, where
    )
    check_fractions({"training.ema_decay": training.ema_decay}, where)
    _check_restarts(training, where)
    if not 0 <= config.seed < 2**32:
        raise UsageError(f"{where}: 'seed' is {config.seed}; expected 0 to {2**32 - 1}")
    if (training.threads or 1) > MAX_THREADS:
        raise UsageError(
            f"{where}: 'training.threads' is {training.threads}; expected at most {MAX_THREADS}"
        )
    if len(training.betas) != 2 or not all(0 <= beta < 1 for beta in training.betas):
        raise UsageError(
            f"{where}: 'training.betas' is {training.betas}; expected two numbers, 0 <= number < 1"
        )
    if not has_validation and (training.patience or training.schedule == "plateau"):
        raise UsageError(
            f"{where}: 'training.patience' and 'training.schedule: plateau' go by validation; set "
            "'data.validation'"
        )


def check_new_labels(new_labels: bool, start_from: str | None, where: str) -> None:
    """``training.new_labels``, which tasks with labels have: others than start_from's."""
    if new_labels and not start_from:
        raise UsageError(
            f"{where}: 'training.new_labels' goes with 'training.start_from', which is not set"
        )


def _check_restarts(training: TrainingConfig, where: str) -> None:
    """Raises UsageError unless the epochs rise and lie inside the run."""
    restarts = training.restarts
    if restarts and training.schedule == "plateau":
        raise UsageError(
            f"{where}: 'training.restarts' and 'training.schedule: plateau' cannot go together; "
            "leave one out"
        )
    bounds = [0, *restarts, training.max_epochs]
    if restarts and any(a >= b for a, b in itertools.pairwise(bounds)):
        raise UsageError(
            f"{where}: 'training.restarts' is {restarts} and 'training.max_epochs' "
            f"{training.max_epochs}; expected rising numbers of epochs between 0 and max_epochs"
        )


def check_streaming(config: Any, where: str) -> None:
    """Raises UsageError for a stream (``data.streaming``) without an end of the training."""
    if config.data.streaming and config.training.max_steps is None:
        raise UsageError(
            f"{where}: 'data.streaming: true' needs 'training.max_steps': nobody knows how many "
            "batches a stream has"
        )
    if config.data.streaming and config.training.restarts:
        raise UsageError(
            f"{where}: 'training.restarts' counts epochs, which a stream ('data.streaming: true') "
            "has not; leave it out"
        )
