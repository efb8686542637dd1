"""Products in int8: exact sums, one scale a row, the recurrent layer over them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from kernels import GRU, LSTM, RNN
from kernels.common import quantised
from kernels.common.prepared_linear import prepare_linear, prepared_linear
from kernels.common.quantised import quantise_rows, why_no_int8
from kernels.recurrence.quantised import quantise_layer, quantised_recurrence

needs_int8 = pytest.mark.skipif(why_no_int8() is not None, reason=str(why_no_int8()))


@needs_int8
@pytest.mark.parametrize("rows", [1, 5, 16, 17, 130])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (64, 48), (515, 130)])
def test_a_product_is_that_of_the_rounded_matrices(rows: int, inputs: int, outputs: int) -> None:
    draw = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, inputs, generator=draw) * torch.logspace(-3, 3, rows)[:, None]
    weight = torch.randn(outputs, inputs, generator=draw) * torch.logspace(-2, 2, outputs)[:, None]
    bias = torch.randn(outputs, generator=draw)
    linear = prepare_linear(weight, bias, torch.int8)
    assert linear.dtype == torch.int8
    found = prepared_linear(x, linear)
    assert found.shape == (rows, outputs) and found.dtype == torch.float32
    ours, theirs = quantise_rows(x), quantise_rows(weight)
    whole = (ours.scales * ours.weight).double() @ (theirs.scales * theirs.weight).double().T
    # Rounding may differ where a value lies just between two whole numbers: a step of one input.
    step = ours.scales * theirs.scales.T * 127
    assert ((found - bias - whole).abs() <= 1.001 * step + 1e-5 * (whole.abs() + 1)).all()
    # Each of I products is off by at most half a step of one side times the other side's value.
    exact = x.double() @ weight.double().T
    bound = 0.51 * (ours.scales * weight.abs().sum(1) + theirs.scales.T * x.abs().sum(1)[:, None])
    assert ((found - bias - exact).abs() <= bound + 1e-5 * (exact.abs() + 1)).all()


@needs_int8
def test_a_row_does_not_depend_on_the_others() -> None:
    x = torch.randn(70, 96, generator=torch.Generator().manual_seed(1))
    linear = prepare_linear(torch.randn(40, 96), None, torch.int8)
    every = prepared_linear(x, linear)
    x[1:] *= 1000
    for count in (1, 3, 16, 33):
        assert torch.equal(prepared_linear(x[:count], linear)[0], every[0])


@needs_int8
def test_zeros_and_what_is_no_number() -> None:
    linear = prepare_linear(torch.ones(4, 8), torch.ones(4), torch.int8)
    x = torch.zeros(4, 8)
    x[1, 2], x[2, 3] = torch.nan, torch.inf
    found = prepared_linear(x, linear)
    assert torch.equal(found[0], torch.ones(4)) and torch.equal(found[3], torch.ones(4))
    assert not found[1:3].isfinite().any()
    zero = prepare_linear(torch.zeros(4, 8), None, torch.int8)
    assert torch.equal(prepared_linear(torch.ones(2, 8), zero), torch.zeros(2, 4))


@needs_int8
def test_it_cannot_be_copied() -> None:
    linear = prepare_linear(torch.ones(4, 8), None, torch.int8)
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied; prepare it anew"):
            copied(linear)


@needs_int8
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_layer_is_near_its_own_and_a_row_alone_is_the_same(kind, bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = kind(24, 32, batch_first=True, bidirectional=bidirectional)
    x, lengths = torch.randn(5, 9, 24), torch.tensor([9, 4, 1, 9, 6])
    with torch.no_grad():
        outputs, state = layer(x, lengths=lengths)
    quantised_layer = quantise_layer(layer)
    found, hidden, cell = quantised_recurrence(quantised_layer, x, lengths)
    # 32 + 24 products of size 1/127 and 1/sqrt(32), over up to 9 steps of a contracting cell
    assert found.shape == outputs.shape and (found - outputs).abs().max() < 0.05
    given = state if isinstance(state, tuple) else (state,)
    for ours, theirs in zip((hidden, cell), given, strict=False):
        assert ours is not None and (ours - theirs).abs().max() < 0.05
    assert (cell is None) == (kind is not LSTM)
    past = torch.arange(9) >= lengths[:, None]
    assert (found[past] == 0).all()
    for row, length in enumerate(lengths.tolist()):
        alone = quantised_recurrence(quantised_layer, x[row : row + 1, :length], lengths[row, None])
        assert torch.equal(alone[0][0], found[row, :length])
        assert torch.equal(alone[1][:, 0], hidden[:, row])


def test_a_machine_without_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "described", lambda field: "fpu sse avx2")
    assert "the processor has none of avx512_vnni" in (why_no_int8() or "")
    with pytest.raises(RuntimeError, match=r"no int8 products: the processor .*; use float32"):
        prepare_linear(torch.ones(2, 2), None, torch.int8)
    monkeypatch.undo()
    monkeypatch.setattr(quantised, "described", lambda field: "avx512_vnni")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert why_no_int8() == "this build of PyTorch has no oneDNN"
