"""Attention: the reference by its definition, the torch backend against it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import additive_attention, concat_attention, dot_attention, use_backend
from kernels.attention import torch_backend
from tests.kernels.allocations import Allocations


def make(batch, steps, source, size, width, *, bias=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, steps, size), (batch, source, size), (batch, source, width), (size,)]
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator)
        for shape in shapes + ([(size,)] if bias else [])
    ]


def run(function, backend, tensors, dtype=torch.float64, **options):
    """Context, weights and gradients of a fixed random function of both, in float64."""
    tensors = [t.detach().to(dtype, copy=True).requires_grad_() for t in tensors]
    with use_backend(backend):
        results = function(*tensors, **options, return_weights=True)
        generator = torch.Generator().manual_seed(1)
        total = sum(
            (r.double() * torch.randn(r.shape, dtype=torch.float64, generator=generator)).sum()
            for r in results
        )
        grads = torch.autograd.grad(total, tensors)
    return [t.double() for t in (*results, *grads)]


def assert_near(found, truth, bound):
    """Error of each tensor relative to the largest norm among the gradients or results."""
    for k, (a, b) in enumerate(zip(found, truth, strict=True)):
        assert a.shape == b.shape
        assert not a.isnan().any()
        scale = max(b.norm().item(), 1e-3)
        assert (a - b).norm().item() <= bound * scale, (k, (a - b).norm().item() / scale)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_additive_by_its_definition(backend):
    query, keys, values, weight, bias = make(2, 3, 4, 5, 6)
    lengths = [4, 2]
    with use_backend(backend):
        context, weights = additive_attention(
            query, keys, values, weight, bias, torch.tensor(lengths), return_weights=True
        )
    for b, length in enumerate(lengths):
        for t in range(3):
            scores = [
                sum(
                    weight[h] * math.tanh(query[b, t, h] + keys[b, s, h] + bias[h])
                    for h in range(5)
                )
                for s in range(length)
            ]
            expected = torch.tensor(scores, dtype=torch.float64).softmax(0)
            torch.testing.assert_close(weights[b, t, :length], expected)
            assert not weights[b, t, length:].any()
            torch.testing.assert_close(context[b, t], expected @ values[b, :length])


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("function", [additive_attention, dot_attention])
def test_derivatives(function, backend):
    tensors = make(2, 3, 3, 2, 2)
    tensors = tensors if function is additive_attention else tensors[:3]
    lengths = torch.tensor([3, 1])

    def call(*arguments):
        return function(*arguments, lengths=lengths, return_weights=True)

    inputs = [t.requires_grad_() for t in tensors]
    with use_backend(backend):
        assert torch.autograd.gradcheck(call, inputs)
        assert torch.autograd.gradgradcheck(call, inputs)


# Block sizes that cut the work by rows, by steps, unevenly, and not at all.
@pytest.mark.parametrize("block", [1, 60, 200, 1 << 18])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lengths", [None, [6, 0, 1, 3, 6]])
def test_torch_additive_equals_reference(monkeypatch, block, bias, lengths):
    monkeypatch.setattr(torch_backend, "_BLOCK", block)
    tensors = make(5, 7, 6, 5, 3, bias=bias)
    lengths = None if lengths is None else torch.tensor(lengths)
    truth = run(additive_attention, "reference", tensors, lengths=lengths)
    eps = torch.finfo(torch.float64).eps
    assert_near(run(additive_attention, "torch", tensors, lengths=lengths), truth, 1000 * eps)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 5),
    steps=st.integers(0, 6),
    source=st.integers(1, 6),
    size=st.integers(1, 9),
    width=st.integers(1, 5),
    additive=st.booleans(),
    data=st.data(),
)
def test_any_shape_in_float32(batch, steps, source, size, width, additive, data):
    lengths = data.draw(
        st.none()
        | st.lists(st.integers(0, source), min_size=batch, max_size=batch).map(torch.tensor)
    )
    tensors = make(batch, steps, source, size, width)[: 5 if additive else 3]
    function = additive_attention if additive else dot_attention
    truth = run(function, "reference", tensors, lengths=lengths)
    found = run(function, "torch", tensors, torch.float32, lengths=lengths)
    # Cancelling sums can be far smaller than their terms: compare with the whole.
    bound = 100 * torch.finfo(torch.float32).eps
    scale = max(t.norm().item() for t in truth)
    for a, b in zip(found, truth, strict=True):
        assert (a - b).norm().item() <= bound * max(scale, 1e-3)


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("function", [additive_attention, dot_attention])
def test_empty_sources_give_zero_and_no_nan(function, backend):
    tensors = make(3, 2, 4, 5, 6)[: 5 if function is additive_attention else 3]
    lengths = torch.tensor([0, 4, 0])
    context, weights, *grads = run(function, backend, tensors, lengths=lengths)
    for tensor in (context, weights, *grads[:3]):
        assert not tensor[0].any() and not tensor[2].any()
        assert tensor[1].any()
    assert not any(tensor.isnan().any() for tensor in grads)


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("function", [additive_attention, dot_attention])
def test_padding_may_hold_anything(function, backend):
    tensors = make(2, 3, 4, 5, 6)[: 5 if function is additive_attention else 3]
    lengths = torch.tensor([4, 2])
    clean = run(function, backend, tensors, lengths=lengths)
    dirty = [t.clone() for t in tensors]
    dirty[1][1, 2:] = float("nan")
    dirty[2][1, 2:] = float("inf")
    for a, b in zip(run(function, backend, dirty, lengths=lengths), clean, strict=True):
        assert torch.equal(a, b)


def test_no_source_positions():
    tensors = make(2, 3, 0, 5, 6)
    for backend in ("reference", "torch"):
        context, *_ = run(additive_attention, backend, tensors)
        assert torch.equal(context, torch.zeros(2, 3, 6, dtype=torch.float64))


def test_non_contiguous_arguments():
    tensors = make(3, 4, 5, 6, 2)
    truth = run(additive_attention, "torch", tensors)
    strided = [t.mT.contiguous().mT if t.dim() == 3 else t for t in tensors]
    strided[3] = tensors[3].repeat_interleave(2)[::2]
    bound = 1000 * torch.finfo(torch.float64).eps
    assert_near(run(additive_attention, "torch", strided), truth, bound)


@pytest.mark.parametrize("wanted", range(5))
def test_one_gradient_at_a_time(wanted):
    grads = []
    for backend in ("torch", "reference"):
        tensors = make(2, 3, 4, 5, 6)
        tensors[wanted].requires_grad_()
        with use_backend(backend):
            additive_attention(*tensors).square().sum().backward()
        assert all(t.grad is None for k, t in enumerate(tensors) if k != wanted)
        grads.append(tensors[wanted].grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("function", [additive_attention, dot_attention])
def test_bfloat16_autocast_stays_near_float64(function):
    tensors = make(4, 6, 7, 32, 16)[: 5 if function is additive_attention else 3]
    options = {"lengths": torch.tensor([7, 3, 1, 5])}
    if function is dot_attention:
        options["scale"] = 32**-0.5
    truth = run(function, "reference", tensors, **options)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(function, "torch", tensors, torch.float32, **options)
        assert function(*(t.float() for t in tensors), **options).dtype == torch.float32
    assert_near(found, truth, 4 * torch.finfo(torch.bfloat16).eps)


def test_concat_is_additive_over_the_joined_vector():
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    query, keys, values = random(2, 3, 4), random(2, 5, 6), random(2, 5, 7)
    projection, weight, bias = random(8, 10), random(8), random(8)
    joined = torch.cat(
        [query[:, :, None].expand(-1, -1, 5, -1), keys[:, None].expand(-1, 3, -1, -1)], -1
    )  # (B, T, S, Q+K)
    scores = (joined @ projection.t() + bias).tanh() @ weight
    found = concat_attention(query, keys, values, projection, weight, bias)
    torch.testing.assert_close(found, scores.softmax(-1) @ values)


def test_scaled_dot_is_that_of_torch():
    query, keys, values = make(3, 4, 5, 6, 7)[:3]
    expected = torch.nn.functional.scaled_dot_product_attention(query, keys, values)
    torch.testing.assert_close(dot_attention(query, keys, values, scale=6**-0.5), expected)


def test_additive_memory_is_linear_in_the_steps(monkeypatch):
    batch, steps, source, size = 2, 96, 80, 64
    tensors = [t.float().requires_grad_() for t in make(batch, steps, source, size, size)]
    with use_backend("reference"), Allocations() as whole:
        additive_attention(*tensors).sum().backward()
    with use_backend("torch"), Allocations(monkeypatch, torch_backend) as blocks:
        additive_attention(*tensors).sum().backward()
    large = 4 * batch * steps * source * size  # bytes
    assert whole.largest >= large  # the measure sees it
    # Nothing beyond the inputs' size but one block, which does not grow with B, T or S.
    linear, block = 4 * batch * (steps + source) * size, 4 * torch_backend._BLOCK
    assert linear / 4 < blocks.largest <= max(linear, block)
    assert blocks.peak <= 6 * linear + 2 * block < large


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(2, 5)}, "query: found 2 dimensions"),
        ({"keys": torch.zeros(2, 4, 6)}, r"keys: .*expected \(2, S, 5\)"),
        ({"values": torch.zeros(2, 3, 6)}, r"values: .*expected \(2, 4, D\)"),
        ({"weight": torch.zeros(4)}, r"weight: .*expected \(5,\)"),
        ({"bias": torch.zeros(5, dtype=torch.float64)}, "bias: found dtype torch.float64"),
        ({"values": torch.zeros(2, 4, 6, device="meta")}, "values: found on meta"),
        ({"lengths": torch.tensor([1, 5])}, "lengths: found values from 1 to 5"),
        ({"mask": torch.ones(2, 4)}, r"mask: .*expected torch.bool \(2, 4\)"),
        ({"heads": 2}, "heads: found 2; expected a divisor of H = 5 and D = 6"),
        ({"temperature": 0.0}, "temperature: found 0.0"),
        ({"coverage": torch.zeros(2, 3, 4)}, "coverage: found a tensor; .*coverage_weight"),
        ({"centre": torch.zeros(2, 3)}, "window: found 0.0, centre given"),
        ({"window": 2.0}, "window: found 2.0, centre None"),
        ({"centre": torch.zeros(2, 4), "window": 1.0}, r"centre: .*expected \(2, 3\)"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    names = ("query", "keys", "values", "weight", "bias")
    tensors = {n: t.float() for n, t in zip(names, make(2, 3, 4, 5, 6), strict=True)}
    with pytest.raises(ValueError, match=message):
        additive_attention(**{**tensors, **change})


def test_wrong_projection_is_named():
    query, keys, values = make(2, 3, 4, 5, 6)[:3]
    with pytest.raises(ValueError, match=r"projection: .*Q\+K = 10"):
        concat_attention(query, keys, values, torch.zeros(3, 9), torch.zeros(3))
    with pytest.raises(ValueError, match=r"projection: found dtype torch\.float32"):
        concat_attention(query, keys, values, torch.zeros(3, 10), torch.zeros(3))
    with pytest.raises(ValueError, match=r"keys: found on meta"):
        concat_attention(query, keys.to("meta"), values, torch.zeros(3, 10), torch.zeros(3))


def test_the_names_are_public():
    assert {"additive_attention", "concat_attention", "dot_attention"} <= set(kernels.__all__)


def test_second_derivatives_where_arguments_are_made_from_each_other():
    """Each path counts once: keys are made from x, the query from the keys."""
    torch.manual_seed(0)
    x = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, dtype=torch.float64)
    second = []
    for backend in ("reference", "torch"):
        with use_backend(backend):
            keys = torch.tanh(x) * 2
            query = keys * keys + x
            context = additive_attention(query, keys, query * keys, weight)
            context = dot_attention(context, keys, context)
            (first,) = torch.autograd.grad(context.square().sum(), x, create_graph=True)
            second.append(torch.autograd.grad(first.sin().sum(), x)[0])
    torch.testing.assert_close(second[1], second[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("function", [additive_attention, dot_attention])
@pytest.mark.parametrize("wanted", range(3))
def test_second_derivatives_of_one_argument(function, wanted):
    """The attention weights, which are in the sum, too, do not depend on the values."""
    tensors = make(2, 3, 4, 5, 6)
    tensors = tensors if function is additive_attention else tensors[:3]
    tensors[wanted].requires_grad_()
    second = []
    for backend in ("reference", "torch"):
        with use_backend(backend):
            context, weights = function(*tensors, return_weights=True)
        total = context.pow(3).sum() + weights.pow(3).sum()
        (first,) = torch.autograd.grad(total, tensors[wanted], create_graph=True)
        second.append(torch.autograd.grad(first.sin().sum(), tensors[wanted])[0])
    torch.testing.assert_close(second[1], second[0])


def test_second_derivatives_after_autocast_are_not_rounded():
    """Nor do scaled gradients overflow: results were float32, and so is what arrives at them."""
    tensors = [t.float() for t in make(2, 3, 4, 5, 6)]
    tensors[0] = tensors[0].half()
    tensors[3].requires_grad_()
    with use_backend("torch"), torch.autocast("cpu", torch.float16):
        context = additive_attention(*tensors)
    total = context.sum() * 1e6
    (once,) = torch.autograd.grad(total, tensors[3], retain_graph=True)
    (twice,) = torch.autograd.grad(total, tensors[3], create_graph=True)
    torch.testing.assert_close(twice, once, rtol=1e-4, atol=1)


@pytest.mark.parametrize("hidden", ["lengths", "mask"])
def test_what_concat_leaves_out_may_hold_anything(hidden):
    torch.manual_seed(0)
    query, keys, values = torch.randn(2, 2, 3), torch.randn(2, 4, 3), torch.randn(2, 4, 5)
    projection = torch.randn(6, 6, requires_grad=True)
    weight = torch.randn(6)
    there = {"lengths": torch.tensor([3, 0])}
    if hidden == "mask":
        there = {"mask": torch.arange(4) < torch.tensor([[3], [0]])}
    found = []
    for filler in (0.0, float("nan")):
        for tensor in (keys, values):
            tensor[0, 3], tensor[1] = filler, filler
        context = kernels.concat_attention(query, keys, values, projection, weight, **there)
        (gradient,) = torch.autograd.grad(context.square().sum(), projection)
        found.append((context, gradient))
    torch.testing.assert_close(*found)
