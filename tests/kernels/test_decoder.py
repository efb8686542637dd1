"""The attention decoder: the tape-free torch backend against the reference in float64."""

from __future__ import annotations

import itertools

import pytest
import torch

from kernels.backend import interpreted, use_backend
from kernels.decoder import (
    DecoderState,
    DecoderWeights,
    DropoutMasks,
    LayerWeights,
    Memory,
    Sentinel,
    attention_decoder,
    decoder_step,
    prepared_step,
    step_memory,
    step_weights,
    torch_backend,
)
from kernels.decoder.weights import gates_of
from tests.kernels.allocations import Allocations
from tests.kernels.tolerances import assert_near, plain_dtype

KINDS = ("lstm", "gru", "tanh", "relu")
SCORES = ("additive", "dot", "general", "none")


def make(
    kind, score, *, feeding=True, layers=1, norm=False, dropout=None, sizes=None, seed=0, gate=None,
    sentinel=False,
):  # fmt: skip
    """Random leaves, and a function that calls the operation on (converted) leaves."""
    batch, steps, source, embed, size, values, width = sizes or (3, 4, 5, 6, 7, 8, 9)
    generator = torch.Generator().manual_seed(seed)

    def new(*shape, scale=0.5):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale

    gates = gates_of(kind) * size
    if score == "dot" or sentinel:
        values = size
    leaves = {"inputs": new(batch, steps, embed), "hidden": new(layers, batch, size)}
    if kind == "lstm":
        leaves["cell"] = new(layers, batch, size)
    if feeding:
        leaves["feed"] = new(batch, width)
    for n in range(layers):
        inside = embed + (width if feeding else 0) if n == 0 else size
        leaves[f"ih{n}"], leaves[f"hh{n}"] = new(gates, inside), new(gates, size)
        leaves[f"bi{n}"], leaves[f"bh{n}"] = new(gates), new(gates)
        if norm is True or (norm and n in norm):  # all layers, or those named
            leaves[f"nw{n}"], leaves[f"nb{n}"] = new(size) + 1, new(size)
    key = {"additive": 6, "general": 4}.get(score, size)
    if score != "none":
        leaves["keys"], leaves["values"] = new(batch, source, key), new(batch, source, values)
    if score in ("additive", "general"):
        leaves["query"] = new(key, size)
    if score == "additive":
        leaves["score"] = new(key)
    if gate:
        rows = 1 if gate == "scalar" else values
        leaves["gate"], leaves["gate_bias"] = new(rows, size), new(rows)
    if sentinel:
        inside = size if layers > 1 else embed + (width if feeding else 0)
        leaves["sx"], leaves["sh"] = new(size, inside), new(size, size)
        leaves["sb"], leaves["sk"] = new(size), new(key, size)
    leaves["output"] = new(width, size if score == "none" else size + values)
    lengths = torch.tensor([source, 0, 1] + [source - 1] * (batch - 3))[:batch]
    masks = DropoutMasks()
    if dropout:
        first = steps if dropout == "plain" else 1

        def mask(width):
            return (torch.rand(first, batch, width, generator=generator) > 0.4).double() / 0.6

        masks = DropoutMasks(tuple(mask(size) for _ in range(layers - 1)), mask(width))

    def call(leaves, backend, residual=False):
        like = leaves["inputs"]
        names = ("ih", "hh", "bi", "bh", "nw", "nb")
        stack = [LayerWeights(*(leaves.get(f"{k}{n}") for k in names)) for n in range(layers)]
        weights = DecoderWeights(
            tuple(stack),
            *(leaves.get(name) for name in ("output", "query", "score", "gate", "gate_bias")),
            sentinel_of(leaves),
        )
        state = DecoderState(leaves["hidden"], leaves.get("cell"), leaves.get("feed"))
        memory = None
        if "keys" in leaves:
            memory = Memory(leaves["keys"], leaves["values"], lengths.to(like.device))
        cast = DropoutMasks(
            tuple(m.to(like) for m in masks.between),
            None if masks.output is None else masks.output.to(like),
        )
        with use_backend(backend):
            return attention_decoder(
                leaves["inputs"], weights, state, memory,
                kind=kind, scale=0.7, residual=residual, masks=cast,
            )  # fmt: skip

    return leaves, call


