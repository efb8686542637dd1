"""The training loop: read it from ``train`` down.

    batches -> objective -> gradients -> clipping -> optimizer step -> moving average
    every epoch (or validate_every steps): validation loss and BLEU, checkpoint, early stopping

A run is a folder: config.json, tokenizer/, log.jsonl, checkpoints/ and, at the end, model/, which
is all that translating needs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, set_seed

from seq2seq.config import AnyConfig, config_from_dict, config_to_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.precision import resolve_precision
from seq2seq.training import checkpoints
from seq2seq.training.averages import MovingAverage, TriggeredAverage
from seq2seq.training.generation import LanguageTask
from seq2seq.training.log import RunLog
from seq2seq.training.memory import release_free_memory
from seq2seq.training.schedules import learning_rate
from seq2seq.training.task import Carried, Task
from seq2seq.training.translation import TranslationTask

TASKS = {"translation": TranslationTask, "generation": LanguageTask}


@dataclass
class Progress:
    """Where a run stands; all of it is saved with a checkpoint."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch already used
    step: int = 0  # optimizer steps
    tokens: int = 0  # target tokens trained on
    seconds: float = 0.0  # spent in training, validation included
    plateaus: int = 0
    since_best: int = 0  # validations since the best score
    best: list[tuple[float, int]] = field(default_factory=list)  # kept (score, step), best first
    window_loss: float = 0.0  # since the last log line
    window_tokens: int = 0
    validated: int = 0  # step of the last validation


def train(config: AnyConfig, *, quiet: bool = False, resume: bool = False) -> Path:
    """Train a model as configured; returns the folder of the finished model.

    With ``resume`` a run that was stopped, or killed, goes on from its last checkpoint with
    the same numbers as if it had never stopped.

    Raises UsageError for a configuration or data that cannot work, RunError for a loss that is
    no number and a checkpoint that cannot be written; KeyboardInterrupt after saving.
    """
    folder = Path(config.output)
    last = folder / "checkpoints" / "last"
    if checkpoints.exists(last) and not resume:
        raise UsageError(
            f"output {folder}: holds a run already; --resume goes on with it, --output DIR starts "
            "another"
        )
    if resume and not checkpoints.exists(last):
        raise UsageError(f"output {folder}: no checkpoint to resume from; leave out --resume")
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    run = _Run(config, folder, quiet, resume)
    if resume:
        run.restore(last)
    else:
        run.log.begin()
    try:
        with _saving_on_signals(run):
            run.loop()
        return run.finish()
    finally:
        run.log.close()


