"""The prepared product against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kernels.common.prepared_linear import prepare_linear, prepared_linear


@pytest.mark.parametrize("rows", [0, 1, 5, 16, 17, 40])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [True, False])
def test_it_is_the_linear_map(rows, dtype, with_bias):
    draw = torch.Generator().manual_seed(rows)
    weight = torch.randn(70, 33, generator=draw, dtype=torch.float64)
    bias = torch.randn(70, generator=draw, dtype=torch.float64) if with_bias else None
    x = torch.randn(rows, 33, generator=draw, dtype=torch.float64)
    y = prepared_linear(x, prepare_linear(weight, bias, dtype))
    assert y.dtype == dtype and y.shape == (rows, 70)
    expected = F.linear(
        *(None if t is None else t.to(dtype).double() for t in (x, weight, bias))
    )  # from the rounded operands: what is left is the rounding of the sums and of the result
    # sums of 34 terms, of a size of about 6
    torch.testing.assert_close(
        y.double(), expected, rtol=2 * torch.finfo(dtype).eps, atol=100 * torch.finfo(dtype).eps
    )


def test_it_is_packed_where_onednn_can():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN")
    weight = torch.randn(20, 10)
    assert prepare_linear(weight, None, torch.float32).packed
    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert prepare_linear(weight, None, torch.bfloat16).packed == bf16
    assert not prepare_linear(weight.double(), None, torch.float64).packed


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_slice_of_a_parameter_and_no_gradients(dtype):
    parameter = torch.randn(20, 10, requires_grad=True)
    x = torch.randn(3, 4, requires_grad=True)
    y = prepared_linear(x, prepare_linear(parameter[:, 3:7], None, dtype))
    assert not y.requires_grad
    expected = F.linear(x.detach(), parameter.detach()[:, 3:7]).to(dtype)
    torch.testing.assert_close(y, expected, rtol=0.02, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_do_not_depend_on_how_many_there_are(dtype):
    """One row alone may be summed in another order; no more than that."""
    weight, bias, x = torch.randn(300, 64), torch.randn(300), torch.randn(50, 64)
    linear = prepare_linear(weight, bias, dtype)
    together = prepared_linear(x, linear)
    for start, stop in ((0, 1), (3, 8), (0, 16), (10, 43)):
        alone = prepared_linear(x[start:stop], linear)
        tolerance = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 40 * torch.finfo(dtype).eps}
        torch.testing.assert_close(alone, together[start:stop], **tolerance)
