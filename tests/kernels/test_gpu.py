"""What only a GPU can show: compiled kernels at real sizes, beside cuDNN. ``make gpu`` runs it.

Never run: there was no GPU.
"""

import pytest
import torch
from torch import nn

import kernels
from kernels.attention.triton_backend.forward import forward_kernel as attention_kernel
from kernels.common import cuda_graphs
from kernels.common import lengths as lengths_module
from kernels.recurrence import operation, packing
from kernels.recurrence.schedule import use_schedule
from kernels.recurrence.triton_backend.backward import backward_kernel
from kernels.recurrence.triton_backend.forward import forward_kernel
from tests.kernels.recurrences import KINDS, assert_close, bound, make, relative, run
from tests.kernels.test_decoder import make as decoder_leaves
from tests.kernels.test_triton_decoder import compare

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


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("lengths", [None, [40, 0, 17, 39, 1] * 7])
def test_the_projected_lstm_in_fp32(lengths, norm):
    arguments = make("lstm", 35, 40, 24, 60, directions=2, norm=norm, projected=20)
    lengths = None if lengths is None else torch.tensor(lengths)
    truth = run("reference", arguments, lengths=lengths)
    found = run("triton", on_gpu(arguments), torch.float32, lengths=lengths)
    assert_close([f.cpu() for f in found], truth, 3 * bound(torch.float32, 40))


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


@pytest.mark.parametrize("where", ["cpu", "cuda"])
@pytest.mark.parametrize("schedule", ["step", "persistent"])
def test_a_cuda_graph_of_sequences_with_lengths_replays(schedule, where, monkeypatch):
    module = kernels.LSTM(64, 256, batch_first=True, device="cuda", dtype=torch.bfloat16)
    inputs = torch.randn(8, 20, 64, device="cuda", dtype=torch.bfloat16)
    lengths = torch.tensor([20, 0, 17, 9, 1, 20, 3, 8], device=where)
    with torch.no_grad(), kernels.use_backend("triton"), use_schedule(schedule):
        with monkeypatch.context() as patched:  # compiles what the graph will launch
            for part in (packing, operation, lengths_module):
                patched.setattr(part, "capturing", lambda device: True)
            module(inputs, lengths=lengths)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs, (hidden, cell) = module(inputs, lengths=lengths)
        inputs.copy_(torch.randn_like(inputs))
        graph.replay()
        expected, states = module(inputs, lengths=lengths)
    for found, other in zip((outputs, hidden, cell), (expected, *states), strict=True):
        assert relative(found.double(), other.double()) <= 4 * torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("lengths", [None, [40, 0, 17, 39, 1]])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_loops_replayed_as_graphs_are_the_plain_ones(kind, lengths, monkeypatch):
    """KERNELS_GRAPHS=1: the second call is captured, the third replays, with other numbers."""
    monkeypatch.setenv("KERNELS_GRAPHS", "1")
    cuda_graphs.clear()
    options = {"kind": kind, "lengths": None if lengths is None else torch.tensor(lengths)}
    with use_schedule("step"):
        for seed in range(3):
            arguments = on_gpu(make(kind, 5, 40, 24, 64, directions=2, seed=seed))
            found = run("triton", arguments, torch.bfloat16, **options)
        assert cuda_graphs._graphs
        monkeypatch.delenv("KERNELS_GRAPHS")
        plain = run("triton", arguments, torch.bfloat16, **options)
    cuda_graphs.clear()
    assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


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


def attention_tensors(form, batch, steps, sources, size, dtype):
    torch.manual_seed(0)
    shapes = [(batch, steps, size), (batch, sources, size), (batch, sources, size)]
    shapes += [(size,), (size,)] if form == "additive" else []
    tensors = [torch.randn(s, device="cuda") for s in shapes]
    if form == "additive":
        tensors[3] *= size**-0.5
    return [t.to(dtype).requires_grad_() for t in tensors]


def attend(form, backend, tensors, **options):
    """Context, weights, and gradients of a function of both."""
    call = kernels.additive_attention if form == "additive" else kernels.dot_attention
    if form == "dot":
        options["scale"] = tensors[0].size(2) ** -0.5
    with kernels.use_backend(backend):
        context, weights = call(*tensors, **options, return_weights=True)
        total = context.double().square().sum() + weights.double().square().sum()
        return [context, weights, *torch.autograd.grad(total, tensors)]


