"""tanh(q + k) by factors against tanh in float64."""

from __future__ import annotations

import pytest
import torch

from kernels.common.additive import factors, pair, remainders, slopes_

EPS = torch.finfo(torch.float32).eps


def made(size, scale, dtype=torch.float32):
    draw = torch.Generator().manual_seed(1)
    query = (scale * torch.randn(3, 1, size, generator=draw)).to(dtype)
    keys = (scale * torch.randn(3, 40, size, generator=draw)).to(dtype)
    return query, keys


@pytest.mark.parametrize("scale", [1e-4, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("factored", [True, False])
def test_tanh_and_its_slope(scale, factored):
    query, keys = made(64, scale)
    pairs = pair(query, keys, factors(keys) if factored else None)
    assert (pairs.ones is not None) == (factored and scale < 30)
    r = remainders(*pairs, torch.empty(3, 40, 64))
    truth = torch.tanh(query.double() + keys.double())
    # The exponentials are off by their own rounding and that of their argument, |x| / 2 of it.
    assert ((1 - 2 * r.double() - truth).abs() <= 8 * EPS).all()
    found = 4 * slopes_(r).double()
    assert ((found - (1 - truth.square())).abs() <= 16 * EPS).all()


@pytest.mark.parametrize("size", [16, 256, 1024])
def test_a_score_of_many_terms(size):
    query, keys = made(size, 1.5)
    score = torch.randn(size, generator=torch.Generator().manual_seed(2))
    pairs = pair(query, keys, factors(keys))
    r = remainders(*pairs, torch.empty(3, 40, size))
    found = score.sum() - 2 * (r @ score)
    truth = torch.tanh(query.double() + keys.double()) @ score.double()
    bound = (8 + size**0.5) * EPS * score.abs().sum()
    assert ((found - truth).abs() <= bound).all()
    if size == 256:
        assert (found - truth).abs().max() < 5e-5


def test_values_out_of_range_take_the_other_way():
    query, keys = made(8, 1.0)
    assert factors(torch.full((2, 3), 21.0)) is None
    assert factors(torch.full((2, 3), float("nan"))) is None
    assert factors(torch.empty(0, 3)) is not None
    assert factors(torch.empty(2, 3, device="meta")) is None
    keys[0, 0, 0], query[0, 0, 0] = 60.0, -60.0
    pairs = pair(query, keys, factors(keys))
    r = remainders(*pairs, torch.empty(3, 40, 8))
    torch.testing.assert_close(1 - 2 * r, torch.tanh(query + keys), rtol=0, atol=4 * EPS)
    assert pair(query, keys.clamp(-1, 1), factors(keys.clamp(-1, 1))).ones is None  # the query's


def test_float64_is_exact():
    query, keys = made(32, 2.0, torch.float64)
    pairs = pair(query, keys, factors(keys))
    r = remainders(*pairs, torch.empty(3, 40, 32, dtype=torch.float64))
    torch.testing.assert_close(1 - 2 * r, torch.tanh(query + keys), rtol=0, atol=1e-15)