def sentinel_of(leaves):
    return Sentinel(*(leaves[k] for k in ("sx", "sh", "sb", "sk"))) if "sx" in leaves else None


def run(leaves, call, backend, dtype, **options):
    """Outputs and the gradient of every leaf, for a fixed random direction of the outputs."""
    leaves = {k: v.to(dtype).requires_grad_() for k, v in leaves.items()}
    vectors, state, attention = call(leaves, backend, **options)
    outputs = [vectors, *(tensor for tensor in state if tensor is not None)]
    outputs = outputs if attention is None else [*outputs, attention]
    generator = torch.Generator().manual_seed(9)
    loss = sum(
        (out * torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out)).sum()
        for out in outputs
    )
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return [o.detach().double() for o in outputs], dict(zip(leaves, grads, strict=True))


def assert_near_reference(leaves, call, dtype, found, grads, **options):
    """Results, and gradients by the names of the leaves, beside the reference in float64 and what
    it errs by itself."""

    def together(results, of_leaves):  # None: a leaf that is never read
        return results + [torch.zeros_like(t) if g is None else g for t, g in of_leaves]

    def beside(dtype):
        results, own = run(leaves, call, "reference", dtype, **options)
        return together(results, [(leaves[name], own[name]) for name in leaves])

    names = [f"result {k}" for k in range(len(found))] + list(leaves)
    assert_near(
        together(found, [(leaves[name], grads[name]) for name in leaves]),
        beside(torch.float64), beside(plain_dtype(dtype)), dtype, names,
    )  # fmt: skip


def assert_same(leaves, call, dtype, **options):
    """The torch backend, as near to float64 as the problem's conditioning allows."""
    found, grads = run(leaves, call, "torch", dtype, **options)
    assert_near_reference(leaves, call, dtype, found, grads, **options)


@pytest.mark.parametrize(("kind", "score"), list(itertools.product(KINDS, SCORES)))
def test_every_cell_and_score_equals_the_reference(kind, score):
    # "relu" is not bounded: a unit near zero may fall on either side in float32 only
    leaves, call = make(kind, score)
    assert_same(leaves, call, torch.float64)
    assert_same(leaves, call, torch.float32)


@pytest.mark.parametrize("gate", ["scalar", "vector"])
@pytest.mark.parametrize(("kind", "score"), list(itertools.product(KINDS, SCORES[:3])))
def test_a_gated_context_equals_the_reference(kind, score, gate):
    leaves, call = make(kind, score, gate=gate, layers=2)
    assert_same(leaves, call, torch.float64)


def test_a_gate_without_memory_or_of_another_width_is_refused():
    leaves, call = make("lstm", "none")
    leaves |= {"gate": leaves["hh0"][:1], "gate_bias": leaves["bh0"][:1]}
    with pytest.raises(ValueError, match="gate is given without memory"):
        call(leaves, "torch")
    leaves, call = make("lstm", "additive", gate="vector")
    with pytest.raises(ValueError, match=r"weights.gate has shape \(3, 7\)"):
        call({**leaves, "gate": leaves["gate"][:3]}, "torch")
    with pytest.raises(ValueError, match=r"weights.gate_bias has shape \(3,\)"):
        call({**leaves, "gate_bias": leaves["gate_bias"][:3]}, "torch")


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_gradcheck_of_a_penalty_on_the_attention_and_of_the_gate(backend):
    """The doubly stochastic penalty of Xu et al. 2015 (eq. 14) needs d loss / d attention."""
    leaves, call = make("lstm", "additive", sizes=(3, 3, 4, 2, 2, 2, 2), gate="scalar")
    names = list(leaves)

    def function(*tensors):
        *_, attention = call(dict(zip(names, tensors, strict=True)), backend)
        return (1 - attention.sum(1)).square().sum(1)

    assert torch.autograd.gradcheck(function, [leaves[n].requires_grad_() for n in names])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score", SCORES[:3])
