"""Outputs lie in memory as inputs do: ``view`` works on them as on torch.nn's."""

from __future__ import annotations

import contextlib

import pytest
import torch

import kernels
from kernels.decoder import DecoderState, DecoderWeights, LayerWeights, attention_decoder


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_time_major_and_batch_major(kind, bidirectional, ragged):
    torch.manual_seed(0)
    steps = getattr(kernels, kind)(6, 8, 2, bidirectional=bidirectional)
    batches = getattr(kernels, kind)(6, 8, 2, bidirectional=bidirectional, batch_first=True)
    batches.load_state_dict(steps.state_dict())
    lengths = torch.tensor([5, 2, 4]) if ragged else None
    x = torch.randn(5, 3, 6, requires_grad=True)  # (T, B, I)
    turned = x.detach().transpose(0, 1).contiguous().requires_grad_()
    outputs, _ = steps(x, lengths=lengths)
    expected, _ = batches(turned, lengths=lengths)
    assert outputs.is_contiguous() and expected.is_contiguous()
    outputs.view(-1, outputs.size(2)).square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(outputs, expected.transpose(0, 1))
    torch.testing.assert_close(x.grad, turned.grad.transpose(0, 1))
    assert x.grad.is_contiguous()


@pytest.mark.parametrize("ragged", [False, True])
def test_compiled(ragged):
    layers = kernels.LSTM(6, 8, bidirectional=True)
    lengths = torch.tensor([5, 2, 4]) if ragged else None
    x = torch.randn(5, 3, 6, requires_grad=True)

    def flat(x):
        outputs = layers(x, lengths=lengths)[0]
        return outputs.view(-1, outputs.size(2))

    found = torch.compile(flat, backend="aot_eager", fullgraph=True)(x)
    (ours,) = torch.autograd.grad(found.square().sum(), x)
    (plain,) = torch.autograd.grad(flat(x).square().sum(), x)
    torch.testing.assert_close(ours, plain)


def strides(state):
    """The same numbers in other strides: a part of something wider, batch first in memory, the
    rows of a longer batch."""
    wide = torch.cat([state, state + 1], -1)
    turned = state.transpose(0, 1).contiguous().transpose(0, 1)
    rows = torch.stack([state, state + 1], 2).flatten(1, 2)[:, ::2]
    for found in (wide.chunk(2, -1)[0], turned, rows):
        assert torch.equal(found, state)
        yield found


WAYS = {
    "plain": contextlib.nullcontext,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "watched": lambda: torch.device("cpu"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_initial_states_may_have_any_strides(name, dtype, way):
    """oneDNN's layer reads whatever lies behind a state's first number."""
    torch.manual_seed(0)
    module = getattr(kernels, name)(6, 8, 2, bidirectional=True, dtype=dtype)
    x, h, c = torch.randn(5, 3, 6), torch.randn(4, 3, 8), torch.randn(4, 3, 8)
    x, h, c = (t.to(dtype) for t in (x, h, c))

    def run(h, c):
        h, c = h.detach().requires_grad_(), c.detach().requires_grad_()
        with WAYS[way]():
            outputs, state = module(x, (h, c) if name == "LSTM" else h)
        if way == "no_grad":
            return outputs, state
        outputs.float().square().sum().backward()
        grads = [p.grad.clone() for p in module.parameters()]
        module.zero_grad()
        return outputs, state, grads, h.grad, c.grad

    expected = run(h, c)
    for hidden in strides(h):
        torch.testing.assert_close(run(hidden, c), expected)
    for cell in strides(c):
        torch.testing.assert_close(run(h, cell), expected)
    one = torch.randn(4, 1, 8).to(dtype)
    torch.testing.assert_close(
        run(one.expand(4, 3, 8), one.expand(4, 3, 8)), run(one.repeat(1, 3, 1), one.repeat(1, 3, 1))
    )


@pytest.mark.parametrize("name", ["recurrence", "compiled", "decoder"])
def test_other_ways_to_strided_states(name):
    torch.manual_seed(0)
    module = kernels.LSTM(6, 8)
    x, h, c = torch.randn(5, 3, 6), torch.randn(1, 3, 8), torch.randn(1, 3, 8)
    run = module
    if name == "compiled":
        run = torch.compile(module, backend="aot_eager")
    elif name == "recurrence":
        weights = [parameter.detach() for parameter in module.parameters()]

        def run(x, state):
            hidden, cell = (one.squeeze(0) for one in state)
            return kernels.recurrence(x.transpose(0, 1), *weights, hidden, cell)

    elif name == "decoder":
        layer = LayerWeights(*(parameter.detach() for parameter in module.parameters()))
        weights = DecoderWeights((layer,), torch.randn(7, 8))

        def run(x, state):
            return attention_decoder(x.transpose(0, 1), weights, DecoderState(*state, None))[:2]

    expected = run(x, (h, c))
    for hidden, cell in zip(strides(h), strides(c), strict=True):
        torch.testing.assert_close(run(x, (hidden, cell)), expected)


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_mask_of_dropout_is_the_same_with_and_without_a_graph(batch_first):
    """A reentrant checkpoint runs forward without one, and again with one."""
    module = kernels.LSTM(8, 512, 2, dropout=0.5, batch_first=batch_first, dtype=torch.bfloat16)
    for x in (torch.randn(3, 2, 16)[..., :8], torch.randn(2, 3, 8).transpose(0, 1)):
        x, found = x.to(torch.bfloat16), []
        for graph in (False, True):
            torch.manual_seed(1)
            with torch.set_grad_enabled(graph):
                found.append(module(x)[0].detach().float())
        assert (found[0] - found[1]).norm() < 0.02 * found[1].norm()


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("missing", ["bias_ih_l0", "bias_hh_l0"])
@pytest.mark.parametrize("size", [5, 100])
def test_one_bias_may_be_missing(name, missing, size):
    module = getattr(kernels, name)(4, size)
    whole = getattr(kernels, name)(4, size)
    whole.load_state_dict(module.state_dict())
    with torch.no_grad():
        getattr(whole, missing).zero_()
    module.register_parameter(missing, None)
    x = torch.randn(9, 3, 4)
    torch.testing.assert_close(module(x), whole(x))
