"""torch.onnx.export(dynamo=True) of all operations, and what ONNX Runtime makes of the graphs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import kernels
from kernels.decoder import DecoderState, DecoderWeights, LayerWeights, Memory

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")

B, T, S = Dim("B"), Dim("T"), Dim("S")
BOUND = {"rtol": 1e-5, "atol": 1e-5}  # float32 on both sides, sums in another order


def export(module, arguments, shapes=None):
    return torch.onnx.export(
        module.eval(), arguments, dynamo=True, verbose=False, dynamic_shapes=shapes
    )


def run(program, arguments):
    """Outputs of ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {i.name: a.numpy() for i, a in zip(session.get_inputs(), arguments, strict=True)}
    return [torch.from_numpy(output) for output in session.run(None, given)]


def assert_same(program, module, arguments):
    with torch.no_grad():
        expected = module(*arguments)
    expected = torch.utils._pytree.tree_leaves(expected)
    for ours, theirs in zip(run(program, arguments), expected, strict=True):
        torch.testing.assert_close(ours, theirs, **BOUND)


def operators(program):
    return [node.op_type for node in program.model.graph]


class Ragged(nn.Module):
    """Layers of each kind on the same sequences; lengths and states are inputs of the graph."""

    def __init__(self):
        super().__init__()
        options = {"bidirectional": True, "batch_first": True}
        self.lstm = kernels.LSTM(4, 6, 2, **options)
        self.gru = kernels.GRU(4, 6, **options)
        self.rnn = kernels.RNN(4, 6, nonlinearity="relu", **options)

    def forward(self, x: Tensor, lengths: Tensor, hidden: Tensor, cell: Tensor):
        return (
            self.lstm(x, (hidden, cell), lengths=lengths),
            self.gru(x, hidden[:2], lengths=lengths),
            self.rnn(x, lengths=lengths),
        )


def test_layers_with_lengths_of_any_batch():
    torch.manual_seed(0)
    module = Ragged()

    def arguments(lengths):
        batch = len(lengths)
        state = [torch.randn(4, batch, 6) for _ in range(2)]
        return torch.randn(batch, max(lengths), 4), torch.tensor(lengths), *state

    shapes = {"x": {0: B, 1: T}, "lengths": {0: B}, "hidden": {1: B}, "cell": {1: B}}
    program = export(module, arguments([5, 2, 3]), shapes)
    found = operators(program)
    assert [found.count(name) for name in ("LSTM", "GRU", "RNN")] == [2, 1, 1]
    assert_same(program, module, arguments([5, 2, 3]))
    assert_same(program, module, arguments([7, 0, 1, 7]))


def test_a_plain_layer_is_one_operator():
    """Weights are constants in ONNX's order, nothing is left to do at run time but transposing."""
    layer = kernels.LSTM(4, 6, batch_first=True, bias=False)
    program = export(layer, (torch.randn(3, 5, 4),))
    left = set(operators(program)) - {"LSTM"}
    assert left <= {"Transpose", "Reshape", "Gather", "Unsqueeze", "Squeeze"}
    assert_same(program, layer, (torch.randn(3, 5, 4),))


def test_one_direction_in_reverse():
    class Reverse(nn.Module):
        def forward(self, *tensors):
            found = []
            for kind, gates in (("lstm", 4), ("gru", 3), ("tanh", 1)):
                own = [tensor[: 4 * gates] for tensor in tensors[1:]]
                found += kernels.recurrence(tensors[0], *own, kind=kind, reverse=True)[:2]
            return found

    arguments = tuple(torch.randn(shape) for shape in ((2, 5, 3), (16, 3), (16, 4), (16,)))
    assert_same(export(Reverse(), arguments), Reverse(), arguments)


def test_bfloat16_is_computed_in_float32():
    layer = kernels.GRU(4, 6, batch_first=True, dtype=torch.bfloat16)
    program = export(layer, (torch.randn(3, 5, 4, dtype=torch.bfloat16),))
    assert "GRU" in operators(program) and "Cast" in operators(program)


