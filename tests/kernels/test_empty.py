"""Batches, sequences and sources of no or one element, with every option: forward and backward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import use_backend
from kernels.decoder import DecoderState, DecoderWeights, DropoutMasks, LayerWeights, Memory
from kernels.decoder.sentinel import Sentinel
from tests.kernels import recurrences
from tests.kernels.recurrences import GATES

few, one = st.integers(0, 2), st.integers(1, 2)
flag = st.booleans()
budget = settings(max_examples=100, deadline=None, derandomize=True)


def run(backend, function, leaves, dtype=torch.float64):
    """Results and the gradients of everything, none of which may be missing."""
    own = [leaf.to(dtype, copy=True).requires_grad_() for leaf in leaves]
    with use_backend(backend):
        results = [result for result in function(*own) if result is not None]
        assert all(result.requires_grad for result in results)
        generator = torch.Generator().manual_seed(1)
        arriving = [torch.randn(r.shape, dtype=r.dtype, generator=generator) for r in results]
        grads = torch.autograd.grad(results, own, arriving)
    return [tensor.double() for tensor in (*results, *grads)]


def compare(function, leaves, backend="torch"):
    dtype = torch.float32 if backend == "triton" else torch.float64
    near = 1e-4 if backend == "triton" else 1e-9
    truth = run("reference", function, leaves, dtype)
    for found, expected in zip(run(backend, function, leaves, dtype), truth, strict=True):
        torch.testing.assert_close(found, expected, rtol=near, atol=near)


@st.composite
def recurrence_calls(draw):
    kind, directions = draw(st.sampled_from(sorted(GATES))), draw(st.sampled_from([0, 2]))
    batch, steps, features, size = draw(few), draw(few), draw(one), draw(one)
    projected = draw(st.integers(0, size - 1)) if kind == "lstm" else 0
    made = recurrences.make(
        kind, batch, steps, features, size, bias=draw(flag), state=draw(flag),
        directions=directions, norm=draw(flag), projected=projected,
    )  # fmt: skip
    named = {"kind": kind, "recompute": draw(flag)}
    if draw(flag):
        lead = (directions,) if directions else ()
        made["hidden_mask"] = torch.full(
            (*lead, batch, projected or size), 1.5, dtype=torch.float64
        )
    masks = recurrences.options_of(kind, batch, steps, size, directions, projected)
    named |= {name: mask for name, mask in masks.items() if draw(flag)}
    if draw(flag):
        named["zoneout"] = (0.2, 0.1)
    if not directions:
        named["reverse"] = draw(flag)
    if draw(flag):
        lengths = st.lists(st.integers(0, steps), min_size=batch, max_size=batch)
        named["lengths"] = torch.tensor(draw(lengths), dtype=torch.int64)

    def function(*leaves):
        return recurrences.call(dict(zip(made, leaves, strict=True)), **named)

    return function, list(made.values())


@st.composite
def attention_calls(draw):
    name = draw(st.sampled_from(["additive", "dot", "concat"]))
    batch, steps, source, heads = draw(few), draw(few), draw(few), draw(one)
    size, width = heads * draw(one), heads * draw(one)

    def new(*shape):
        return torch.linspace(-1, 1, torch.Size(shape).numel(), dtype=torch.float64).view(shape)

    made = {
        "query": new(batch, steps, size),
        "keys": new(batch, source, size) + 0.1,
        "values": new(batch, source, width),
    }
    if name == "concat":
        made["projection"] = new(size, 2 * size)
    if name != "dot":
        made["weight"] = new(size) + 0.3
        if draw(flag):
            made["bias"] = new(size)
        if draw(flag):
            made |= {"coverage": new(batch, steps, source), "coverage_weight": new(size)}
    named = {"heads": heads, "return_weights": True}
    if draw(flag):
        made["centre"] = new(batch, steps) + 0.5
        named["window"] = 1.5
    if draw(flag):
        lengths = st.lists(st.integers(0, source), min_size=batch, max_size=batch)
        named["lengths"] = torch.tensor(draw(lengths), dtype=torch.int64)
    if draw(flag):
        named["mask"] = torch.arange(batch * source).view(batch, source) % 3 > 0
    public = getattr(kernels, f"{name}_attention")

    def function(*leaves):
        return public(**dict(zip(made, leaves, strict=True)), **named)

    return function, list(made.values())


@st.composite
def decoder_calls(draw):
    kind = draw(st.sampled_from(sorted(GATES)))
    score = draw(st.sampled_from(["additive", "general", "none"]))
    batch, steps, source = draw(few), draw(few), draw(few)
    inside, size, width, layers = draw(one), draw(one), draw(one), draw(one)
    gates, feeding = GATES[kind] * size, draw(flag)

    def new(*shape):
        return torch.linspace(-1, 1, torch.Size(shape).numel(), dtype=torch.float64).view(shape)

    made = {"inputs": new(batch, steps, inside), "hidden": new(layers, batch, size)}
    if kind == "lstm":
        made["cell"] = new(layers, batch, size) / 2
    if feeding:
        made["feed"] = new(batch, width)
    norm = draw(flag)
    for n in range(layers):
        given = inside + (width if feeding else 0) if n == 0 else size
        made |= {f"ih{n}": new(gates, given), f"hh{n}": new(gates, size)}
        made |= {f"bi{n}": new(gates), f"bh{n}": new(gates) / 3}
        if norm:
            made |= {f"nw{n}": new(size) + 2, f"nb{n}": new(size)}
    sentinel = score != "none" and draw(flag)
    if score != "none":
        made |= {"keys": new(batch, source, size), "values": new(batch, source, size)}
        made["query"] = new(size, size)
        if draw(flag):
            rows = draw(st.sampled_from([1, size]))
            made |= {"gate": new(rows, size), "gate_bias": new(rows)}
    if score == "additive":
        made["score"] = new(size) + 0.3
    if sentinel:
        given = made[f"ih{layers - 1}"].shape[1]
        made |= {"weight_x": new(size, given), "weight_h": new(size, size)}
        made |= {"bias": new(size), "key": new(size, size)}
    made["output"] = new(width, size if score == "none" else 2 * size)
    lengths = None
    if draw(flag):
        numbers = st.lists(st.integers(0, source), min_size=batch, max_size=batch)
        lengths = torch.tensor(draw(numbers), dtype=torch.int64)
    rows = draw(st.sampled_from([0, 1, steps]))
    masks = None
    if rows:
        between = tuple(torch.full((rows, batch, size), 1.5) for _ in range(layers - 1))
        masks = DropoutMasks(between, torch.full((rows, batch, width), 0.5))

    def function(*leaves):
        by = dict(zip(made, leaves, strict=True))
        stack = tuple(
            LayerWeights(*(by.get(f"{k}{n}") for k in ("ih", "hh", "bi", "bh", "nw", "nb")))
            for n in range(layers)
        )
        own = Sentinel(*(by[name] for name in Sentinel._fields)) if sentinel else None
        names = ("output", "query", "score", "gate", "gate_bias")
        weights = DecoderWeights(stack, *(by.get(name) for name in names), own)
        state = DecoderState(by["hidden"], by.get("cell"), by.get("feed"))
        memory = None if score == "none" else Memory(by["keys"], by["values"], lengths)
        dropped = masks and DropoutMasks(
            tuple(mask.to(by["inputs"]) for mask in masks.between),
            masks.output.to(by["inputs"]),
        )
        vectors, state, alpha = kernels.attention_decoder(
            by["inputs"], weights, state, memory, kind=kind, masks=dropped
        )
        return (vectors, *state, alpha)

    return function, list(made.values())


@st.composite
def loss_calls(draw):
    rows, size, words = draw(few), draw(one), draw(one)
    targets = draw(st.lists(st.sampled_from([-100, *range(words)]), min_size=rows, max_size=rows))
    targets = torch.tensor(targets, dtype=torch.int64)
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    smoothing = draw(st.sampled_from([0.0, 0.1]))
    shapes = [(rows, size), (words, size)] + ([(words,)] if draw(flag) else [])
    leaves = [
        torch.linspace(-1, 1, torch.Size(shape).numel(), dtype=torch.float64).view(shape)
        for shape in shapes
    ]

    def function(hidden, weight, bias=None):
        return [
            kernels.linear_cross_entropy(
                hidden, weight, targets, bias, smoothing, reduction=reduction
            )
        ]

    return function, leaves


CALLS = {
    "recurrence": recurrence_calls(),
    "attention": attention_calls(),
    "decoder": decoder_calls(),
    "loss": loss_calls(),
}


@pytest.mark.parametrize("name", CALLS)
def test_empty_and_single(name):
    @budget
    @given(CALLS[name])
    def check(call):
        compare(*call)

    check()


@pytest.mark.parametrize("name", CALLS)
def test_empty_and_single_in_triton(name):
    @settings(max_examples=5, deadline=None, derandomize=True)
    @given(CALLS[name])
    def check(call):
        compare(*call, backend="triton")

    check()
