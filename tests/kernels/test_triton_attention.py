"""The Triton attention against float64, in Triton's interpreter (on a GPU: compiled)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import additive_attention, concat_attention, dot_attention, use_backend
from kernels.attention import operation
from kernels.attention.arguments import Problem
from kernels.attention.schedule import Columns, Tile, Tiles, use_tiles
from kernels.attention.triton_backend import launch
from tests.kernels.allocations import Allocations

INTERPRETED = not torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED else "cuda"
FORMS = ("additive", "dot")
# Small blocks, so that small tensors take several, none of them whole.
TILES = Tiles(Tile(4, 16, 4, 16, 4), Tile(4, 16, 4, 16, 4), Columns(2, 2, 16, 1))


@pytest.fixture(autouse=True)
def poisoned():
    """Fresh memory holds NaN: what a kernel forgets to write shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def make(form, batch, steps, source, size, width, *, scale=1.0, window=0.0, covered=False):
    """Random float64 arguments by name."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator) * scale

    found = {
        "query": random(batch, steps, size),
        "keys": random(batch, source, size),
        "values": random(batch, source, width),
    }
    if form == "additive":
        found |= {"weight": random(size), "bias": random(size)}
    if covered:
        found |= {"coverage": random(batch, steps, source), "coverage_weight": random(size)}
    if window:
        centre = torch.rand(batch, steps, dtype=torch.float64, generator=generator)
        found["centre"] = (centre * source * 1.2 - 1).round(decimals=2)
    return found


def run(form, backend, arguments, dtype, weights=True, **options):
    """Context, weights and gradients of a fixed random function of them, in float64."""
    device = DEVICE if backend == "triton" else "cpu"
    tensors = {
        k: v.detach().to(device, dtype, copy=True).requires_grad_() for k, v in arguments.items()
    }
    options = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    function = additive_attention if form == "additive" else dot_attention
    with use_backend(backend):
        results = function(**tensors, **options, return_weights=weights)
        results = results if weights else (results,)
        generator = torch.Generator().manual_seed(1)
        total = sum(
            (
                r.double().cpu() * torch.randn(r.shape, dtype=torch.float64, generator=generator)
            ).sum()
            for r in results
        )
        grads = torch.autograd.grad(total, list(tensors.values()))
    return [t.double().cpu() for t in (*results, *grads)]


def compare(form, arguments, dtype=torch.float32, factor=64, tiles=TILES, **options):
    """Each result's error, relative to its norm, is at most ``factor`` roundings."""
    truth = run(form, "reference", arguments, torch.float64, **options)
    with use_tiles(tiles):
        found = run(form, "triton", arguments, dtype, **options)
    bound = factor * torch.finfo(dtype).eps
    whole = max(t.norm().item() for t in truth)
    for k, (a, b) in enumerate(zip(found, truth, strict=True)):
        assert a.shape == b.shape and not a.isnan().any(), k
        # Sums that cancel can be far smaller than their terms.
        scale = max(b.norm().item(), 1e-3 * whole)
        assert (a - b).norm().item() <= bound * scale, (k, (a - b).norm().item() / scale / bound)
    return found


@pytest.mark.parametrize("lengths", [None, [19, 0, 1]])
@pytest.mark.parametrize(
    "option", ["plain", "mask", "heads", "window", "coverage", "temperature", "everything"]
)
@pytest.mark.parametrize("form", FORMS)
def test_results_and_every_gradient(form, option, lengths):
    everything = option == "everything"
    if form == "dot" and option in ("coverage", "temperature"):
        pytest.skip("dot_attention has no such option")
    window = 3.5 if everything or option == "window" else 0.0
    covered = form == "additive" and (everything or option == "coverage")
    arguments = make(form, 3, 5, 19, 10, 6, window=window, covered=covered)
    options = {"window": window}
    if lengths is not None:
        options["lengths"] = torch.tensor(lengths)
    if everything or option == "mask":
        options["mask"] = torch.rand(3, 19, generator=torch.Generator().manual_seed(2)) < 0.6
    if everything or option == "heads":
        options["heads"] = 2
    if form == "additive" and (everything or option == "temperature"):
        options["temperature"] = 1.7
    found = compare(form, arguments, **options)
    if lengths is not None:  # the source of length 0
        assert not any(tensor[1].any() for tensor in found[:5])


