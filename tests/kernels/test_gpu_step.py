"""A step of search on a GPU: compiled, at real sizes, in CUDA graphs. ``make gpu`` runs it.

Never run: there was no GPU.
"""

import pytest
import torch

import kernels
from kernels.bench.decoder_step import Case, Setting, _error
from kernels.decoder import (
    DecoderState,
    input_sums,
    prepared_step,
    step_memory,
    step_weights,
)
from kernels.decoder.triton_backend.step.kernel import step_kernel
from kernels.recurrence.schedule import use_schedule

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
SCHEDULES = ["step", "persistent"]
CASES = [Case(1, 1, 50, 1024), Case(1, 5, 50, 1024), Case(32, 5, 50, 512), Case(7, 3, 200, 500)]


def setting_of(case, dtype=torch.bfloat16):
    return Setting(case, torch.device("cuda"), dtype)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_step_beside_float64(dtype, case, schedule, summed):
    setting = setting_of(case, dtype)
    truth = setting.exact()
    factor = 64 if dtype == torch.float32 else 8
    run = setting.prepared("triton", schedule, summed)
    assert _error(run(), truth) <= factor * torch.finfo(dtype).eps


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("case", CASES)
def test_many_steps_are_bit_identical(case, schedule):
    """A barrier that let a program pass too early would show in some of them."""
    run = setting_of(case).prepared("triton", schedule, summed=True)
    first = run()
    for _ in range(200):
        again = run()
        assert torch.equal(first[0], again[0]) and torch.equal(first[2], again[2])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("case", CASES)
def test_a_cuda_graph_replays_steps_that_follow_one_another(case, schedule):
    """Two steps in one graph, replayed on other tokens, states and sources."""
    setting = setting_of(case)
    with kernels.use_backend("triton"), use_schedule(schedule), torch.no_grad():
        weights = step_weights(setting.weights, "lstm", case.size, torch.bfloat16)
        memory = step_memory(setting.memory, weights)
        table = input_sums(setting.embedding, weights)

        def twice():
            state, rows = setting.state, setting.tokens
            for _ in range(2):
                vectors, state, alpha = prepared_step(
                    table, rows, weights, state, memory, "lstm", summed=True
                )
            return vectors, *state, alpha

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                twice()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = twice()
        for _ in range(3):
            setting.tokens.random_(len(table))
            for tensor in (*setting.state, memory.keys, memory.folded):
                tensor.normal_(std=0.5)
            memory.padded.copy_(torch.rand(memory.padded.shape, device="cuda") > 0.7)
            graph.replay()
            expected = twice()
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert weights.counter.eq(0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_row_does_not_depend_on_the_rows_beside_it(schedule):
    setting = setting_of(Case(32, 5, 50, 512))
    run, own = setting.prepared("triton", schedule), slice(50, 55)
    before = run()
    for tensor in (setting.state.hidden[0], setting.state.cell[0], setting.state.feed):
        tensor[:50] += 1
        tensor[55:] -= 1
    after = run()
    assert torch.equal(before[0][own], after[0][own])
    assert torch.equal(before[1].hidden[:, own], after[1].hidden[:, own])
    assert not torch.equal(before[0][:50], after[0][:50])


def test_sources_that_end_compile_nothing():
    def compiled():
        return sum(len(cache[0]) for cache in step_kernel.device_caches.values())

    setting, counts = setting_of(Case(32, 5, 50, 512)), []
    with kernels.use_backend("triton"), torch.no_grad():
        weights = step_weights(setting.weights, "lstm", 512, torch.bfloat16)
        for sources in (32, 31, 27):
            memory = step_memory(
                type(setting.memory)(*(t[:sources] for t in setting.memory)), weights
            )
            hidden, cell, feed = setting.state
            rows = 5 * sources
            state = DecoderState(hidden[:, :rows], cell[:, :rows], feed[:rows])
            tokens = setting.tokens[:rows]
            prepared_step(setting.embedding, tokens, weights, state, memory, "lstm")
            counts.append(compiled())
    assert counts[0] == counts[-1]


def test_debug_mode_finds_every_barrier_reached(monkeypatch):
    monkeypatch.setenv("KERNELS_DEBUG", "1")
    for case in CASES:
        setting_of(case).prepared("triton", "persistent")()
