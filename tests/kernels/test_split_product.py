"""Products whose inner side is shared out over the warps, each by itself against float64: every
part counts, and what lies past the inner side does not."""

import pytest
import torch
import triton
import triton.language as tl

from kernels.common.split_product import LOOP, splits_of
from kernels.decoder.triton_backend.products import multiply
from kernels.decoder.triton_backend.step.products import multiply_joined

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit
def _multiply(rows, weight, out, batch, K: tl.constexpr, N: tl.constexpr, BM: tl.constexpr,
              BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr):  # fmt: skip
    b, n = tl.arange(0, BM), tl.arange(0, BN)
    total = multiply(
        tl.zeros((BM, BN), tl.float32) + 1.0, rows, b, weight, n, n < N, batch,
        K, K, K, 1, BK, STAGES, "ieee",
    )  # fmt: skip
    at = out + b[:, None] * N + n[None, :]
    tl.store(at, total, mask=(b < batch)[:, None] & (n < N)[None, :])


@triton.jit
def _joined(x, feed, hidden, weight, out, batch, X: tl.constexpr, F: tl.constexpr, H: tl.constexpr,
            N: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr):  # fmt: skip
    b, n = tl.arange(0, 16), tl.arange(0, 16)
    total = multiply_joined(
        tl.zeros((16, 16), tl.float32) + 1.0, weight, n, n, n < N, x, b, feed, hidden, b, b < batch,
        X, F, H, 0, False, BK, STAGES, "ieee",
    )  # fmt: skip
    at = out + b[:, None] * N + n[None, :]
    tl.store(at, total, mask=(b < batch)[:, None] & (n < N)[None, :])


def check(out, rows, weight):
    exact = 1 + rows.double() @ weight.double().T
    assert (out.double() - exact).norm() < 1e-6 * exact.norm()  # sums are float32


@pytest.mark.parametrize("columns", [16, 64, 128])  # the last in one part
@pytest.mark.parametrize("inner", [7, 256, 301, 520])
def test_products_of_the_decoder(inner, columns):
    assert splits_of(16, 64, 256, 2, LOOP) == 8
    assert splits_of(16, 128, 256, 2, LOOP) == splits_of(16, 16, 256, 4, LOOP) == 1
    generator = torch.Generator().manual_seed(inner)
    rows, weight = (
        torch.randn(n, inner, generator=generator).half().to(DEVICE) for n in (5, columns - 3)
    )
    out = torch.full((5, columns - 3), float("nan"), device=DEVICE)
    for stages in (1, 3):
        _multiply[(1,)](
            rows, weight, out, 5, inner, columns - 3, 16, columns, 256, stages, num_warps=8
        )
        check(out, rows, weight)


@pytest.mark.parametrize("parts", [(40, 60, 200), (41, 0, 203), (0, 130, 140)])
def test_joined_products_of_a_step(parts):
    generator = torch.Generator().manual_seed(1)
    x, feed, hidden = (torch.randn(5, n, generator=generator).half().to(DEVICE) for n in parts)
    weight = torch.randn(13, sum(parts), generator=generator).half().to(DEVICE)
    out = torch.full((5, 13), float("nan"), device=DEVICE)
    for stages in (1, 3):
        _joined[(1,)](x, feed, hidden, weight, out, 5, *parts, 13, 128, stages, num_warps=8)
        check(out, torch.cat([x, feed, hidden], 1), weight)