def test_what_onnx_lacks_is_named_and_goes_as_a_loop():
    layer = kernels.LSTM(4, 6, batch_first=True, proj_size=3, layer_norm=True, zoneout=0.1)
    arguments = (torch.randn(2, 3, 4),)
    with pytest.raises(Exception) as caught:
        export(layer, arguments)
    (text,) = {t for t in messages(caught.value) if t.startswith("ONNX: found")}
    assert all(name in text for name in ("proj_size", "layer_norm", "zoneout"))
    assert "use_backend('reference')" in text
    with kernels.use_backend("reference"):
        program = export(layer, arguments)
    assert_same(program, layer, arguments)


def messages(error):
    """The messages of an exception and of all its causes."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("name", ["additive", "dot"])
def test_attention_of_any_size(name):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4))

        def forward(self, query, keys, values, lengths):
            named = {"lengths": lengths, "return_weights": True, "heads": 2}
            if name == "dot":
                return kernels.dot_attention(query, keys, values, 0.5, **named)
            return kernels.additive_attention(query, keys, values, self.weight, **named)

    def arguments(targets, lengths):
        batch, sources = len(lengths), max(lengths)
        sizes = ((targets, 4), (sources, 4), (sources, 6))
        return *(torch.randn(batch, *size) for size in sizes), torch.tensor(lengths)

    module = Attention()
    shapes = {
        "query": {0: B, 1: T}, "keys": {0: B, 1: S}, "values": {0: B, 1: S}, "lengths": {0: B},
    }  # fmt: skip
    program = export(module, arguments(3, [5, 2]), shapes)
    assert_same(program, module, arguments(3, [5, 2]))
    assert_same(program, module, arguments(2, [7, 0, 1]))


class Step(nn.Module):
    """One step of an attention decoder with input feeding."""

    def __init__(self, inputs=3, size=4, width=6, output=5):
        super().__init__()
        shapes = {
            "ih": (4 * size, inputs + output), "hh": (4 * size, size), "bias": (4 * size,),
            "output": (output, width + size), "query": (size, size), "score": (size,),
        }  # fmt: skip
        self.parts = nn.ParameterDict({n: torch.randn(shape) for n, shape in shapes.items()})

    def forward(self, x, hidden, cell, feed, keys, values, lengths):
        parts = self.parts
        layer = LayerWeights(parts["ih"], parts["hh"], parts["bias"], parts["bias"])
        weights = DecoderWeights((layer,), parts["output"], parts["query"], parts["score"])
        state, memory = DecoderState(hidden, cell, feed), Memory(keys, values, lengths)
        vectors, state, attention = kernels.attention_decoder(x, weights, state, memory)
        return vectors, *state, attention


def test_one_step_of_the_decoder():
    def arguments(lengths):
        batch, sources = len(lengths), max(lengths)
        shapes = (
            (batch, 1, 3), (1, batch, 4), (1, batch, 4), (batch, 5), (batch, sources, 4),
            (batch, sources, 6),
        )  # fmt: skip
        return *(torch.randn(shape) for shape in shapes), torch.tensor(lengths)

    module = Step()
    first, both = {0: B}, {0: B, 1: S}
    shapes = {
        "x": first, "hidden": {1: B}, "cell": {1: B}, "feed": first, "keys": both, "values": both,
        "lengths": first,
    }  # fmt: skip
    program = export(module, arguments([5, 2]), shapes)
    assert_same(program, module, arguments([5, 2]))
    assert_same(program, module, arguments([1, 3, 7]))


def test_the_vocabulary_loss():
    class Loss(nn.Module):
        def forward(self, hidden, weight, bias, targets):
            return kernels.linear_cross_entropy(hidden, weight, targets, bias, 0.1)

    shapes = ((6, 4), (7, 4), (7,))
    arguments = (*(torch.randn(shape) for shape in shapes), torch.tensor([0, 6, -100, 1, 2, 3]))
    assert_same(export(Loss(), arguments), Loss(), arguments)
