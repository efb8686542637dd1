"""The state of a run, which checkpoints/last stores so that the run can be resumed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from seq2seq.errors import ToldElsewhere, UsageError
from seq2seq.training import checkpoints
from seq2seq.training.averages import MovingAverage, TriggeredAverage
from seq2seq.training.processes import own_seed
from seq2seq.training.task import Carried, Streaming, Task, shares_rows

_BATCHES = "batches"  # in state.json: what Progress.batch counts


@dataclass
class Progress:
    """Where a run stands."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch already used, by all processes together
    step: int = 0  # optimizer steps
    tokens: int = 0  # targets trained on
    seconds: float = 0.0  # spent in training, validation included
    plateaus: int = 0
    since_best: int = 0  # validations since the best score
    best: list[tuple[float, int]] = field(default_factory=list)  # kept (score, step), best first
    window_loss: float = 0.0  # since the last log line
    window_tokens: int = 0
    window_parts: dict[str, float] = field(default_factory=dict)
    validated: int = 0  # step of the last validation


@dataclass
class State:
    """Weights, moving average, optimizer, what one batch leaves for the next, progress; the state
    of the random generators goes with them."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: MovingAverage | TriggeredAverage | None
    accelerator: Accelerator
    task: Task
    progress: Progress = field(default_factory=Progress)
    carried: Carried = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the checkpoint; called in all processes, written by the main one."""
        device = self.accelerator.device
        random = {"random.cpu": self._of_all(torch.get_rng_state())}
        for name, tensor in self.carried.items():
            random[f"carried.{name}"] = self._of_all(tensor)
        if device.type != "cpu":
            state = torch.get_device_module(device).get_rng_state(*_numbered(device))
            random[f"random.{device.type}"] = self._of_all(state)
        if not self.accelerator.is_main_process:
            return
        tensors = {f"model.{k}": v for k, v in checkpoints.weights_of(self.model).items()}
        for key, tensor in checkpoints.optimizer_tensors(self.optimizer).items():
            tensors[f"optimizer.{key}"] = tensor
        processes = self.accelerator.num_processes
        values = {"progress": dataclasses.asdict(self.progress), "processes": processes}
        values[_BATCHES] = "of all"
        if isinstance(self.task, Streaming) and (stream := self.task.stream_state()) is not None:
            values["stream"] = stream
        if self.average:
            values |= self.average.state()
            for index, tensor in enumerate(self.average.average):
                tensors[f"average.{index}"] = tensor
        tensors |= random
        checkpoints.write(folder, {k: v.cpu() for k, v in tensors.items()}, values)

    def _of_all(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, (processes, ...)."""
        return self.accelerator.gather(tensor.to(self.accelerator.device)[None]).cpu()

    def restore(self, folder: Path, seed: int, allow_changes: bool) -> None:
        """Go back to a checkpoint. Raises RunError where it is damaged, UsageError where it is of
        another number of processes and ``allow_changes`` is not given, or where what one batch left
        for the next cannot be shared out anew."""
        tensors, values = checkpoints.read(folder)

        def part(name: str) -> dict[str, Tensor]:
            start = name + "."
            return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}

        before, processes = values["processes"], self.accelerator.num_processes
        if before != processes and not allow_changes:
            raise (UsageError if self.accelerator.is_main_process else ToldElsewhere)(
                f"--resume: the run was on {before} processes, this is on {processes}; a step then "
                "takes other batches and other dropout. Start as many, or go on all the same with "
                "--allow-changes"
            )
        checkpoints.load_weights(self.model, part("model"), str(folder))
        checkpoints.load_optimizer(self.optimizer, part("optimizer"))
        if self.average:
            self.average.load(values)
            averages = part("average")
            for index, tensor in enumerate(self.average.average):
                tensor.copy_(averages[str(index)])
        self.progress = Progress(**values["progress"])
        self.progress.best = [(score, step) for score, step in self.progress.best]
        if _BATCHES not in values and not shares_rows(self.task):
            self.progress.batch *= before  # older checkpoints count those of one process
        if "stream" in values and isinstance(self.task, Streaming):
            self.task.load_stream_state(values["stream"])
        self._restore_carried(part("carried"), folder)
        self._restore_random(part("random"), seed)

    def _restore_carried(self, tensors: dict[str, Tensor], folder: Path) -> None:
        """What each of the former processes carried, (processes, rows, ...)."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        own = {}
        for name, every in tensors.items():
            if len(every) == processes:
                own[name] = every[rank]
            elif shares_rows(self.task) and every.shape[0] * every.shape[1] % processes == 0:
                own[name] = every.flatten(0, 1).chunk(processes)[rank]
            else:
                raise UsageError(
                    f"--resume: {folder} holds what {len(every)} processes carried from batch to "
                    f"batch, and this is on {processes}; start as many"
                )
        self.carried = {name: tensor.to(self.accelerator.device) for name, tensor in own.items()}

    def _restore_random(self, states: dict[str, Tensor], seed: int) -> None:
        """The random generators of this process; new ones where it is another number of them."""
        rank, device = self.accelerator.process_index, self.accelerator.device
        if len(states["cpu"]) != self.accelerator.num_processes:
            torch.manual_seed(own_seed(seed, rank, self.progress.step))
            return
        # torch reads a state from the beginning of its memory, whatever the row: hence the clone
        torch.set_rng_state(states["cpu"][rank].clone())
        if device.type != "cpu" and device.type in states:
            module = torch.get_device_module(device)
            module.set_rng_state(states[device.type][rank].clone(), *_numbered(device))


def _numbered(device: torch.device) -> tuple[torch.device, ...]:
    """What a device's module is told; of Apple's there is one, and none is told."""
    return () if device.type == "mps" else (device,)
