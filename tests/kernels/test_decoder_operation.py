"""The attention decoder as a registered operator: torch.compile and what it relies on."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from kernels import decoder, use_backend
from kernels.common.precision import precision
from kernels.decoder import (
    DecoderState,
    DecoderWeights,
    LayerWeights,
    Memory,
    attention_decoder,
    operation,
)
from kernels.decoder.call import Call, differentiable
from tests.kernels.recurrences import relative
from tests.kernels.test_decoder import make

KINDS = (("lstm", "additive"), ("gru", "general"), ("tanh", "none"))


def arguments(monkeypatch, kind, score, backend, dtype, **options):
    """What the operator is called with, caught at the door."""
    caught = []

    class Door:
        @staticmethod
        def attention_decoder(*flat):
            caught.extend(flat)
            raise InterruptedError

    leaves, call = make(kind, score, **options)
    leaves = {name: leaf.to(dtype).requires_grad_() for name, leaf in leaves.items()}
    with monkeypatch.context() as patch:
        patch.setattr(operation.torch.ops, "kernels", Door, raising=False)
        with pytest.raises(InterruptedError):
            call(leaves, backend)
    return caught


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize(("kind", "score"), KINDS)
@pytest.mark.parametrize("full", [False, True])
def test_the_operator_keeps_its_contract(monkeypatch, kind, score, backend, full):
    """Schema, fake version, autograd formula and tracing, as torch.library checks them."""
    dtype = torch.float64 if backend == "torch" else torch.float32
    options = {"layers": 2, "norm": True, "dropout": "plain"} if full else {}
    if full and score != "none":
        options |= {"gate": "scalar", "sentinel": True, "norm": {1}}
    # as many numbers as the contract needs, each size another: it runs the operator a dozen times
    sizes = (3, 2, 3, 4, 5, 6, 7)
    flat = arguments(monkeypatch, kind, score, backend, dtype, sizes=sizes, **options)
    assert len(flat) == operation.CALL + 1
    torch.library.opcheck(torch.ops.kernels.attention_decoder.default, tuple(flat))


def test_places_say_what_has_gradients(monkeypatch):
    flat = arguments(monkeypatch, "lstm", "additive", "torch", torch.float32, dropout="plain")
    tensors, places, layers = flat[:3]
    last = differentiable(layers)
    for tensor, place in zip(tensors, places, strict=True):
        assert tensor.requires_grad == (place < last)


def plain(kind, layers=1):
    """A function of leaves and lengths that torch.compile can take."""

    def run(leaves, lengths):
        names = ("ih", "hh", "bi", "bh")
        stack = tuple(LayerWeights(*(leaves[f"{k}{n}"] for k in names)) for n in range(layers))
        weights = DecoderWeights(
            stack, leaves["output"], leaves.get("query"), leaves.get("score")
        )  # fmt: skip
        state = DecoderState(leaves["hidden"], leaves.get("cell"), leaves["feed"])
        memory = Memory(leaves["keys"], leaves["values"], lengths) if "keys" in leaves else None
        return attention_decoder(leaves["inputs"], weights, state, memory, kind=kind, scale=0.7)

    return run


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize(("kind", "score"), KINDS)
def test_compiled_without_a_graph_break(backend, kind, score):
    leaves, _ = make(kind, score, layers=2)
    torch._dynamo.reset()
    run, results = plain(kind, 2), []
    lengths = torch.tensor([5, 0, 1])
    for function in (run, torch.compile(run, fullgraph=True, backend="aot_eager")):
        own = {name: leaf.float().requires_grad_() for name, leaf in leaves.items()}
        with use_backend(backend):
            vectors, state, alpha = function(own, lengths)
        loss = vectors.square().sum() + state.hidden.sum()
        if alpha is not None:
            loss = loss + alpha.square().sum()
        results.append((vectors, *torch.autograd.grad(loss, list(own.values()))))
    for eager, traced in zip(*results, strict=True):
        assert torch.equal(eager, traced)


def test_compiled_under_autocast():
    leaves, _ = make("lstm", "additive")
    leaves = {name: leaf.float() for name, leaf in leaves.items()}
    torch._dynamo.reset()
    run, lengths = plain("lstm"), torch.tensor([5, 0, 1])
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run(leaves, lengths)[0], compiled(leaves, lengths)[0])


def test_one_compilation_serves_every_batch_and_length():
    torch._dynamo.reset()
    run = plain("gru")
    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for batch, steps, source in ((3, 4, 5), (5, 7, 6), (4, 3, 8)):
            leaves, _ = make("gru", "additive", sizes=(batch, steps, source, 6, 7, 8, 9))
            leaves = {name: leaf.float() for name, leaf in leaves.items()}
            lengths = torch.tensor([source, 0, 1] + [source - 1] * (batch - 3))
            assert torch.equal(compiled(leaves, lengths)[0], run(leaves, lengths)[0])


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_second_derivatives(backend):
    """Gradients of a gradient's norm, against autograd through the reference."""
    found = {}
    for name in ("reference", backend):
        leaves, call = make("lstm", "additive", sizes=(3, 2, 3, 4, 4, 4, 4))
        own = {k: v.float().requires_grad_() for k, v in leaves.items()}
        vectors = call(own, name)[0]
        first = torch.autograd.grad(vectors.square().sum(), list(own.values()), create_graph=True)
        norm = sum(gradient.square().sum() for gradient in first)
        found[name] = torch.autograd.grad(norm, list(own.values()), allow_unused=True)
    for one, other in zip(found["reference"], found[backend], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_second_derivatives_of_one_weight():
    """What attention finds in the source has nothing of the output's weight."""
    found = {}
    for name in ("reference", "torch"):
        leaves, call = make("lstm", "additive", feeding=False, sentinel=True)
        output = leaves["output"].requires_grad_()
        vectors, _, attention = call(leaves, name)
        total = vectors.pow(3).sum() + attention.pow(3).sum()
        (first,) = torch.autograd.grad(total, output, create_graph=True)
        (found[name],) = torch.autograd.grad(first.sin().sum(), output)
    torch.testing.assert_close(found["torch"], found["reference"])


@pytest.mark.parametrize("narrow", ["inputs", "keys", "output"])
def test_second_derivatives_of_what_autocast_mixed(narrow):
    leaves, call = make("lstm", "additive", sizes=(3, 2, 3, 4, 4, 4, 4))
    leaves = {k: v.float() for k, v in leaves.items()}
    leaves[narrow] = leaves[narrow].bfloat16()
    leaves = {k: v.requires_grad_() for k, v in leaves.items()}
    with torch.autocast("cpu", torch.bfloat16):
        vectors = call(leaves, "torch")[0]
    own = list(leaves.values())
    once = torch.autograd.grad(vectors.sum(), own, retain_graph=True)
    twice = torch.autograd.grad(vectors.sum(), own, create_graph=True)
    for leaf, one, other in zip(own, once, twice, strict=True):
        assert one.dtype == other.dtype == leaf.dtype
        assert relative(one.double(), other.double()) <= 8 * torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize(("kind", "score"), KINDS)
def test_without_feeding_the_loop_gives_what_the_recurrence_gives(
    monkeypatch, kind, score, backend
):
    """kernels.attention_decoder then runs no loop; the operator still can."""
    leaves, call = make(kind, score, layers=2, feeding=False, dropout="plain", norm=True)
    dtype = torch.float64 if backend == "torch" else torch.float32
    results = []
    for loop in (False, True):
        own = {name: leaf.to(dtype).requires_grad_() for name, leaf in leaves.items()}
        with monkeypatch.context() as patch:
            if loop:
                patch.setattr(
                    decoder.without_input_feeding, "attention_decoder", partial(as_loop, backend)
                )
            vectors, state, _ = call(own, backend, residual=True)
        loss = vectors.square().sum() + state.hidden.square().sum()
        results.append((vectors, *torch.autograd.grad(loss, list(own.values()))))
    near = 1e-11 if backend == "torch" else 2e-5
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=near, atol=near)