class _Run:
    """Everything a run holds. The order of the methods is the order in which they run."""

    def __init__(self, config: AnyConfig, folder: Path, quiet: bool, resume: bool) -> None:
        options = config.training
        self.config, self.folder, self.progress = config, folder, Progress()
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            # accelerate keeps the device and precision of an earlier run in this process
            AcceleratorState._reset_state(reset_partial_state=True)
        kind = _task(config.task)
        self.accelerator = Accelerator(
            cpu=options.device == "cpu",
            mixed_precision=_mixed_precision(options.precision, options.device),
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=kind.unread_parameters(config))
            ],
        )
        self.device, self.main = self.accelerator.device, self.accelerator.is_main_process
        set_seed(config.seed)
        if self.main:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"output {folder}: cannot be made ({error.strerror}); give another --output"
                ) from None
            _check_same_run(folder / "config.json", config)
        self.task: Task = kind(config, folder, self.accelerator, resume)
        self.model = self.task.model
        self.carried: Carried = {}
        self.objective, self.optimizer = self.accelerator.prepare(
            self.task.objective, _optimizer(config, self.model)
        )
        self.average = _average(config, self.model)
        per_epoch = math.ceil(self.task.len_epoch(0) / options.accumulation)
        self.total_steps = options.max_epochs * per_epoch
        if options.max_steps:
            self.total_steps = min(self.total_steps, options.max_steps)
        self.log = RunLog(folder, total=self.total_steps, quiet=quiet, main=self.main)
        if options.tensorboard:
            self.log.tensorboard(folder / "tensorboard")
        self.stop_signal: int | None = None
        self.log.say(self._summary())

    def _summary(self) -> str:
        parameters = sum(p.numel() for p in self.model.parameters())
        return (
            f"{parameters:,} parameters; {self.task.describe()}"
            f"; {self.device.type}, {self.accelerator.mixed_precision.replace('no', 'fp32')}"
            f", {torch.get_num_threads()} threads; at most {self.total_steps} steps"
        )

    # --- the loop -------------------------------------------------------------------------

    def loop(self) -> None:
        options, progress = self.config.training, self.progress
        self._started, self._window_started = time.monotonic(), time.monotonic()
        while progress.epoch < options.max_epochs and not self._done():
            batches = self.task.epoch(progress.epoch, skip=progress.batch)
            while group := list(islice(batches, options.accumulation)):
                self._step(group)
                self._after_step()
                if self._done():
                    break
            else:
                progress.epoch, progress.batch = progress.epoch + 1, 0
                if options.validate_every is None and progress.step > progress.validated:
                    self._validate_and_save()
        if progress.step > progress.validated:
            self._validate_and_save()
        if self.stop_signal is not None:
            raise KeyboardInterrupt  # saved just now

    def _done(self) -> bool:
        options, progress = self.config.training, self.progress
        tired = options.patience is not None and progress.since_best >= options.patience
        return tired or bool(options.max_steps and progress.step >= options.max_steps)

    def _step(self, group: list[Any]) -> None:
        """One optimizer step on the batches of ``group``: the gradient of the mean loss per
        target token over all of them, on all processes."""
        options, progress, accelerator = self.config.training, self.progress, self.accelerator
        progress.step += 1
        rate = learning_rate(options, progress.step, self.total_steps, progress.plateaus)
        rate *= sum(map(self.task.rate_factor, group)) / len(group)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        tokens = sum(batch.target_tokens for batch in group)
        everywhere, self._stop = tokens, self.stop_signal is not None
        if accelerator.num_processes > 1:  # all stop at the same step, or none
            counts = torch.tensor([tokens, int(self._stop)], device=self.device)
            everywhere, stops = accelerator.reduce(counts).tolist()
            self._stop = stops > 0
        self.objective.train()
        total = 0.0
        for number, batch in enumerate(group):
            batch = batch.to(self.device)
            last = number + 1 == len(group)
            with contextlib.nullcontext() if last else accelerator.no_sync(self.objective):
                loss = self.task.loss(self.objective, batch, self.carried)
                # DDP takes the mean over processes; the sum over all is what is wanted
                accelerator.backward(loss.minimised * (accelerator.num_processes / everywhere))
            self.carried = loss.carried
            total += loss.reported.item()
        norm = accelerator.clip_grad_norm_(
            self.model.parameters(), options.clip_norm or float("inf")
        )
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise RunError(
                f"training: the loss is {total / tokens} and the gradient norm {float(norm)} at "
                f"step {progress.step}; try a lower training.learning_rate, a smaller "
                "training.clip_norm or training.precision fp32. The last checkpoint is intact"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.model)
        progress.batch += len(group)
        progress.tokens += everywhere
        progress.window_loss += total
        progress.window_tokens += tokens

    def _after_step(self) -> None:
        options, progress = self.config.training, self.progress
        self.log.advance(progress.step)
        if progress.step % options.log_every == 0:
            now = time.monotonic()
            self.log.record(
                {
                    "step": progress.step,
                    "epoch": progress.epoch,
                    "loss": progress.window_loss / progress.window_tokens,
                    "tokens_per_second": round(
                        progress.window_tokens / max(1e-9, now - self._window_started)
                    ),
                    "learning_rate": self.optimizer.param_groups[0]["lr"],
                }
            )
            progress.window_loss, progress.window_tokens = 0.0, 0
            release_free_memory()
            self._window_started = now
        if options.validate_every and progress.step % options.validate_every == 0:
            self._validate_and_save()
        elif options.checkpoint_every and progress.step % options.checkpoint_every == 0:
            self._save()
        if self._stop:
            self._save()
            self.log.say(f"stopped at step {progress.step}; saved, --resume goes on from here")
            raise KeyboardInterrupt

    # --- validation and saving ------------------------------------------------------------

    def _validate_and_save(self) -> None:
        started = time.monotonic()
        progress, options = self.progress, self.config.training
        progress.validated = progress.step
        if self.task.has_validation:
            with self._averaged():
                figures = self._validate()
                score = self.task.score(figures)
                kept = sorted([*progress.best, (score, progress.step)], reverse=True)
                kept = kept[: options.keep_best]
                if self.main and (score, progress.step) in kept:
                    self._write(self._best(progress.step), checkpoints.weights_of(self.model), {})
            better = not progress.best or score > progress.best[0][0]
            dropped = {step for _, step in progress.best} - {step for _, step in kept}
            progress.best = kept
            progress.since_best = 0 if better else progress.since_best + 1
            waited = progress.since_best and progress.since_best % options.plateau_patience == 0
            progress.plateaus += bool(waited)  # read by the plateau schedule alone
            if self.average and self.average.observe(score, self.model):
                self.log.say(f"from step {progress.step} on the weights are averaged")
            self.log.record(
                {
                    "step": progress.step,
                    "epoch": progress.epoch,
                    **figures,
                    "seconds": round(self._elapsed(), 1),
                }
            )
        else:
            dropped = set()
        self._save()
        if self.main:
            for step in dropped:
                checkpoints.remove(self._best(step))
        # the clock of tokens per second stands still meanwhile
        self._window_started += time.monotonic() - started

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        return self.average.applied(self.model) if self.average else contextlib.nullcontext()

    def _validate(self) -> dict[str, float]:
        """The figures of the validation set; the same in every process."""
        values = torch.zeros(len(self.task.figures), dtype=torch.float64)
        if self.main:
            figures = self.task.validate()
            values[:] = torch.tensor([figures[name] for name in self.task.figures])
        if self.accelerator.num_processes > 1:
            values = self.accelerator.reduce(values.float().to(self.device)).double().cpu()
        return dict(zip(self.task.figures, values.tolist(), strict=True))

    def _elapsed(self) -> float:
        return self.progress.seconds + time.monotonic() - self._started

    def _best(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"best-{step}"

    def _write(self, folder: Path, tensors: dict, state: dict) -> None:
        checkpoints.write(folder, {k: v.cpu() for k, v in tensors.items()}, state)

    def _save(self) -> None:
        """Write checkpoints/last: weights, moving average, optimizer, random state, what one batch
        leaves for the next, progress."""
        now = time.monotonic()
        self.progress.seconds, self._started = self._elapsed(), now
        random = {"random.cpu": self._of_all(torch.get_rng_state())}
        for name, tensor in self.carried.items():
            random[f"carried.{name}"] = self._of_all(tensor)
        if self.device.type == "cuda":
            random["random.cuda"] = self._of_all(torch.cuda.get_rng_state(self.device))
        if not self.main:
            return
        tensors = {f"model.{k}": v for k, v in checkpoints.weights_of(self.model).items()}
        for key, tensor in checkpoints.optimizer_tensors(self.optimizer).items():
            tensors[f"optimizer.{key}"] = tensor
        processes = self.accelerator.num_processes
        state = {"progress": dataclasses.asdict(self.progress), "processes": processes}
        if self.average:
            state |= self.average.state()
            for index, tensor in enumerate(self.average.average):
                tensors[f"average.{index}"] = tensor
        self._write(self.folder / "checkpoints" / "last", {**tensors, **random}, state)

    def _of_all(self, state: torch.Tensor) -> torch.Tensor:
        """That of all processes, (processes, ...)."""
        return self.accelerator.gather(state.to(self.device)[None]).cpu()

    def restore(self, folder: Path) -> None:
        tensors, state = checkpoints.read(folder)

        def part(name: str) -> dict[str, torch.Tensor]:
            start = name + "."
            return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}

        checkpoints.load_weights(self.model, part("model"), str(folder))
        checkpoints.load_optimizer(self.optimizer, part("optimizer"))
        if self.average:
            self.average.load(state)
            averages = part("average")
            for index, tensor in enumerate(self.average.average):
                tensor.copy_(averages[str(index)])
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        if state["processes"] != processes:
            raise UsageError(
                f"--resume: the run was on {state['processes']} processes, this is on {processes}; "
                "the order of its batches needs as many"
            )
        # torch reads a state from the beginning of its memory, whatever the row: hence the clone
        torch.set_rng_state(tensors["random.cpu"][rank].clone())
        self.carried = {
            name: tensor[rank].to(self.device) for name, tensor in part("carried").items()
        }
        if self.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"][rank].clone(), self.device)
        self.progress = Progress(**state["progress"])
        self.progress.best = [(score, step) for score, step in self.progress.best]
        self.log.resume(self.progress.step, self.progress.validated)
        self.log.say(f"resumed at step {self.progress.step}, epoch {self.progress.epoch}")
        if self.main:  # left by a kill between saving and removing
            kept = {self._best(step) for _, step in self.progress.best}
            for path in set((self.folder / "checkpoints").glob("best-*")) - kept:
                checkpoints.remove(path)

    def finish(self) -> Path:
        """Average the kept checkpoints, keep the average if it is no worse than the best single
        one on the validation set, and write the model folder."""
        self.accelerator.wait_for_everyone()  # the main process may still be writing best-S
        progress, path = self.progress, self.folder / "model"
        notes = f"step {progress.step}"
        if self.average and not progress.best:
            self.average.copy_to(self.model)
        if progress.best:
            notes = self._choose()
        if self.main:
            training = (
                f"{notes}; {progress.step} steps, {progress.epoch} epochs, "
                f"{progress.tokens:,} target tokens, {progress.seconds / 60:.1f} minutes"
            )
            self.task.save(path, training)
            for line in self.task.test(self.folder, path, training):
                self.log.say(f"test: {line}")
            self.log.say(f"model saved in {path} ({notes})")
        self.accelerator.wait_for_everyone()
        return path

    def _choose(self) -> str:
        """Give the model the best weights there are; says which."""
        task, (score, step) = self.task, self.progress.best[0]
        best = checkpoints.read(self._best(step))[0]
        checkpoints.load_weights(self.model, best, str(self._best(step)))
        if self.config.training.average and len(self.progress.best) > 1:
            folders = [self._best(step) for _, step in self.progress.best]
            checkpoints.load_weights(self.model, checkpoints.average(folders), "average")
            averaged = task.score(self._validate())
            self.log.say(
                f"mean of the {len(folders)} best checkpoints: {task.tell(averaged)}; "
                f"best single one: {task.tell(score)}"
            )
            if averaged >= score:
                return f"mean of {len(folders)} checkpoints, {task.tell(averaged)}"
            checkpoints.load_weights(self.model, best, str(self._best(step)))
        return f"step {step}, {task.tell(score)}"