@pytest.mark.parametrize("option", ["plain", "mask", "heads", "window", "everything"])
@pytest.mark.parametrize("tile", ["narrow", "split"])
def test_narrower_blocks_and_two_launches(tile, option):
    """Blocks of three widths; sources and columns shared out over programs."""
    forward = Tile(4, 32, 4, 16, 4, 4) if tile == "narrow" else Tile(4, 16, 4, 16, 4, 0, 16)
    everything = option == "everything"
    window = 4.5 if everything or option == "window" else 0.0
    arguments = make("additive", 3, 5, 55, 10, 40, window=window, covered=everything)
    options = {"lengths": torch.tensor([55, 0, 50]), "window": window}
    if option == "plain":  # each way to end
        options["lengths"] = torch.tensor([50, 37, 43])
    if everything or option == "mask":
        options["mask"] = torch.rand(3, 55, generator=torch.Generator().manual_seed(2)) < 0.6
    if everything or option == "heads":
        options["heads"] = 2
    compare("additive", arguments, tiles=TILES._replace(forward=forward), **options)


@pytest.mark.parametrize("option", ["plain", "window", "mask"])
def test_scores_made_again_where_they_were_not_kept(option, monkeypatch):
    """By default these are kept, and so were those of the tests above."""
    window = 3.5 if option == "window" else 0.0
    arguments = make("additive", 3, 5, 19, 10, 6, window=window)
    options = {"lengths": torch.tensor([19, 0, 7]), "window": window}
    if option == "mask":
        options["mask"] = torch.rand(3, 19, generator=torch.Generator().manual_seed(2)) < 0.6
    kept = compare("additive", arguments, **options)
    monkeypatch.setattr(operation, "keeps_scores", lambda problem: False)
    again = compare("additive", arguments, **options)
    for a, b in zip(again, kept, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_what_is_kept_for_the_backward_pass():
    """Inputs, two numbers a query, and scores where they are small beside the inputs."""
    for size, count in ((24, 2 + 19), (2, 2)):
        arguments = make("additive", 3, 7, 19, size, size)
        tensors = {k: v.to(DEVICE, torch.float32).requires_grad_() for k, v in arguments.items()}
        inputs = {t.untyped_storage().data_ptr() for t in tensors.values()}
        kept = {}

        def pack(tensor, inputs=inputs, kept=kept):
            if tensor.untyped_storage().data_ptr() not in inputs:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with use_backend("triton"), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            additive_attention(**tensors)
        assert sum(kept.values()) == 4 * 3 * 7 * count


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_are_written_only_on_request(form):
    compare(form, make(form, 2, 3, 7, 10, 6), weights=False, lengths=torch.tensor([7, 2]))


@pytest.mark.parametrize("form", FORMS)
def test_half_precision(form):
    """bfloat16 products are wrong in the interpreter; float16 stands for both there."""
    arguments = make(form, 2, 5, 19, 10, 6, scale=0.5)
    compare(form, arguments, torch.float16, 8, lengths=torch.tensor([19, 7]))


def test_half_precision_scores_do_not_overflow():
    """Scores beyond 65504, on every backend."""
    arguments = make("dot", 1, 2, 5, 8, 3)
    arguments["query"] *= 300
    arguments["keys"] *= 300
    half = {k: v.half() for k, v in arguments.items()}
    exact = run("dot", "reference", {k: v.double() for k, v in half.items()}, torch.float64)
    assert (half["query"].double() @ half["keys"].double().mT).abs().max() > 65504
    for backend in ("reference", "torch", "triton"):
        context, weights, *_ = run("dot", backend, half, torch.float16)
        torch.testing.assert_close(weights, exact[1], rtol=0, atol=2e-3)
        torch.testing.assert_close(context, exact[0], rtol=0, atol=5e-3)


@pytest.mark.parametrize("scale", [3.0, 12.0, 100.0])
def test_queries_and_keys_of_any_size(scale):
    """Where the factors of exp(2q) exp(2k) overflow, a tile takes the direct formula; tiles of both
    kinds meet in one softmax."""
    arguments = make("additive", 2, 5, 40, 12, 3)
    arguments["keys"][:, 20:] *= scale
    arguments["query"][1] *= scale
    arguments["weight"] *= 0.1
    compare("additive", arguments)


def test_factors_that_vanish():
    """q = -60 makes exp(2q) zero in float32; with k = 60 the sum is as plain as any."""
    arguments = make("additive", 1, 5, 19, 12, 3)
    arguments["query"] -= 60.0
    arguments["keys"] += 60.0
    arguments["query"], arguments["keys"] = (
        arguments[k].float().double() for k in ("query", "keys")
    )
    compare("additive", arguments)


@pytest.mark.parametrize("form", FORMS)
def test_padding_may_hold_anything(form):
    lengths, mask = torch.tensor([19, 7]), torch.ones(2, 19, dtype=torch.bool)
    mask[0, 4:6] = False
    clean = make(form, 2, 3, 19, 10, 6, covered=form == "additive")
    dirty = {k: v.clone() for k, v in clean.items()}
    for name, junk in (("keys", float("nan")), ("values", float("inf"))):
        dirty[name][1, 7:] = junk
        dirty[name][0, 4:6] = junk
    if form == "additive":
        dirty["coverage"][1, :, 7:] = float("nan")
        dirty["coverage"][0, :, 4:6] = float("nan")
    for backend, dtype in (("torch", torch.float64), ("triton", torch.float32)):
        first, second = (
            run(form, backend, found, dtype, lengths=lengths, mask=mask) for found in (clean, dirty)
        )
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    form=st.sampled_from(FORMS),
    batch=st.integers(1, 3),
    steps=st.integers(0, 6),
    source=st.integers(0, 20),
    heads=st.integers(1, 2),
    size=st.integers(1, 9),
    width=st.integers(1, 5),
    window=st.sampled_from([0.0, 2.0]),
    data=st.data(),
)
def test_any_shape(form, batch, steps, source, heads, size, width, window, data):
    options = {"heads": heads, "window": window}
    if data.draw(st.booleans()):
        lengths = st.lists(st.integers(0, source), min_size=batch, max_size=batch)
        options["lengths"] = torch.tensor(data.draw(lengths))
    arguments = make(form, batch, steps, source, heads * size, heads * width, window=window)
    compare(form, arguments, factor=128, **options)