def test_a_sentinel_by_hand(kind, score):
    """Equations 8 to 13 of Lu et al. 2017 for the first step of one row, written out."""
    leaves, call = make(kind, score, sentinel=True, sizes=(1, 1, 4, 3, 5, 5, 6))
    vectors, state, attention = call(leaves, "reference")
    x = torch.cat([leaves["inputs"][0, 0], leaves["feed"][0]])
    h = state.hidden[0, 0]
    gate = torch.sigmoid(leaves["sx"] @ x + leaves["sh"] @ leaves["hidden"][0, 0] + leaves["sb"])
    own = gate * (torch.tanh(state.cell[0, 0]) if kind == "lstm" else h)
    query = leaves["query"] @ h if "query" in leaves else h
    keys = torch.cat([leaves["keys"][0], (leaves["sk"] @ own)[None]])
    additive = score == "additive"
    scores = torch.tanh(query + keys) @ leaves["score"] if additive else 0.7 * keys @ query
    every = torch.softmax(scores, 0)
    context = every @ torch.cat([leaves["values"][0], own[None]])
    torch.testing.assert_close(attention[0, 0], every[:-1])
    expected = torch.tanh(leaves["output"] @ torch.cat([context, h]))
    torch.testing.assert_close(vectors[0, 0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentinel_in_every_backend(kind):
    leaves, call = make(kind, "additive", sentinel=True, layers=2, gate="scalar")
    assert_same(leaves, call, torch.float64)
    *_, attention = call(leaves, "torch")
    assert attention[1].abs().max() == 0  # lengths[1] is 0: all of it is the sentinel's
    assert bool((attention.sum(2) < 1).all())


@pytest.mark.parametrize(("feeding", "gate"), [(True, "vector"), (False, None)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("kind", "score"), list(itertools.product(KINDS, SCORES[:3])))
def test_a_sentinel_equals_the_reference(kind, score, layers, feeding, gate):
    """Its gate reads the embedding and what is fed, the embedding alone, or a layer below."""
    options = {"dropout": "plain", "norm": {1}} if layers > 1 else {}
    leaves, call = make(
        kind, score, sentinel=True, layers=layers, feeding=feeding, gate=gate, **options
    )
    assert_same(leaves, call, torch.float64, residual=layers > 1)


@pytest.mark.parametrize("score", SCORES[:3])
def test_gradcheck_of_the_sentinel_written_by_hand(score):
    """All gradients, with a penalty on the attention, against this backend's finite differences."""
    leaves, call = make("lstm", score, sizes=(3, 2, 3, 2, 2, 2, 2), sentinel=True, gate="scalar")
    names = list(leaves)

    def function(*tensors):
        vectors, state, attention = call(dict(zip(names, tensors, strict=True)), "torch")
        return vectors, state.hidden, state.cell, attention.sum(1).square()

    assert torch.autograd.gradcheck(function, [leaves[n].requires_grad_() for n in names])


@pytest.mark.parametrize("sentinel", [False, True])
@pytest.mark.parametrize("score", SCORES[:3])
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_padding_may_hold_anything_and_has_no_gradient(score, sentinel, backend):
    leaves, call = make("lstm", score, sentinel=sentinel)  # lengths 5, 0, 1
    expected, _ = run(leaves, call, backend, torch.float64)
    leaves = {name: leaf.detach().clone() for name, leaf in leaves.items()}
    for name in ("keys", "values"):
        leaves[name][1], leaves[name][2, 1:] = float("nan"), float("inf")
    found, grads = run(leaves, call, backend, torch.float64)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(torch.isfinite(gradient).all() for gradient in grads.values())
    for name in ("keys", "values"):
        assert grads[name][1].eq(0).all() and grads[name][2, 1:].eq(0).all()


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("options", [{}, {"sentinel": True, "gate": "vector"}], ids=["", "both"])
@pytest.mark.parametrize("sizes", [(0, 3, 4, 3, 4, 4, 5), (2, 2, 0, 3, 4, 4, 5)])
def test_no_rows_and_no_sources(sizes, options, backend):
    if backend == "triton" and not interpreted():
        pytest.skip("needs Triton's interpreter")
    leaves, call = make("lstm", "additive", sizes=sizes, **options)
    expected, _ = run(leaves, call, "reference", torch.float32)
    found, grads = run(leaves, call, backend, torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert all(gradient is None or gradient.isfinite().all() for gradient in grads.values())


def test_a_sentinel_that_does_not_fit_is_refused():
    leaves, call = make("lstm", "additive", sentinel=True)
    with pytest.raises(ValueError, match=r"weights.sentinel.key has shape \(2, 7\)"):
        call({**leaves, "sk": leaves["sk"][:2]}, "torch")
    wide, call = make("lstm", "additive")
    with pytest.raises(ValueError, match=r"memory\.values are 8 wide, the hidden state 7"):
        call({**wide, **{k: leaves[k] for k in ("sx", "sh", "sb", "sk")}}, "torch")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropout", ["plain", "variational"])
@pytest.mark.parametrize("residual", [False, True])
def test_deep_decoders_with_norm_dropout_and_residuals(kind, dropout, residual):
    leaves, call = make(kind, "additive", layers=3, norm=True, dropout=dropout)
    assert_same(leaves, call, torch.float64, residual=residual)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score", ["additive", "dot", "none"])
def test_without_input_feeding(kind, score):
    leaves, call = make(kind, score, feeding=False, layers=2)
    assert_same(leaves, call, torch.float64)


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1, 1, 1, 1), (5, 3, 17, 3, 5, 2, 1), (2, 0, 3, 2, 2, 2, 2)]
)
def test_odd_sizes(sizes):
    leaves, call = make("lstm", "additive", sizes=sizes)
    assert_same(leaves, call, torch.float64)


def test_blocks_of_sentences_do_not_change_the_result(monkeypatch):
    from kernels.decoder.torch_backend import scores

    leaves, call = make("lstm", "additive", sizes=(7, 4, 5, 6, 7, 8, 9))
    monkeypatch.setattr(scores, "_BLOCK_BYTES", 600)  # two sentences a block
    assert_same(leaves, call, torch.float64)


def test_gradcheck_of_the_reference():
    leaves, call = make("gru", "additive", sizes=(3, 2, 2, 2, 2, 2, 2))
    names = list(leaves)

    def function(*tensors):
        vectors, state, _ = call(dict(zip(names, tensors, strict=True)), "reference")
        return vectors, state.hidden

    assert torch.autograd.gradcheck(function, [leaves[n].requires_grad_() for n in names])


@pytest.mark.parametrize("options", [{}, {"sentinel": True, "gate": "scalar"}], ids=["", "both"])
def test_bf16_autocast_stays_within_one_percent(options):
    leaves, call = make("lstm", "additive", sizes=(16, 6, 9, 32, 48, 64, 48), seed=3, **options)
    leaves = {k: v * (0.2 if v.dim() == 2 else 1) for k, v in leaves.items()}
    expected, expected_grads = run(leaves, call, "reference", torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        found, found_grads = run(leaves, call, "torch", torch.float32)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-2 * b.norm()
    for name, b in expected_grads.items():
        assert found_grads[name].dtype == torch.float32
        assert (found_grads[name].double() - b).norm() <= 1.5e-2 * b.norm(), name


def test_an_empty_source_gets_no_attention_and_no_nan():
    leaves, call = make("lstm", "additive")
    for backend in ("torch", "reference"):
        (*_, attention), grads = run(leaves, call, backend, torch.float64)
        assert attention[1].abs().max() == 0  # lengths[1] is 0
        assert grads["values"][1].abs().max() == 0
        assert all(torch.isfinite(g).all() for g in grads.values())


def test_one_step_with_shared_sources_equals_separate_ones():
    """N = B * K hypotheses on B sources: the same as K copies of every source."""
    leaves, _ = make("lstm", "additive", sizes=(6, 1, 5, 6, 7, 8, 9))
    weights = DecoderWeights(
        (LayerWeights(leaves["ih0"], leaves["hh0"], leaves["bi0"], leaves["bh0"]),),
        leaves["output"], leaves["query"], leaves["score"],
    )  # fmt: skip
    state = DecoderState(leaves["hidden"], leaves["cell"], leaves["feed"])
    memory = Memory(leaves["keys"][:2], leaves["values"][:2], torch.tensor([5, 3]))
    copies = Memory(*(tensor.repeat_interleave(3, 0) for tensor in memory))
    a = decoder_step(leaves["inputs"][:, 0], weights, state, memory, "lstm")
    b = decoder_step(leaves["inputs"][:, 0], weights, state, copies, "lstm")
    torch.testing.assert_close(a[0], b[0])
    torch.testing.assert_close(a[2], b[2])


def prepared_and_plain(leaves, kind, layers=1, residual=False, product=torch.float64, dtype=None):
    """One step by prepared_step and by decoder_step: six hypotheses of two sources of which one
    is padded, fed four different inputs."""
    names = ("ih", "hh", "bi", "bh", "nw", "nb")
    leaves = {name: leaf.to(dtype or leaf.dtype) for name, leaf in leaves.items()}
    weights = DecoderWeights(
        tuple(LayerWeights(*(leaves.get(f"{k}{n}") for k in names)) for n in range(layers)),
        *(leaves.get(name) for name in ("output", "query", "score", "gate", "gate_bias")),
        sentinel_of(leaves),
    )
    state = DecoderState(leaves["hidden"], leaves.get("cell"), leaves.get("feed"))
    memory = None
    if "keys" in leaves:
        memory = Memory(leaves["keys"][:2], leaves["values"][:2], torch.tensor([5, 3]))
        memory.keys[1, 3:] = float("nan")  # what is past a length may be anything
        memory.values[1, 3:] = float("nan")
    inputs, rows = leaves["inputs"][:4, 0], torch.tensor([3, 1, 1, 0, 2, 1])
    prepared = step_weights(weights, kind, inputs.shape[1], product)
    found = prepared_step(
        inputs, rows, prepared, state, None if memory is None else step_memory(memory), kind, 0.7,
        residual,
    )  # fmt: skip
    expected = decoder_step(inputs[rows], weights, state, memory, kind, 0.7, residual)
    return found, expected


@pytest.mark.parametrize(("kind", "score"), list(itertools.product(KINDS, SCORES)))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"feeding": False},
        {"layers": 3, "norm": True, "residual": True},
        {"gate": "vector"},
        {"sentinel": True},
        {"sentinel": True, "layers": 2, "feeding": False},
    ],
    ids=["fed", "not fed", "deep", "gated", "sentinel", "deep sentinel"],
)
def test_the_prepared_step_is_the_step(kind, score, options):
    options = dict(options)
    residual = options.pop("residual", False)
    if score == "none":
        options = {k: v for k, v in options.items() if k not in ("gate", "sentinel")}
    leaves, _ = make(kind, score, sizes=(6, 1, 5, 6, 7, 8, 9), **options)
    found, expected = prepared_and_plain(leaves, kind, options.get("layers", 1), residual)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_the_prepared_step_in_lower_precision(score):
    leaves, _ = make("lstm", score, sizes=(6, 1, 5, 6, 7, 8, 9))
    found, expected = prepared_and_plain(leaves, "lstm", product=torch.float32, dtype=torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found, expected = prepared_and_plain(
        leaves, "lstm", product=torch.bfloat16, dtype=torch.float32
    )
    assert found[0].dtype == found[1].hidden.dtype == torch.float32  # the products alone
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_the_prepared_step_of_a_source_without_words():
    leaves, _ = make("lstm", "additive", sizes=(4, 1, 5, 6, 7, 8, 9))
    weights = DecoderWeights(
        (LayerWeights(leaves["ih0"], leaves["hh0"], leaves["bi0"], leaves["bh0"]),),
        leaves["output"], leaves["query"], leaves["score"],
    )  # fmt: skip
    state = DecoderState(leaves["hidden"], leaves["cell"], leaves["feed"])
    memory = Memory(leaves["keys"], leaves["values"], torch.tensor([5, 0, 1, 2]))
    prepared = step_weights(weights, "lstm", 6, torch.float64)
    inputs = leaves["inputs"][:, 0]
    found = prepared_step(inputs, None, prepared, state, step_memory(memory), "lstm")
    torch.testing.assert_close(found, decoder_step(inputs, weights, state, memory, "lstm"))
    assert found[2][1].eq(0).all()


@pytest.mark.parametrize(
    ("name", "shape", "named"),
    [
        ("hidden", (2, 3, 7), "state.hidden"),
        ("ih0", (28, 5), "weight_ih"),
        ("hh0", (28, 6), "weight_hh"),
        ("bi0", (1,), "bias_ih"),
        ("bh0", (27,), "bias_hh"),
        ("query", (6, 8), "weights.query"),
        ("score", (5,), "weights.score"),
        ("output", (9, 3), "weights.output"),
        ("keys", (3, 4, 6), "memory.keys"),
        ("inputs", (3, 4), "inputs"),
        ("output", (9,), "weights.output"),
        ("hidden", (), "state.hidden"),
        ("keys", (3, 5), "memory.keys"),
        ("values", (3, 5), "memory.values"),
        ("values", (3, 5, 8, 1), "memory.values"),
        ("query", (), "weights.query"),
        ("cell", (1, 1, 7), "state.cell"),
        ("feed", (1, 9), "state.feed"),
    ],
)
def test_wrong_shapes_name_the_argument(name, shape, named):
    leaves, call = make("lstm", "additive")
    leaves[name] = torch.zeros(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=named):
        call(leaves, "torch")


def test_layers_are_there_with_their_biases_and_masks_have_three_axes():
    (inputs, weights, state, memory), call = decoder_of_lengths(None, True, torch.float64)
    with pytest.raises(ValueError, match=r"weights\.layers is empty"):
        call(inputs, weights._replace(layers=()), state, memory)
    bare = weights._replace(layers=(weights.layers[0]._replace(bias_hh=None),))
    with pytest.raises(ValueError, match=r"weights\.layers\[0\]\.bias_hh is None"):
        call(inputs, bare, state, memory)
    mask = torch.ones((), dtype=torch.float64)
    with pytest.raises(ValueError, match=r"masks\.output has shape \(\)"):
        call(inputs, weights, state, memory, masks=DropoutMasks((), mask))


@pytest.mark.parametrize("sentinel", [True, False])
@pytest.mark.parametrize("score", ["dot", "general"])
def test_float16_scores_do_not_overflow(score, sentinel):
    """Scores beyond 65504 are sums of float32, as they are in attention by itself."""
    leaves, call = make("lstm", score, sentinel=sentinel, sizes=(3, 4, 5, 6, 64, 64, 9))
    leaves["keys"] = leaves["keys"].sign() * 2e4
    if score == "general":
        leaves["query"] *= 20
    leaves["hidden"] *= 20
    leaves = {name: leaf.half().double() for name, leaf in leaves.items()}
    expected, _ = run(leaves, call, "reference", torch.float64)
    found, grads = run(leaves, call, "torch", torch.float16)
    for a, b in zip(found, expected, strict=True):
        assert a.isfinite().all() and (a - b).norm() <= 2e-2 * b.norm()
    assert all(gradient.isfinite().all() for gradient in grads.values())


@pytest.mark.parametrize("score", ["additive", "general"])
@pytest.mark.parametrize("sizes", [(3, 2, 4, 0, 5, 6, 7), (3, 2, 4, 5, 6, 0, 7)])
def test_no_embedding_and_no_columns_of_values(sizes, score):
    leaves, call = make("gru", score, sizes=sizes)
    assert_same(leaves, call, torch.float64)


def test_without_gradients_the_steps_share_their_memory(monkeypatch):
    """Buffers that training keeps for all steps hold one step; the results are the same bits."""
    leaves, call = make(
        "lstm", "additive", layers=2, norm=True, sentinel=True, gate="vector", dropout="plain",
        sizes=(4, 40, 5, 6, 7, 7, 9),
    )  # fmt: skip
    kept = call({k: v.requires_grad_() for k, v in leaves.items()}, "torch", True)
    peaks = {}
    for grad in (True, False):
        with monkeypatch.context() as patch, torch.set_grad_enabled(grad):
            # this dispatch mode is off inside an operator: turned on again where buffers are made
            counted = Allocations(patch, torch_backend, ("allocate",))
            with counted:
                found = call(leaves, "torch", True)
            peaks[grad] = counted.peak
    vectors, state, attention = found
    for a, b in zip((vectors, *state, attention), (kept[0], *kept[1], kept[2]), strict=True):
        assert torch.equal(a, b)
    assert peaks[False] * 3 < peaks[True]


def test_a_kept_graph_can_be_walked_again():
    leaves, call = make("lstm", "additive")
    leaves = {k: v.requires_grad_() for k, v in leaves.items()}
    loss = call(leaves, "torch")[0].square().sum()
    first = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True)
    again = torch.autograd.grad(loss, list(leaves.values()))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)