@pytest.mark.parametrize("lengths", [None, [50, 0, 1, 37, 49, 17, 16, 33]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [512, 300])
@pytest.mark.parametrize("steps", [1, 5, 50])
@pytest.mark.parametrize("form", ["additive", "dot"])
def test_attention_beside_float64(form, steps, size, dtype, lengths):
    tensors = attention_tensors(form, 8, steps, 50, size, dtype)
    options = {} if lengths is None else {"lengths": torch.tensor(lengths, device="cuda")}
    exact = [t.detach().double().requires_grad_() for t in tensors]
    truth = attend(form, "torch", exact, **options)
    found = attend(form, "triton", tensors, **options)
    eps = torch.finfo(dtype).eps
    assert relative(found[0].double(), truth[0]) <= (1e-6 if dtype == torch.float32 else 2 * eps)
    for a, b in zip(found, truth, strict=True):
        assert relative(a.double(), b) <= (64 if dtype == torch.float32 else 8) * eps


def test_attention_with_large_queries_and_keys():
    tensors = attention_tensors("additive", 4, 20, 70, 512, torch.float32)
    with torch.no_grad():
        tensors[1][:, 40:] *= 50
        tensors[0][2:] *= 50
    truth = attend("additive", "torch", [t.detach().double().requires_grad_() for t in tensors])
    for a, b in zip(attend("additive", "triton", tensors), truth, strict=True):
        assert relative(a.double(), b) <= 64 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("form", ["additive", "dot"])
def test_two_runs_of_attention_are_bit_identical(form):
    tensors = attention_tensors(form, 16, 50, 50, 512, torch.bfloat16)
    first, second = (attend(form, "triton", tensors) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_attention_holds_no_large_tensor():
    batch, steps, sources, size = 16, 128, 128, 512
    tensors = attention_tensors("additive", batch, steps, sources, size, torch.float32)
    with kernels.use_backend("triton"):
        kernels.additive_attention(*tensors).sum().backward()  # compiles
        for tensor in tensors:
            tensor.grad = None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kernels.additive_attention(*tensors).sum().backward()
    peak = torch.cuda.max_memory_allocated() - before
    assert peak <= 8 * 4 * batch * (steps + sources) * size < 4 * batch * steps * sources * size


@pytest.mark.parametrize("masked", [False, True])
def test_a_step_of_attention_in_a_cuda_graph(masked):
    """Lengths are checked on the device, where nobody waits for them."""
    query, keys, values, weight, bias = attention_tensors("additive", 8, 5, 50, 512, torch.bfloat16)
    lengths = torch.randint(1, 51, (8,), device="cuda")
    mask = torch.arange(50, device="cuda") < lengths[:, None]
    arguments, options = (query, keys, values, weight, bias), {"lengths": lengths}
    if masked:
        options = {"mask": mask}
    with torch.no_grad(), kernels.use_backend("triton"):
        for _ in range(3):
            kernels.additive_attention(*arguments, **options)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            context = kernels.additive_attention(*arguments, **options)
        query.copy_(torch.randn_like(query))
        graph.replay()
        assert torch.equal(context, kernels.additive_attention(*arguments, **options))


@pytest.mark.parametrize("sources", [7, 50])
def test_few_queries_take_two_launches_of_attention(sources):
    tensors = attention_tensors("additive", 1, 1, sources, 1024, torch.float32)
    truth = attend("additive", "torch", [t.detach().double().requires_grad_() for t in tensors])
    for a, b in zip(attend("additive", "triton", tensors), truth, strict=True):
        assert relative(a.double(), b) <= 64 * torch.finfo(torch.float32).eps


def test_another_length_of_attention_compiles_nothing():
    def compiled():
        return sum(len(cache[0]) for cache in attention_kernel.device_caches.values())

    counts = []
    with torch.no_grad(), kernels.use_backend("triton"):
        for steps, sources in ((50, 50), (49, 64), (51, 33)):
            tensors = attention_tensors("additive", 64, steps, sources, 512, torch.bfloat16)
            kernels.additive_attention(*tensors)
            counts.append(compiled())
    assert counts[0] == counts[-1]


def decoder_setting(batch=32, steps=20, source=30, size=256, dtype=torch.bfloat16, fed=True):
    from kernels.bench.decoder import Case, Setting

    return Setting(Case(batch, steps, source, size, fed), torch.device("cuda"), dtype, fused=True)


@pytest.mark.parametrize("schedule", ["step", "persistent"])
@pytest.mark.parametrize("size", [256, 500, 512, 1024])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_decoder_beside_float64(schedule, size, dtype):
    setting = decoder_setting(size=size, dtype=dtype)
    exact = decoder_setting(size=size, dtype=torch.float64)
    exact.loop.load_state_dict(setting.loop.state_dict())
    exact.lengths, exact.direction = setting.lengths, setting.direction
    with torch.no_grad():
        for a, b in zip(exact.leaves[:3], setting.leaves[:3], strict=True):
            a.copy_(b)
    with kernels.use_backend("torch"):
        truth = exact.gradients(exact.fused)
    with kernels.use_backend("triton"), use_schedule(schedule):
        found = setting.gradients(setting.fused)
    assert_close(found, truth, (200 if dtype == torch.float32 else 8) * torch.finfo(dtype).eps)


@pytest.mark.parametrize("size", [130, 500])
def test_rows_that_are_no_multiple_of_16_bytes(size):
    """Whose copies may go through L1, where a program would find what was there before: the
    persistent loop gives what one launch for each phase gives, each time."""
    setting = decoder_setting(batch=5, size=size)
    with kernels.use_backend("triton"):
        with use_schedule("step"):
            expected = setting.gradients(setting.fused)
        with use_schedule("persistent"):
            first = setting.gradients(setting.fused)
            assert_close(first, expected, torch.finfo(torch.bfloat16).eps)
            for _ in range(20):
                found = setting.gradients(setting.fused)
                assert all(torch.equal(a, b) for a, b in zip(found, first, strict=True))


@pytest.mark.parametrize("schedule", ["step", "persistent"])
def test_two_runs_of_the_decoder_are_bit_identical(schedule):
    setting = decoder_setting()
    with kernels.use_backend("triton"), use_schedule(schedule):
        first, second = (setting.gradients(setting.fused) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("fed", [True, False])
def test_torch_compile_of_the_decoder_with_inductor(fed):
    setting = decoder_setting(dtype=torch.float32, fed=fed)
    with kernels.use_backend("triton"):
        eager = setting.gradients(setting.fused)
        compiled = setting.gradients(torch.compile(setting.fused, fullgraph=True))
    assert_close(compiled, eager, bound(torch.float32, 20))


@pytest.mark.parametrize("schedule", ["step", "persistent"])
def test_a_cuda_graph_replays_the_decoder(schedule):
    """Nothing waits for the device and nothing allocated depends on data, lengths included."""
    setting = decoder_setting()
    with torch.no_grad(), kernels.use_backend("triton"), use_schedule(schedule):
        for _ in range(3):
            setting.fused()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = setting.fused()
        setting.inputs.copy_(torch.randn_like(setting.inputs))
        setting.lengths.copy_(torch.randint_like(setting.lengths, 0, 31))
        graph.replay()
        assert torch.equal(outputs, setting.fused())


@pytest.mark.parametrize("schedule", ["step", "persistent"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_with_gate_and_sentinel_beside_float64(kind, dtype, schedule):
    """Sizes that fill no tile, a source of length 0, normalisation after one layer of two."""
    leaves, call = decoder_leaves(
        kind, "additive", layers=2, norm={1}, dropout="plain", gate="vector", sentinel=True,
        sizes=(33, 9, 31, 48, 130, 130, 70),
    )  # fmt: skip
    leaves = {name: leaf * (0.2 if leaf.dim() == 2 else 1) for name, leaf in leaves.items()}
    with use_schedule(schedule):
        compare(leaves, call, dtype, residual=True)


def test_the_loss_beside_float64_and_in_a_cuda_graph():
    from kernels.bench.loss import Case, Setting

    case, device = Case(3000, 512, 8001), torch.device("cuda")
    setting = Setting(case, device, torch.bfloat16)
    exact = Setting(case, device, torch.float64)
    with torch.no_grad():
        for a, b in zip(exact.leaves, setting.leaves, strict=True):
            a.copy_(b)
    exact.targets = setting.targets
    truth = exact.gradients(exact.plain)
    with kernels.use_backend("triton"):
        assert_close(setting.gradients(setting.fused), truth, 8 * torch.finfo(torch.bfloat16).eps)
        with torch.no_grad():
            for _ in range(2):
                setting.fused()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                loss = setting.fused()
            setting.leaves[0].mul_(0.5)
            graph.replay()
            assert torch.equal(loss, setting.fused())
