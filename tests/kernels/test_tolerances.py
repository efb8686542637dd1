"""The rule that says how near a result must be: what is right passes, what is wrong does not."""

import pytest
import torch

from tests.kernels.tolerances import allowed, assert_near, plain_dtype

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def problem(dtype):
    """A product, and a layer normalisation that divides by a small deviation."""
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(8, 8, dtype=torch.float64, generator=generator) for _ in range(2))
    x, w = x.to(dtype), w.to(dtype)

    def results(dtype):
        near = 1 + 1e-2 * x.to(dtype)
        return [
            (x.to(dtype) @ w.to(dtype)).double(),
            torch.nn.functional.layer_norm(near, (8,)).double(),
        ]

    return results(torch.float64), results(plain_dtype(dtype)), results(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_rounded_passes(dtype):
    truth, plain, found = problem(dtype)
    assert_near(found, truth, plain, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("wrong", ["zeros", "another order", "a row of the one before", "scaled"])
def test_what_is_wrong_fails(dtype, which, wrong):
    truth, plain, found = problem(dtype)
    one = found[which].clone()
    if wrong == "zeros":
        one = torch.zeros_like(one)
    if wrong == "another order":
        one = one.roll(1, 1)
    if wrong == "a row of the one before":
        one[3] = one[2]
    if wrong == "scaled":
        one *= 1.01 if dtype.itemsize > 2 else 1.1
        if dtype.itemsize == 2 and which == 1:
            pytest.skip("ill-conditioned: the reference is as far off in half precision")
    found[which] = one
    with pytest.raises(AssertionError, match=f"{which}: off by"):
        assert_near(found, truth, plain, dtype)


def test_conditioning_widens_a_tolerance_and_nothing_else_does():
    truth, plain, _ = problem(torch.float32)
    bounds = allowed(truth, plain, torch.float32)
    eps = torch.finfo(torch.float32).eps
    assert bounds[0] == 64 * eps * truth[0].norm().item()
    assert bounds[1] > 64 * eps * truth[1].norm().item()
