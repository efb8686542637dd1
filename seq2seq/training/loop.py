"""The training loop: read it from ``train`` down.

    batches -> objective -> gradients -> clipping -> optimizer step -> moving average
    every epoch (or validate_every steps): validation, checkpoint, early stopping

A run is a folder: config.json, tokenizer/, log.jsonl, checkpoints/ and, at the end, model/, which
is all that using the model needs. The loop knows no task: what it asks of one is ``task.py``.
"""

from __future__ import annotations

import contextlib
import math
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from seq2seq import registry
from seq2seq.arguments import check_truth
from seq2seq.config import RunConfig, config_from_dict, config_to_dict
from seq2seq.config.idle import idle_keys
from seq2seq.errors import RunError, ToldElsewhere, UsageError
from seq2seq.training import checkpoints
from seq2seq.training.dealing import Dealt, deal, rounds, used
from seq2seq.training.environment import make_accelerator, settings_of
from seq2seq.training.inputs import INPUTS_FILE, check_same_inputs, inputs_of
from seq2seq.training.log import RunLog, say
from seq2seq.training.memory import release_free_memory
from seq2seq.training.optimizers import make_average, make_optimizer
from seq2seq.training.preparing import make_folder, rehearse_end
from seq2seq.training.processes import (
    average_statistics,
    gathered,
    keep_buffers_apart,
    losing_none,
    of_main,
    own_seed,
)
from seq2seq.training.resuming import check_same_run
from seq2seq.training.schedules import learning_rate, total_steps
from seq2seq.training.signals import asking_to_stop
from seq2seq.training.state import State
from seq2seq.training.task import Task, counted, epochs_vary, shares_evaluation
from seq2seq.training.trackers import Trackers


def train(
    config: RunConfig, *, quiet: bool = False, resume: bool = False, allow_changes: bool = False
) -> Path:
    """Train a model as configured; returns the folder of the finished model.

    With ``resume`` a run that was stopped, or killed, goes on from its last checkpoint with
    the same numbers as if it had never stopped. It refuses to go on where a file that it reads, a
    library that shapes its data, its precision, its backend or its search has changed since it was
    started; with ``allow_changes`` it says so and goes on.

    Raises UsageError for a configuration or data that cannot work, RunError for a loss that is
    no number and a checkpoint that cannot be written; KeyboardInterrupt after saving.
    """
    check_truth(quiet=quiet, resume=resume, allow_changes=allow_changes)
    config = config_from_dict(config_to_dict(config))  # made in Python, it was not checked before
    folder = Path(config.output)
    last = folder / "checkpoints" / "last"
    if checkpoints.exists(last) and not resume:
        raise UsageError(
            f"output {folder}: holds a run already; --resume goes on with it, --output DIR starts "
            "another"
        )
    if resume and not checkpoints.exists(last):
        raise UsageError(f"output {folder}: no checkpoint to resume from; leave out --resume")
    kind = registry.load(registry.TASKS[config.task].training)
    accelerator = make_accelerator(config, kind.unread_parameters(config))
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    with losing_none(accelerator):
        run = _Run(config, folder, kind, accelerator, quiet, resume, allow_changes)
        if resume:
            run.restore(last, allow_changes)
        else:
            run.log.begin()
        try:
            with asking_to_stop(run.ask_to_stop):
                run.loop()
            path = run.finish()
        finally:
            run.log.close()
    if accelerator.num_processes > 1:
        accelerator.end_training()
    return path