ARGUMENTS = {
    "hidden": "state.hidden", "cell": "state.cell", "feed": "state.feed",
    "ih0": r"weights.layers\[0\].weight_ih", "bh1": r"weights.layers\[1\].bias_hh",
    "nw1": r"weights.layers\[1\].norm_weight", "output": "weights.output",
    "query": "weights.query", "score": "weights.score", "gate": "weights.gate",
    "gate_bias": "weights.gate_bias", "sx": "weights.sentinel.weight_x",
    "sk": "weights.sentinel.key", "keys": "memory.keys", "values": "memory.values",
}  # fmt: skip


@pytest.mark.parametrize(("name", "named"), ARGUMENTS.items())
def test_another_dtype_or_device_names_the_argument(name, named):
    leaves, call = make("lstm", "additive", layers=2, norm=True, sentinel=True, gate="scalar")
    with pytest.raises(ValueError, match=f"{named} has dtype torch.float32; expected torch.float6"):
        call({**leaves, name: leaves[name].float()}, "torch")
    with pytest.raises(ValueError, match=f"{named} is on meta; expected cpu as inputs"):
        call({**leaves, name: leaves[name].to("meta")}, "torch")


def test_inputs_and_masks_have_a_floating_dtype_in_common():
    leaves, call = make("lstm", "additive")
    with pytest.raises(ValueError, match=r"inputs has dtype torch\.int64"):
        call({**leaves, "inputs": leaves["inputs"].long()}, "torch")
    weights = DecoderWeights(
        (LayerWeights(*(leaves[name] for name in ("ih0", "hh0", "bi0", "bh0"))),),
        leaves["output"], leaves["query"], leaves["score"],
    )  # fmt: skip
    state = DecoderState(leaves["hidden"], leaves["cell"], leaves["feed"])
    memory = Memory(leaves["keys"], leaves["values"])
    masks = DropoutMasks((), torch.ones(1, 3, 9))
    with pytest.raises(ValueError, match=r"masks\.output has dtype torch\.float32"):
        attention_decoder(leaves["inputs"], weights, state, memory, masks=masks)