@pytest.mark.parametrize("form", FORMS)
def test_the_rule_alone(form):
    arguments = make(form, 2, 3, 7, 10, 6)
    truth = run(form, "reference", arguments, torch.float64)
    found = run(form, "triton", arguments, torch.float32)
    for a, b in zip(found, truth, strict=True):
        assert (a - b).norm() <= 64 * torch.finfo(torch.float32).eps * b.norm().clamp_min(1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_non_contiguous_arguments(form):
    arguments = make(form, 3, 4, 5, 6, 2)
    straight = run(form, "triton", arguments, torch.float32)
    names = ("query", "keys", "values")
    tensors = {k: v.float().to(DEVICE) for k, v in arguments.items()}
    for name in names:
        tensors[name] = tensors[name].mT.contiguous().mT
    function = additive_attention if form == "additive" else dot_attention
    with use_backend("triton"):
        context, weights = function(**tensors, return_weights=True)
    assert torch.equal(context.double().cpu(), straight[0])
    assert torch.equal(weights.double().cpu(), straight[1])


@pytest.mark.parametrize("form", FORMS)
def test_two_runs_are_bit_identical(form):
    arguments = make(form, 2, 9, 19, 10, 6)
    with use_tiles(TILES):
        first, second = (run(form, "triton", arguments, torch.float32) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_chunks_of_queries_add_up(form, monkeypatch):
    """Where S is much larger than H, the backward pass takes few queries at once."""
    monkeypatch.setattr(launch, "chunk", lambda problem: 3)
    arguments = make(form, 2, 8, 19, 6, 3, window=4.0, covered=form == "additive")
    compare(form, arguments, window=4.0, lengths=torch.tensor([19, 11]))


def test_chunks_hold_no_more_than_the_arguments():
    for steps, sources in ((50, 50), (1000, 4000), (4000, 1000), (5, 3000)):
        problem = Problem(8, steps, sources, 2, 64, 32, 4, True)
        rows = min(launch.chunk(problem), steps)
        arguments = 2 * (steps + sources) * 64
        assert rows <= 16 or 2 * 2 * rows * sources <= arguments


def test_a_gradient_of_the_weights_alone():
    arguments = make("additive", 2, 3, 7, 10, 6)
    grads = []
    for backend, dtype in (("reference", torch.float64), ("triton", torch.float32)):
        tensors = {k: v.to(DEVICE, dtype).requires_grad_() for k, v in arguments.items()}
        with use_backend(backend):
            _, weights = additive_attention(**tensors, return_weights=True)
        grads.append(torch.autograd.grad(weights.square().sum(), [tensors["query"]])[0].double())
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-6)


def test_concat_and_second_derivatives_reach_the_operator():
    generator = torch.Generator().manual_seed(3)
    shapes = [(2, 3, 4), (2, 5, 6), (2, 5, 7), (8, 10), (8,)]
    tensors = [torch.randn(s, generator=generator).to(DEVICE).requires_grad_() for s in shapes]
    results = []
    for backend in ("reference", "triton"):
        with use_backend(backend):
            context = concat_attention(*tensors)
            (first,) = torch.autograd.grad(context.sin().sum(), tensors[0], create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), tensors[3])
        results.append((context, first, second))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_memory_is_linear_in_the_steps(form, monkeypatch):
    batch, steps, source, size = 2, 24, 40, 64
    arguments = make(form, batch, steps, source, size, size)
    tensors = {k: v.to(DEVICE, torch.float32).requires_grad_() for k, v in arguments.items()}
    function = additive_attention if form == "additive" else dot_attention
    with use_backend("triton"), Allocations(monkeypatch, launch) as seen:
        function(**tensors).sum().backward()
    linear = 4 * batch * (steps + source) * size  # bytes
    assert linear / 4 < seen.largest <= linear
    # Context, gradients, the chunk's scores and their gradients, copies made by the interpreter.
    assert seen.peak <= 8 * linear < 4 * batch * steps * source * size


