"""One step of search: LSTM, additive attention, input feeding, K hypotheses of each of B sources.

On a GPU the kernel beside PyTorch's operators, every contender replayed from a CUDA graph of its
own; on a CPU the prepared step beside the plain one. Tokens are looked up in an embedding as
search does it. Results are first compared with the float64 reference's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import kernels
from kernels.bench.errors import worst
from kernels.bench.pictures import Bar, draw, possible
from kernels.bench.timing import HEAD_START, quantiles
from kernels.decoder import (
    DecoderState,
    DecoderWeights,
    LayerWeights,
    Memory,
    decoder_step,
    input_sums,
    prepared_step,
    step_memory,
    step_weights,
)

Rows = list[dict[str, Any]]
Result = tuple[Tensor, DecoderState, Any]  # attention weights, None without memory
REPLAYS = 200  # steps between two looks at the clock
VOCABULARY = 8000


class Case(NamedTuple):
    sources: int  # B
    beams: int  # K
    source: int  # S
    size: int  # E = A = Q = D = H


def cases(quick: bool, few: bool = False) -> list[Case]:
    if quick:
        return [Case(2, 3, 5, 32)]
    if few:
        return [Case(32, 5, 50, 512)]
    return [Case(1, 1, 50, 1024), Case(1, 5, 50, 1024), Case(32, 1, 50, 512), Case(32, 5, 50, 512)]


class Setting:
    """Weights, state and memory of a case; drawn from a fixed seed."""

    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype) -> None:
        draw = torch.Generator().manual_seed(0)
        sources, beams, source, size = case
        rows = sources * beams

        def new(*shape: int, scale: float = 1.0) -> Tensor:
            return (torch.randn(*shape, generator=draw) * scale).to(device, dtype)

        narrow = size**-0.5
        layer = LayerWeights(
            new(4 * size, 2 * size, scale=narrow), new(4 * size, size, scale=narrow),
            new(4 * size, scale=narrow), new(4 * size, scale=narrow),
        )  # fmt: skip
        self.weights = DecoderWeights(
            (layer,), new(size, 2 * size, scale=narrow), new(size, size, scale=narrow),
            new(size, scale=narrow),
        )  # fmt: skip
        self.embedding = new(min(VOCABULARY, 50 * size), size)
        self.state = DecoderState(
            new(1, rows, size, scale=0.3), new(1, rows, size), new(rows, size, scale=0.3)
        )
        lengths = torch.randint(source // 2, source + 1, (sources,), generator=draw).to(device)
        self.memory = Memory(new(sources, source, size), new(sources, source, size), lengths)
        self.tokens = torch.randint(len(self.embedding), (rows,), generator=draw).to(device)

    def plain(self) -> Result:
        inputs = self.embedding.index_select(0, self.tokens)
        return decoder_step(inputs, self.weights, self.state, self.memory, "lstm")

    def exact(self) -> Result:
        """``plain`` of the same numbers in float64."""
        own = object.__new__(Setting)
        layer, others = self.weights.layers[0], self.weights[1:]
        own.weights = DecoderWeights((LayerWeights(*_doubles(layer)),), *_doubles(others))
        own.embedding, own.tokens = self.embedding.double(), self.tokens
        own.state = DecoderState(*_doubles(self.state))
        keys, values, lengths = self.memory
        own.memory = Memory(keys.double(), values.double(), lengths)
        with kernels.use_backend("reference"):
            return own.plain()

    def prepared(self, backend: str, schedule: str = "", summed: bool = False) -> Callable[[], Any]:
        """A step with everything prepared that search prepares."""
        from kernels.recurrence.schedule import use_schedule

        with kernels.use_backend(backend):
            weights = step_weights(
                self.weights, "lstm", self.embedding.size(1), self.embedding.dtype
            )
            memory = step_memory(self.memory, weights)
            table = input_sums(self.embedding, weights) if summed else self.embedding

        def call() -> Result:
            inputs, rows = table, None
            if backend == "torch":
                inputs = inputs.index_select(0, self.tokens)
            else:
                rows = self.tokens
            with kernels.use_backend(backend):
                return prepared_step(
                    inputs, rows, weights, self.state, memory, "lstm", summed=summed
                )

        if not schedule:
            return call

        def scheduled() -> Result:
            with use_schedule(schedule):
                return call()

        return scheduled


def _doubles(tensors: Sequence[Any]) -> list[Any]:
    """In float64, None where there is none."""
    return [None if tensor is None else tensor.double() for tensor in tensors]


def contenders(setting: Setting) -> dict[str, Callable[[], Any]]:
    """On a GPU."""
    return {
        "kernels": setting.prepared("triton", "persistent", summed=True),
        "kernels, embedding inside": setting.prepared("triton", "persistent"),
        "kernels, a launch a phase": setting.prepared("triton", "step", summed=True),
        "operators": setting.prepared("torch"),
        "operators, summed": setting.prepared("torch", summed=True),
    }


def run_gpu(
    quick: bool,
    rounds: int,
    device: torch.device,
    keep: Callable[[Rows], None] | None = None,
    few: bool = False,
) -> Rows:
    """Times all cases (or the one that decides) in bfloat16 (in the interpreter float32), prints a
    table, returns a row for each case and contender."""
    print("Microseconds of a step, graph-replayed: median (20th to 80th percentile).")
    results: Rows = []
    for case in cases(quick, few):
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        setting = Setting(case, device, dtype)
        results += _measure(setting, case, contenders(setting), rounds)
        if keep is not None:
            keep(results)
    return results


def run_cpu(quick: bool, rounds: int) -> Rows:
    """The same in float32 on the CPU's operators."""
    print("Microseconds of a step: median (20th to 80th percentile).")
    results: Rows = []
    for case in cases(quick):
        setting = Setting(case, torch.device("cpu"), torch.float32)
        runs = {
            "prepared": setting.prepared("torch"),
            "prepared, summed": setting.prepared("torch", summed=True),
            "plain": _on_torch(setting.plain),
        }
        results += _measure(setting, case, runs, rounds)
    return results