@pytest.mark.parametrize("narrow", ["inputs", "hidden", "keys", "query", "output"])
@pytest.mark.parametrize("score", ["additive", "general"])
def test_autocast_may_mix_floating_dtypes(score, narrow):
    leaves, call = make("lstm", score, sentinel=True, gate="vector")
    leaves = {name: leaf.float().requires_grad_() for name, leaf in leaves.items()}
    with torch.autocast("cpu", torch.bfloat16):
        expected, *_ = call(leaves, "torch")
        leaves[narrow] = leaves[narrow].detach().bfloat16().requires_grad_()
        vectors, *_ = call(leaves, "torch")
    assert vectors.dtype == torch.float32
    assert (vectors - expected).norm() <= 1e-2 * expected.norm()
    (gradient,) = torch.autograd.grad(vectors.sum(), [leaves[narrow]])
    assert gradient.dtype == torch.bfloat16 and bool(gradient.isfinite().all())


def test_a_half_precision_module_keeps_its_states_in_float32():
    """Only the products and the results are rounded: the error is that of few roundings."""
    leaves, call = make(
        "lstm", "additive", sentinel=True, gate="scalar", sizes=(3, 9, 5, 6, 7, 8, 9)
    )
    leaves = {name: leaf.bfloat16().double() for name, leaf in leaves.items()}
    expected, grads = run(leaves, call, "reference", torch.float64)
    found, found_grads = run(leaves, call, "torch", torch.bfloat16)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-2 * b.norm()
    for name, b in grads.items():
        assert found_grads[name].dtype == torch.bfloat16
        assert (found_grads[name].double() - b).norm() <= 3e-2 * max(1.0, b.norm()), name


