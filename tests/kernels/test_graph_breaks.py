"""torch.compile never looks inside an operation, wherever the graph breaks."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch._dynamo.utils import counters
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import kernels
from tests.kernels.operations import OPERATIONS

INSIDE = ("torch_backend", "triton_backend", "common/registration", "recurrence/layout")


class Watch:
    """A compiler backend that runs graphs as they are and keeps the lines they came from."""

    def __init__(self):
        self.lines, self.names = set(), set()
        torch._dynamo.reset()
        counters.clear()

    def __call__(self, graph, inputs):
        for node in graph.graph.nodes:
            self.names.add(str(node.target))
            for line in (node.stack_trace or "").splitlines():
                if "kernels/" in line and any(part in line for part in INSIDE):
                    self.lines.add(line.strip())
        return graph.forward


@pytest.mark.parametrize("name", OPERATIONS)
def test_after_a_graph_break(name):
    operation, watch = OPERATIONS[name], Watch()

    def run(*leaves):
        torch._dynamo.graph_break()
        return operation.total(*leaves)

    own = [leaf.clone().requires_grad_() for leaf in operation.leaves]
    compiled = torch.compile(run, backend=watch)
    found = torch.autograd.grad(compiled(*own), own)
    for one, other in zip(found, torch.autograd.grad(run(*own), own), strict=True):
        torch.testing.assert_close(one, other)
    assert not watch.lines
    assert any(target.startswith("kernels.") for target in watch.names)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_packed_sequences(kind):
    """One break at the module; the frames are the caller's own and the module's first line, each
    compiled again for another batch size and length: at most three times, whatever follows."""

    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(kernels, kind)(4, 6, batch_first=True)
            self.out = torch.nn.Linear(6, 3)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            outputs, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
            return self.out(outputs)

    torch.manual_seed(0)
    model, watch = Tagger(), Watch()
    compiled = torch.compile(model, backend=watch)
    for lengths in ([4, 2], [5, 3, 1], [2, 7, 1, 1], [1, 1, 1, 3, 9]):
        x, lengths = torch.randn(len(lengths), max(lengths), 4), torch.tensor(lengths)
        torch.testing.assert_close(compiled(x, lengths), model(x, lengths))
    assert not watch.lines
    assert not any(target.startswith("kernels.") for target in watch.names)
    assert counters["frames"]["total"] <= 16


def test_the_library_says_where_it_breaks():
    packed = pack_padded_sequence(torch.randn(3, 2, 4), [3, 2])
    module = torch.compile(kernels.LSTM(4, 6), fullgraph=True, backend="eager")
    with pytest.raises(torch._dynamo.exc.Unsupported, match="_forward_packed"):
        module(packed)


@pytest.mark.parametrize("name", OPERATIONS)
def test_compiling_warns_of_nothing(name):
    operation = OPERATIONS[name]
    torch._dynamo.reset()
    own = [leaf.clone().requires_grad_() for leaf in operation.leaves]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        torch.compile(operation.total, backend="eager")(*own)