def _task(name: str) -> type[Task]:
    if name == "captioning":  # which needs Pillow; the others do without
        from seq2seq.training.captioning import CaptioningTask

        return CaptioningTask
    return TASKS[name]


def _mixed_precision(precision: str, device: str) -> str:
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    if device == "cuda" and kind == "cpu":
        raise UsageError("training.device is 'cuda', and torch finds no GPU here; use 'auto'")
    chosen = resolve_precision(precision, torch.device(kind))
    return "no" if chosen == "fp32" else chosen


def _average(config: AnyConfig, model: torch.nn.Module) -> MovingAverage | TriggeredAverage | None:
    options = config.training
    if options.optimizer == "asgd":
        return TriggeredAverage(model, options.asgd_patience)
    return MovingAverage(model, options.ema_decay) if options.ema_decay else None


def _optimizer(config: AnyConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    options = config.training
    if options.optimizer in ("sgd", "asgd"):
        return torch.optim.SGD(
            model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(
        model.parameters(),
        lr=options.learning_rate,
        betas=tuple(options.betas),
        weight_decay=options.weight_decay,
        fused=True,
    )


_MAY_CHANGE = set("max_epochs max_steps patience log_every threads tensorboard".split())
_MAY_CHANGE |= {"test", "cache_dir"}


_MAY_DIFFER = {"output", "decoding", "generation"}  # sections without a say in training


def _check_same_run(path: Path, config: AnyConfig) -> None:
    """Write the configuration, or compare it with that of the run being resumed."""
    values = config_to_dict(config)
    if path.exists() and checkpoints.exists(path.parent / "checkpoints" / "last"):
        try:
            found = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise RunError(f"{path}: cannot be read ({error})") from None
        before = config_to_dict(config_from_dict(found, str(path)))
        for section in before.keys() - _MAY_DIFFER:
            old, new = before[section], values.get(section)
            if not isinstance(old, dict):
                old, new = {section: old}, {section: new}
            for key in old:
                name = key if key == section else f"{section}.{key}"
                if old[key] != new[key] and key not in _MAY_CHANGE:
                    raise UsageError(
                        f"--resume: '{name}' is {new[key]!r}, the run in {path.parent} "
                        f"was started with {old[key]!r}; give it the same value or another --output"
                    )
    checkpoints.write_text(path, json.dumps(values, indent=1))


@contextlib.contextmanager
def _saving_on_signals(run: _Run) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the step at hand, save, and then stop; a second one stops at once."""

    def ask(number: int, _: Any) -> None:
        run.stop_signal = number
        for name, handler in previous.items():
            signal.signal(name, handler)

    try:
        previous = {name: signal.signal(name, ask) for name in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are not ours to handle
        yield
        return
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