@pytest.mark.parametrize("feeding", [True, False])
@pytest.mark.parametrize("wrong", [-1, 6])
@pytest.mark.parametrize("backend", ["reference", "torch", "triton"])
def test_lengths_outside_the_source_are_refused(backend, wrong, feeding):
    if backend == "triton" and not interpreted():
        pytest.skip("on a GPU an assertion on the device")
    dtype = torch.float32 if backend == "triton" else torch.float64
    leaves, call = decoder_of_lengths(torch.tensor([5, wrong, 1]), feeding, dtype)
    with use_backend(backend), pytest.raises(ValueError, match=f"lengths: found .*{wrong}"):
        call(*leaves)


def test_a_compiled_loop_refuses_lengths_outside_the_source():
    leaves, call = decoder_of_lengths(torch.tensor([5, 6, 1]), True, torch.float32)
    with pytest.raises(ValueError, match="lengths: found values from 1 to 6"):
        torch.compile(call, backend="eager", fullgraph=True)(*leaves)


def test_lengths_are_integers():
    leaves, call = decoder_of_lengths(torch.tensor([5.0, 2.0, 1.0]), True, torch.float64)
    with pytest.raises(ValueError, match=r"memory\.lengths has dtype torch\.float32"):
        call(*leaves)
    leaves, call = decoder_of_lengths([5, 2, 1], True, torch.float64)
    with pytest.raises(ValueError, match=r"memory\.lengths is a list"):
        call(*leaves)