def as_loop(backend, inputs, weights, state, memory, kind, scale, residual, masks):
    found = precision(inputs)
    made = Call(inputs, weights, state, memory, masks, kind, scale, residual, found)
    return operation.attention_decoder(made, backend)


@pytest.mark.parametrize("create_graph", [False, True])
def test_masks_are_constants(create_graph):
    leaves, _ = make("lstm", "none")
    leaves["hh0"].requires_grad_()
    weights = DecoderWeights(
        (LayerWeights(*(leaves[name] for name in ("ih0", "hh0", "bi0", "bh0"))),), leaves["output"]
    )
    state = DecoderState(leaves["hidden"], leaves["cell"], leaves["feed"])
    mask = torch.ones(1, 3, 9, dtype=torch.float64, requires_grad=True)
    masks = decoder.DropoutMasks((), mask)
    vectors, *_ = attention_decoder(leaves["inputs"], weights, state, masks=masks)
    found, learned = torch.autograd.grad(
        vectors.sum(), [mask, leaves["hh0"]], create_graph=create_graph, allow_unused=True
    )
    assert found is None and learned is not None


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("sizes", [(2, 3, 3, 4, 1, 4, 4), (2, 0, 3, 4, 5, 4, 4)])
def test_no_two_gradients_share_memory(backend, sizes):
    """One unit, whose weights' gradients are halves of one; no steps, where that of the feed is
    what arrived."""
    leaves, call = make("tanh", "additive", sizes=sizes)
    own = {name: leaf.float().requires_grad_() for name, leaf in leaves.items()}
    _, state, _ = call(own, backend)
    arriving = torch.ones_like(state.feed)
    loss = (state.feed, state.hidden)
    grads = torch.autograd.grad(loss, list(own.values()), (arriving, torch.ones_like(state.hidden)))
    places = [g.untyped_storage().data_ptr() for g in (*grads, arriving) if g.numel()]
    assert len(set(places)) == len(places)
