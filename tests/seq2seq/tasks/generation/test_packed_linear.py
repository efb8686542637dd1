"""A row of a product has the same bits alone and among others."""

from __future__ import annotations

import copy

import pytest
import torch

from seq2seq.tasks.generation.packed_linear import PackedLinear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("width", "units"), [(24, 96), (16, 40), (64, 1000)])
def test_rows_keep_their_bits(dtype, width, units):
    torch.manual_seed(0)
    weight, bias = torch.randn(units, width), torch.randn(units)
    linear = PackedLinear(weight, bias, dtype)
    rows = torch.randn(64, width)
    together = linear(rows)
    for count in (1, 2, 3, 4, 5, 7, 16, 33):
        assert torch.equal(linear(rows[:count]), together[:count]), count
        assert torch.equal(linear(rows[-count:]), together[-count:]), count
    assert torch.equal(copy.deepcopy(linear)(rows), together)
    tolerance = 1e-4 if dtype == torch.float32 else 0.03 * width**0.5
    expected = rows.double() @ weight.double().t() + bias.double()
    torch.testing.assert_close(together.double(), expected, rtol=0, atol=tolerance)