def decoder_of_lengths(lengths, feeding, dtype):
    """Arguments of attention_decoder for ``lengths`` and S = 5, and a function of them."""
    leaves, _ = make("lstm", "additive", feeding=feeding)
    leaves = {name: leaf.to(dtype) for name, leaf in leaves.items()}
    weights = DecoderWeights(
        (LayerWeights(*(leaves[name] for name in ("ih0", "hh0", "bi0", "bh0"))),),
        leaves["output"], leaves["query"], leaves["score"],
    )  # fmt: skip
    state = DecoderState(leaves["hidden"], leaves["cell"], leaves.get("feed"))
    memory = Memory(leaves["keys"], leaves["values"], lengths)
    return (leaves["inputs"], weights, state, memory), attention_decoder


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_results_may_be_changed_before_the_backward_pass(backend):
    """What the backward pass reads is its own: pictures mask attention in place, for one."""
    if backend == "triton" and not interpreted() and not torch.cuda.is_available():
        pytest.skip("needs a GPU or Triton's interpreter")
    device = "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"
    leaves, call = make("lstm", "additive")
    found = []
    for change in (False, True):
        own = {k: v.float().to(device).requires_grad_() for k, v in leaves.items()}
        vectors, state, attention = call(own, backend)
        loss = vectors.sum() + state.hidden.sum()
        if change:
            for result in (vectors, attention, *state):
                result.detach().zero_()
        found.append(torch.autograd.grad(loss, list(own.values()), allow_unused=True))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_gradients_of_two_biases_are_two_tensors(kind):
    leaves, call = make(kind, "dot")
    leaves = {k: v.requires_grad_() for k, v in leaves.items()}
    vectors, *_ = call(leaves, "torch")
    one, two = torch.autograd.grad(vectors.sum(), (leaves["bi0"], leaves["bh0"]))
    assert one.untyped_storage().data_ptr() != two.untyped_storage().data_ptr()


