"""GRU-D against its equations, written out for one series and one step at a time, in float64."""

from __future__ import annotations

import torch

from seq2seq.layers.decay_gru import DecayGRU


def make(features=3, hidden=4):
    torch.manual_seed(0)
    layer = DecayGRU(features, hidden).double()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn_like(weight) * 0.5)
    return layer


def inputs(batch=2, steps=5, features=3):
    torch.manual_seed(1)
    values = torch.randn(batch, steps, features, dtype=torch.float64)
    measured = torch.rand(batch, steps, features) < 0.5
    gaps = torch.rand(batch, steps, features, dtype=torch.float64) * 3
    return values, measured, gaps


def by_equations(layer, values, measured, gaps):
    """Che et al. 2018, eq. 10 to 17, for one series (S, D)."""
    size = layer.size
    w_x, v_m = layer.inputs.weight.split([values.shape[1]] * 2, 1)
    w = [w_x[n * size : (n + 1) * size] for n in range(3)]
    v = [v_m[n * size : (n + 1) * size] for n in range(3)]
    b = layer.inputs.bias.split(size)
    u_r, u_z = layer.gates.weight.split(size)
    h, states = torch.zeros(size, dtype=torch.float64), []
    for x, m, d in zip(values, measured.double(), gaps, strict=True):
        zero = torch.zeros((), dtype=torch.float64)
        g_x = torch.exp(-torch.maximum(zero, layer.input_decay * d + layer.input_decay_bias))
        g_h = torch.exp(-torch.maximum(zero, layer.state_decay.weight @ d + layer.state_decay.bias))
        x = m * x + (1 - m) * (g_x * x + (1 - g_x) * 0)  # the mean is 0
        h = g_h * h
        r = torch.sigmoid(w[0] @ x + u_r @ h + v[0] @ m + b[0])
        z = torch.sigmoid(w[1] @ x + u_z @ h + v[1] @ m + b[1])
        n = torch.tanh(w[2] @ x + layer.candidate.weight @ (r * h) + v[2] @ m + b[2])
        h = (1 - z) * h + z * n
        states.append(h)
    return torch.stack(states)


def test_the_equations_and_the_lengths():
    layer = make()
    values, measured, gaps = inputs()
    outputs, final = layer(values, measured, gaps, torch.tensor([5, 3]))
    for row, length in enumerate((5, 3)):
        expected = by_equations(layer, *(t[row, :length] for t in (values, measured, gaps)))
        torch.testing.assert_close(outputs[row, :length], expected)
        torch.testing.assert_close(final[row], expected[-1])
        assert not outputs[row, length:].any()


def test_gradients():
    layer = make(2, 3)
    values, measured, gaps = inputs(2, 4, 2)
    lengths = torch.tensor([4, 2])
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *weights):
        state = dict(zip(names, weights, strict=True))
        arguments = (x, measured, gaps, lengths)
        outputs, final = torch.func.functional_call(layer, state, arguments)
        return outputs.sum((0, 1)), final

    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(run, (values.requires_grad_(), *weights))


def test_what_was_not_measured_long_ago_counts_for_nothing():
    layer = make()
    with torch.no_grad():
        layer.input_decay.fill_(1.0)
        layer.input_decay_bias.zero_()
    values, measured, gaps = inputs(1)
    measured[:] = False
    gaps[:] = 1e3
    other = values + 5
    lengths = torch.tensor([5])
    assert torch.equal(
        layer(values, measured, gaps, lengths)[0], layer(other, measured, gaps, lengths)[0]
    )