@pytest.mark.parametrize("form", FORMS)
def test_the_operator_keeps_its_contract(form):
    """Schema, fake version, autograd formula and tracing, as torch.library checks them."""
    for backend, dtype in (("torch", torch.float64), ("triton", torch.float32)):
        made = make(form, 2, 3, 7, 4, 6, window=2.0, covered=form == "additive")
        names = ("query", "keys", "values", "weight", "bias", "coverage", "coverage_weight")
        tensors = [
            made[name].to(DEVICE, dtype).requires_grad_() if name in made else None
            for name in (*names, "centre")
        ]
        lengths = torch.tensor([7, 2])
        rest = (lengths, None, 1.0, 2.0, 2, backend, dtype, dtype, dtype, "", True, True)
        torch.library.opcheck(torch.ops.kernels.attention.default, (*tensors, *rest))


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_compiled_without_a_graph_break(backend):
    arguments = {k: v.float().to(DEVICE) for k, v in make("additive", 2, 3, 7, 4, 6).items()}
    lengths = torch.tensor([7, 2])

    def call(query):
        context, weights = additive_attention(
            **{**arguments, "query": query}, lengths=lengths, return_weights=True, heads=2
        )
        return context.sum() + weights.square().sum()

    results = []
    with use_backend(backend):
        compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
        for function in (call, compiled):
            query = arguments["query"].clone().requires_grad_()
            total = function(query)
            total.backward()
            results.append((total, query.grad))
    for plain, traced in zip(*results, strict=True):
        assert torch.equal(plain, traced)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_compiled_once_for_many_lengths(backend):
    """But for where the scores of the forward pass are too large to be kept: the last."""
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def call(*tensors):
        return additive_attention(*tensors).square().sum()

    with use_backend(backend):
        torch._dynamo.reset()
        compiled = torch.compile(call, fullgraph=True, dynamic=True, backend=count)
        for sizes, expected in (((2, 3, 5), 1), ((3, 4, 7), 1), ((2, 20, 24), 2)):
            made = make("additive", *sizes, 8, 8)
            names = ("query", "keys", "values", "weight")
            tensors = [made[name].float().to(DEVICE).requires_grad_() for name in names]
            grads = [torch.autograd.grad(f(*tensors), tensors) for f in (call, compiled)]
            assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
            assert len(graphs) == (1 if backend == "torch" else expected)


def test_lengths_need_not_be_contiguous():
    """The operator converts other integers than the kernel's, which lays them out anew."""
    arguments = make("dot", 3, 4, 5, 8, 6)
    lengths = torch.tensor([5, 2, 2, 5, 0, 1], dtype=torch.int32)
    compare("dot", arguments, lengths=lengths[::2])
    compare("dot", arguments, lengths=lengths[1:2].expand(3))


@pytest.mark.parametrize("form", FORMS)
def test_values_without_columns_have_weights(form):
    compare(form, make(form, 2, 3, 5, 8, 0), lengths=torch.tensor([5, 3]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("window", [1e10, 1e30])
def test_a_window_wider_than_any_source(form, window):
    compare(form, make(form, 2, 3, 7, 6, 4, window=True), window=window)
