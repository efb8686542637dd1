"""What only a GPU can show: compiled kernels at real sizes, beside cuDNN. ``make gpu`` runs it.

Last run: never; no GPU has been at hand.
"""

import pytest
import torch
from torch import nn

import kernels
from kernels.recurrence.schedule import use_schedule
from kernels.recurrence.triton_backend.backward import backward_kernel
from kernels.recurrence.triton_backend.forward import forward_kernel
from tests.kernels.recurrences import KINDS, assert_close, bound, make, relative, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
NAMES = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN"}


def on_gpu(arguments):
    return {k: v.cuda() for k, v in arguments.items()}


@pytest.mark.parametrize("lengths", [None, [40, 0, 17, 39, 1] * 7])
@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("schedule", ["step", "resident", "persistent"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_schedule_in_fp32(kind, schedule, directions, lengths):
    arguments = make(kind, 35, 40, 24, 60, directions=directions)
    lengths = None if lengths is None else torch.tensor(lengths)
    truth = run("reference", arguments, kind=kind, lengths=lengths)
    with use_schedule(schedule):
        found = run("triton", on_gpu(arguments), torch.float32, kind=kind, lengths=lengths)
    assert_close([f.cpu() for f in found], truth, bound(torch.float32, 40))


@pytest.mark.parametrize("size", [512, 700, 1024])
@pytest.mark.parametrize("schedule", ["step", "persistent"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_error_is_at_most_one_and_a_half_that_of_cudnn(kind, schedule, size, dtype):
    torch.manual_seed(0)
    theirs = getattr(nn, NAMES[kind])(64, size, batch_first=True, device="cuda", dtype=dtype)
    ours = getattr(kernels, NAMES[kind])(64, size, batch_first=True, device="cuda", dtype=dtype)
    exact = getattr(kernels, NAMES[kind])(
        64, size, batch_first=True, device="cuda", dtype=torch.float64
    )
    ours.load_state_dict(theirs.state_dict())
    exact.load_state_dict(theirs.state_dict())
    inputs = torch.randn(32, 50, 64, device="cuda", dtype=dtype)
    results = []
    for module, backend in ((exact, "torch"), (theirs, "auto"), (ours, "triton")):
        x = inputs.to(next(module.parameters()).dtype, copy=True).requires_grad_()
        with kernels.use_backend(backend), use_schedule(schedule):
            outputs = module(x)[0]
            outputs.double().square().sum().backward()
        gradients = [parameter.grad for parameter in module.parameters()]
        results.append([t.double() for t in (outputs, x.grad, *gradients)])
    for truth, cudnn, found in zip(*results, strict=True):
        assert relative(found, truth) <= 1.5 * relative(cudnn, truth) + torch.finfo(dtype).eps


@pytest.mark.parametrize("schedule", ["step", "resident", "persistent"])
def test_two_runs_are_bit_identical(schedule):
    arguments = on_gpu(make("lstm", 35, 60, 32, 100))
    with use_schedule(schedule):
        first, second = (run("triton", arguments, torch.bfloat16) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_batch_groups_that_follow_one_another():
    """More groups than are resident at once."""
    arguments = make("lstm", 200, 12, 16, 1024)
    truth = run("torch", on_gpu(arguments))
    with use_schedule("persistent"):
        found = run("triton", on_gpu(arguments), torch.bfloat16)
    assert_close(found, truth, 4 * torch.finfo(torch.bfloat16).eps)


@pytest.mark.parametrize("schedule", ["step", "persistent"])
def test_a_cuda_graph_replays(schedule):
    module = kernels.LSTM(64, 256, batch_first=True, device="cuda", dtype=torch.bfloat16)
    inputs = torch.randn(8, 20, 64, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad(), kernels.use_backend("triton"), use_schedule(schedule):
        for _ in range(3):
            module(inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs, _ = module(inputs)
        inputs.copy_(torch.randn_like(inputs))
        graph.replay()
        assert torch.equal(outputs, module(inputs)[0])


def test_another_batch_or_length_compiles_nothing():
    module = kernels.GRU(16, 64, batch_first=True, device="cuda", dtype=torch.bfloat16)

    def compiled():
        caches = (k.device_caches for k in (forward_kernel, backward_kernel))
        return sum(len(cache[0]) for devices in caches for cache in devices.values())

    with kernels.use_backend("triton"), use_schedule("resident"):
        for batch, steps in ((2, 5), (3, 16), (16, 2), (13, 64)):
            inputs = torch.randn(batch, steps, 16, device="cuda", dtype=torch.bfloat16)
            module(inputs)[0].sum().backward()
            count = compiled()
            if batch == 2:
                first = count
            assert count == first


def test_torch_compile_with_inductor():
    module = kernels.LSTM(64, 128, 2, bidirectional=True, batch_first=True, device="cuda")
    inputs = torch.randn(8, 20, 64, device="cuda")
    compiled = torch.compile(module, fullgraph=True)
    with kernels.use_backend("triton"):
        torch.testing.assert_close(compiled(inputs)[0], module(inputs)[0])