def _on_torch(run: Callable[[], Any]) -> Callable[[], Any]:
    def call() -> Any:
        with kernels.use_backend("torch"):
            return run()

    return call


def _measure(setting: Setting, case: Case, runs: dict[str, Callable[[], Any]], rounds: int) -> Rows:
    print(f"\n{case}")
    truth, rows, timers = setting.exact(), [], {}
    for name, run in runs.items():
        dtype = setting.embedding.dtype
        row: dict[str, Any] = case._asdict() | {"contender": name}
        row["dtype"] = str(dtype).removeprefix("torch.")
        rows.append(row)
        try:
            with torch.no_grad():
                row["error"] = _error(run(), truth)
                timers[name] = _timer(run, setting.embedding.is_cuda)
        except Exception as problem:  # what cannot run is reported beside what can
            lines = str(problem).splitlines() or [type(problem).__name__]
            row["problem"] = f"not run: {lines[0]}"
            continue
        bound = 16 * torch.finfo(dtype).eps
        if not row["error"] <= bound:
            row["problem"] = f"WRONG, not timed: error {row['error']:.1e}"
    samples: dict[str, list[float]] = {}
    for number in range(rounds + 2):  # the first two warm up
        for row in rows:
            if "problem" not in row:
                found = timers[row["contender"]]()
                if number >= 2:
                    samples.setdefault(row["contender"], []).append(found)
    for row in rows:
        line = row.get("problem")
        if line is None:
            row["step"] = quantiles(samples[row["contender"]])
            low, middle, high = row["step"]
            line = f"{middle:9.2f} ({low:.2f} to {high:.2f})  error {row['error']:.1e}"
        print(f"  {row['contender']:26} {line}", flush=True)
    return rows


def _error(found: Result, truth: Result) -> float:
    """Largest relative norm among vectors, state and attention."""
    pairs = zip((found[0], *found[1], found[2]), (truth[0], *truth[1], truth[2]), strict=True)
    return worst(((a.double() - b).norm() / b.norm()).item() for a, b in pairs)


def _timer(run: Callable[[], Any], cuda: bool) -> Callable[[], float]:
    """-> a function that gives the microseconds of a step."""
    if not cuda:

        def once() -> float:
            start = time.perf_counter()
            with torch.no_grad():
                run()
            return 1e6 * (time.perf_counter() - start)

        return once
    side = torch.cuda.Stream()  # what is captured must have run before, on a stream of its own
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()

    def replayed() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        torch.cuda._sleep(HEAD_START)  # the device never waits for Python in between
        start.record()
        for _ in range(REPLAYS):
            graph.replay()
        end.record()
        end.synchronize()
        return 1e3 * start.elapsed_time(end) / REPLAYS

    return replayed


def plot(results: Rows, folder: Path) -> None:
    """A picture of a step's time, by contender and case."""
    if not possible():
        return
    bars = [
        Bar(
            "\n".join(f"{letter} {row[n]}" for letter, n in zip("BKSH", Case._fields, strict=True)),
            row["contender"],
            row["step"][1],
        )
        for row in results
        if "problem" not in row
    ]
    draw(bars, folder / "step.png", "microseconds of a step")