def test_a_mask_for_each_layer_but_the_last():
    leaves, _ = make("lstm", "none", layers=3)
    weights = tuple(
        LayerWeights(*(leaves[f"{name}{n}"] for name in ("ih", "hh", "bi", "bh"))) for n in range(3)
    )
    with pytest.raises(ValueError, match=r"masks\.between: found 1 masks"):
        attention_decoder(
            leaves["inputs"],
            DecoderWeights(weights, leaves["output"]),
            DecoderState(leaves["hidden"], leaves["cell"], leaves["feed"]),
            masks=DropoutMasks((torch.ones(1, 3, 7, dtype=torch.float64),)),
        )


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("feeding", [False, True])
def test_masks_are_constants(backend, feeding):
    width = 9 if feeding else 5
    layer = LayerWeights(torch.randn(16, width), torch.randn(16, 4), *torch.zeros(2, 16))
    layer.weight_hh.requires_grad_()
    weights = DecoderWeights((layer,), torch.randn(4, 4))
    mask = torch.ones(1, 2, 4, requires_grad=True)
    state = DecoderState(*torch.zeros(2, 1, 2, 4), torch.zeros(2, 4) if feeding else None)
    with use_backend(backend):
        vectors = attention_decoder(
            torch.randn(2, 3, 5), weights, state, masks=DropoutMasks((), mask)
        )[0]
    found = torch.autograd.grad(vectors.sum(), [mask, layer.weight_hh], allow_unused=True)
    assert found[0] is None and found[1] is not None