class _Run:
    """Everything a run holds. The order of the methods is the order in which they run."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        kind: Any,
        accelerator: Accelerator,
        quiet: bool,
        resume: bool,
        allow_changes: bool,
    ) -> None:
        options = config.training
        self.config, self.folder, self.accelerator = config, folder, accelerator
        self.settings = settings_of(accelerator, config)
        self.device, self.main = accelerator.device, accelerator.is_main_process
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        for told in idle_keys(config):
            say(f"note: {told}", self.main)
        set_seed(config.seed)
        # the main process comes first and writes what the others read: vocabularies, caches
        with accelerator.main_process_first():
            if self.main:
                make_folder(folder)
                check_same_run(folder / "config.json", config, allow=allow_changes)
                inputs = inputs_of(config, self.settings)
                path = folder / INPUTS_FILE
                check_same_inputs(path, inputs, resume=resume, allow=allow_changes)
            elif not (folder / INPUTS_FILE).exists():
                raise UsageError(
                    f"output {folder}: what the main process wrote there is not seen by process "
                    f"{self.rank}; give --output a folder that all machines share"
                )
            self.task: Task = kind(config, folder, accelerator, resume)
        if self.rank:  # the initial weights are the same in all, dropout is not
            torch.manual_seed(own_seed(config.seed, self.rank))
        self.model = self.task.model
        self.objective, optimizer = self.accelerator.prepare(
            self.task.objective, make_optimizer(options, self.model)
        )
        keep_buffers_apart(self.objective)
        average = make_average(options, self.model, self.task.average_patience)
        self.state = State(self.model, optimizer, average, self.accelerator, self.task)
        batches = partial(rounds, self.task, world=self.world)
        self.total_steps, self.restarts = total_steps(options, batches, epochs_vary(self.task))
        self.log = RunLog(folder, total=self.total_steps, quiet=quiet, main=self.main)
        self.log.track(Trackers(self.accelerator, config, folder))
        if self.main:
            rehearse_end(folder, self.task.save)
        self.asked_to_stop = False
        self.log.say(self._summary())

    def ask_to_stop(self) -> None:
        """Save after the step at hand, and stop."""
        self.asked_to_stop = True

    def _summary(self) -> str:
        processes = f"{self.world} processes, " if self.world > 1 else ""
        parameters = sum(p.numel() for p in self.model.parameters())
        return (
            f"{parameters:,} parameters; {self.task.describe()}"
            f"; {processes}{self.device.type}, {self.settings['precision']}"
            f", backend {self.settings['backend']}, {torch.get_num_threads()} threads"
            f"; at most {self.total_steps} steps"
        )

    # --- the loop -------------------------------------------------------------------------

    def loop(self) -> None:
        options, progress = self.config.training, self.state.progress
        self._started, self._window_started = time.monotonic(), time.monotonic()
        while progress.epoch < options.max_epochs and not self._done():
            batches = deal(self.task, progress.epoch, progress.batch, self.rank, self.world)
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
        if any(gathered(self.accelerator, self.asked_to_stop)):
            raise KeyboardInterrupt  # saved just now

    def _done(self) -> bool:
        options, progress = self.config.training, self.state.progress
        tired = options.patience is not None and progress.since_best >= options.patience
        return tired or bool(options.max_steps and progress.step >= options.max_steps)

    def _step(self, group: list[Dealt]) -> None:
        """One optimizer step on the batches of ``group``: the gradient of the mean loss per
        target over all of them, on all processes."""
        options, progress, accelerator = self.config.training, self.state.progress, self.accelerator
        progress.step += 1
        counting = [dealt.batch for dealt in group if dealt.counts]
        factors = sum(map(self.task.rate_factor, counting))
        own = [sum(batch.target_count for batch in counting), factors, len(counting)]
        every = gathered(accelerator, [*own, self.asked_to_stop])
        tokens, factors, count = (sum(values[i] for values in every) for i in range(3))
        self._stop = any(values[3] for values in every)  # all stop at the same step, or none
        rate = learning_rate(
            options, progress.step, self.total_steps, progress.plateaus, self.restarts
        )
        rate *= factors / count
        for parameters in self.state.optimizer.param_groups:
            parameters["lr"] = rate
        total = self._gradients(group, tokens)
        norm = accelerator.clip_grad_norm_(
            self.model.parameters(), options.clip_norm or float("inf")
        )
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise (RunError if self.main else ToldElsewhere)(
                f"training: the loss is {total / tokens} and the gradient norm {float(norm)} at "
                f"step {progress.step}; try a lower training.learning_rate, a smaller "
                "training.clip_norm or training.precision fp32. What was saved is intact"
            )
        self.state.optimizer.step()
        self.state.optimizer.zero_grad()
        average_statistics(accelerator, self.model)
        if self.state.average:
            self.state.average.update(self.model)
        progress.batch = used(self.task, progress.batch, progress.epoch, len(group), self.world)
        progress.tokens += tokens
        progress.window_loss += total
        progress.window_tokens += tokens

    def _gradients(self, group: list[Dealt], tokens: int) -> float:
        """Add the gradients of the batches of ``group``, divided by the number of targets in all
        processes; returns the sum of their losses, in all processes too."""
        accelerator, total = self.accelerator, 0.0
        parts: list[tuple[str, float]] = []
        self.objective.train()
        for number, (batch, counts) in enumerate(group):
            batch = batch.to(self.device)
            last = number + 1 == len(group)
            with contextlib.nullcontext() if last else accelerator.no_sync(self.objective):
                loss = self.task.loss(self.objective, batch, self.state.carried)
                # DDP takes the mean over processes; the sum over all is what is wanted
                accelerator.backward(loss.minimised * (counts * self.world / tokens))
            self.state.carried = loss.carried
            total += loss.reported.item() * counts
            parts += [(name, x.item() * counts) for name, x in (loss.parts or {}).items()]
        every = gathered(accelerator, [total, parts])
        window = self.state.progress.window_parts
        for name, part in (one for _, found in every for one in found):
            window[name] = window.get(name, 0.0) + part
        return sum(loss for loss, _ in every)

    def _after_step(self) -> None:
        options, progress = self.config.training, self.state.progress
        self.log.advance(progress.step)
        if progress.step % options.log_every == 0:
            now = time.monotonic()
            self.log.record(
                {
                    "step": progress.step,
                    "epoch": progress.epoch,
                    "loss": progress.window_loss / progress.window_tokens,
                    **{
                        f"loss_{name}": total / progress.window_tokens
                        for name, total in progress.window_parts.items()
                    },
                    f"{counted(self.task)}_per_second": round(
                        progress.window_tokens / max(1e-9, now - self._window_started)
                    ),
                    "learning_rate": self.state.optimizer.param_groups[0]["lr"],
                }
            )
            progress.window_loss, progress.window_tokens = 0.0, 0
            progress.window_parts = {}
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
        progress, options = self.state.progress, self.config.training
        progress.validated = progress.step
        if self.task.has_validation:
            with self._averaged():
                figures = self._validate()
                score = self.task.score(figures)
                kept = sorted([*progress.best, (score, progress.step)], reverse=True)
                kept = kept[: options.keep_best]
                if self.main and (score, progress.step) in kept:
                    weights = checkpoints.weights_of(self.model)
                    checkpoints.write(
                        self._best(progress.step), {k: v.cpu() for k, v in weights.items()}, {}
                    )
            better = not progress.best or score > progress.best[0][0]
            dropped = {step for _, step in progress.best} - {step for _, step in kept}
            progress.best = kept
            progress.since_best = 0 if better else progress.since_best + 1
            waited = progress.since_best and progress.since_best % options.plateau_patience == 0
            progress.plateaus += bool(waited)  # read by the plateau schedule alone
            if self.state.average and self.state.average.observe(score, self.model):
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
        average = self.state.average
        return average.applied(self.model) if average else contextlib.nullcontext()

    def _validate(self) -> dict[str, float]:
        """The figures of the validation set; the same in every process."""
        figures = self.task.validate() if self.main or shares_evaluation(self.task) else {}
        # in single precision, as logs and scores of older versions are, which resumed runs compare
        names = self.task.figures if figures else ()
        rounded = {name: torch.tensor(figures[name]).item() for name in names}
        return of_main(self.accelerator, rounded)

    def _elapsed(self) -> float:
        return self.state.progress.seconds + time.monotonic() - self._started

    def _best(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"best-{step}"

    def _save(self) -> None:
        """Write checkpoints/last."""
        now = time.monotonic()
        self.state.progress.seconds, self._started = self._elapsed(), now
        self.state.save(self.folder / "checkpoints" / "last")

    def restore(self, folder: Path, allow_changes: bool) -> None:
        """Go on from a checkpoint."""
        self.state.restore(folder, self.config.seed, allow_changes)
        progress = self.state.progress
        self.log.resume(progress.step, progress.validated)
        self.log.say(f"resumed at step {progress.step}, epoch {progress.epoch}")
        if self.main:  # left by a kill between saving and removing
            kept = {self._best(step) for _, step in progress.best}
            for path in set((self.folder / "checkpoints").glob("best-*")) - kept:
                checkpoints.remove(path)

    def finish(self) -> Path:
        """Average the kept checkpoints, keep the average if it is no worse than the best single
        one on the validation set, and write the model folder."""
        self.accelerator.wait_for_everyone()  # the main process may still be writing best-S
        progress, path = self.state.progress, self.folder / "model"
        notes = f"step {progress.step}"
        if self.state.average and not progress.best:
            self.state.average.copy_to(self.model)
        if progress.best:
            notes = self._choose()
        training = (
            f"{notes}; {progress.step} steps, {progress.epoch} epochs, "
            f"{progress.tokens:,} target tokens, {progress.seconds / 60:.1f} minutes"
        )
        if self.main:
            self.task.save(path, training)
        if self.main or shares_evaluation(self.task):
            for line in self.task.test(self.folder, path, training):
                self.log.say(f"test: {line}")
        self.log.say(f"model saved in {path} ({notes})")
        self.accelerator.wait_for_everyone()
        return path

    def _choose(self) -> str:
        """Give the model the best weights there are; says which."""
        task, (score, step) = self.task, self.state.progress.best[0]
        best = checkpoints.read(self._best(step))[0]
        checkpoints.load_weights(self.model, best, str(self._best(step)))
        if self.config.training.average and len(self.state.progress.best) > 1:
            folders = [self._best(step) for _, step in self.state.progress.best]
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
