"""torch.fx records a layer or a cell as one call, as it does torch.nn's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import kernels


class Tagger(nn.Module):
    def __init__(self, package, kind):
        super().__init__()
        self.layers = getattr(package, kind)(4, 5, batch_first=True)
        self.output = nn.Linear(5, 3)

    def forward(self, x):
        outputs, state = self.layers(x)
        return self.output(outputs), state


class Steps(nn.Module):
    def __init__(self, package, kind):
        super().__init__()
        self.cell = getattr(package, kind)(4, 5)

    def forward(self, x, state):
        return self.cell(x, state)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_layers(kind):
    ours = Tagger(kernels, kind)
    theirs = torch.fx.symbolic_trace(Tagger(torch.nn, kind))
    traced = torch.fx.symbolic_trace(ours)
    names = [[(node.op, node.target) for node in one.graph.nodes] for one in (traced, theirs)]
    assert names[0] == names[1]
    x = torch.randn(2, 6, 4)
    torch.testing.assert_close(traced(x), ours(x))
    assert torch.fx.symbolic_trace(nn.Sequential(getattr(kernels, kind)(4, 5)))(x)[0].shape[2] == 5


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells(kind):
    ours = Steps(kernels, kind)
    traced = torch.fx.symbolic_trace(ours)
    x, h = torch.randn(3, 4), torch.randn(3, 5)
    state = (h, h) if kind == "LSTMCell" else h
    torch.testing.assert_close(traced(x, state), ours(x, state))


def test_a_layer_alone_is_no_graph():
    with pytest.raises(torch.fx.proxy.TraceError, match="trace a module that holds it"):
        torch.fx.symbolic_trace(kernels.LSTM(4, 5))
