"""Outputs lie in memory as inputs do: ``view`` works on them as on torch.nn's."""

from __future__ import annotations

import pytest
import torch

import kernels


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
