"""Products on the CPU by either library, and tanh by oneDNN."""

from __future__ import annotations

import pytest
import torch

from kernels.common import products
from kernels.common.elementwise import tanh

EPS = torch.finfo(torch.float32).eps
needs_onednn = pytest.mark.skipif(not products._has_onednn(), reason="torch without oneDNN")


@pytest.fixture(params=["blas", pytest.param("onednn", marks=needs_onednn)])
def library(request, monkeypatch):
    monkeypatch.setenv("KERNELS_CPU_PRODUCTS", request.param)
    products.library.cache_clear()
    yield request.param
    products.library.cache_clear()


def operands(rows, inner, columns, dtype=torch.float32):
    """Plain, transposed, and cut out of a larger matrix."""
    draw = torch.Generator().manual_seed(rows)

    def layouts(m, n):
        return (
            torch.randn(m, n, generator=draw).to(dtype),
            torch.randn(n, m, generator=draw).to(dtype).t(),
            torch.randn(m, n + 9, generator=draw).to(dtype)[:, 4 : 4 + n],
            torch.randn(n, m + 9, generator=draw).to(dtype)[:, 4 : 4 + m].t(),
        )

    for x in layouts(rows, inner):
        for w in layouts(inner, columns):
            yield x, w


def assert_product(found, x, w, added=0.0):
    """Each sum of K products is off by at most K roundings of the sum of their sizes."""
    x, w = x.double(), w.double()
    bound = (len(w) + 2) * EPS * (x.abs() @ w.abs() + abs(added))
    assert ((found.double() - x @ w - added).abs() <= bound).all()


@pytest.mark.parametrize(
    "shape", [(1, 70, 40), (64, 128, 160), (0, 5, 7), (3, 0, 5), (90, 200, 64)]
)
def test_products(library, shape):
    assert products.library() == library
    for x, w in operands(*shape):
        assert_product(products.product(x, w), x, w)
        out = torch.full((shape[0], shape[2]), float("nan"))
        assert products.product_into(out, x, w) is out
        assert_product(out, x, w)
        sums = torch.ones(shape[0], shape[2])
        assert products.add_product(sums, x, w) is sums
        assert_product(sums, x, w, 1.0)
        bias = torch.full((shape[2],), 2.0)
        assert_product(products.linear(x, w.t(), bias), x, w, 2.0)
        both = torch.stack([x, 2 * x])
        out = torch.empty(2, shape[0], shape[2])
        products.products_into(out, both, torch.stack([w, w]))
        assert_product(out[1], 2 * x, w)
        products.add_products(out, both, torch.stack([w, w]))
        assert_product(out[1], 4 * x, w)


@needs_onednn
@pytest.mark.filterwarnings("ignore:TF32")
def test_onednn_is_called_for_large_float32_products_alone(monkeypatch):
    calls = []
    run = products._onednn
    monkeypatch.setattr(products, "_onednn", lambda *a: calls.append(a) or run(*a))
    monkeypatch.setenv("KERNELS_CPU_PRODUCTS", "onednn")
    products.library.cache_clear()
    large, small = torch.randn(128, 128), torch.randn(8, 8)
    products.product(large, large)
    assert len(calls) == 1
    products.product(small, small)
    products.product(large.double(), large.double())
    products.product(large.bfloat16(), large.bfloat16())
    products.product(torch.randn(1, 2048), torch.randn(2048, 2048))  # BLAS is the faster one
    with torch.backends.mkldnn.flags(enabled=False):
        products.product(large, large)
    assert len(calls) == 1
    products.library.cache_clear()


@needs_onednn
@pytest.mark.parametrize("shape", [(64, 256), (256, 1024)])
def test_a_row_does_not_depend_on_how_many_there_are(monkeypatch, shape):
    """A single row is summed in another order and may differ by rounding; if oneDNN is chosen."""
    monkeypatch.setenv("KERNELS_CPU_PRODUCTS", "auto")
    products.library.cache_clear()
    if products.library() != "onednn":
        pytest.skip("float32 products are the BLAS's on this processor")
    w = torch.randn(shape)
    x = torch.randn(200, shape[0])
    every = products._onednn(x, w.t(), None)
    for rows in (2, 3, 5, 16, 17, 64, 130):
        assert torch.equal(products._onednn(x[:rows], w.t(), None), every[:rows])
    products.library.cache_clear()


def test_which_library(monkeypatch):
    def chosen(amd, capability, asked="", there=True):
        monkeypatch.setattr(products, "is_amd", lambda: amd)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        monkeypatch.setattr(products, "_has_onednn", lambda: there)
        monkeypatch.setenv("KERNELS_CPU_PRODUCTS", asked)
        products.library.cache_clear()
        return products.library()

    assert chosen(True, "AVX512") == chosen(False, "AVX512", "onednn") == "onednn"
    assert chosen(False, "AVX512") == chosen(True, "AVX2") == chosen(True, "AVX512", "blas")
    assert chosen(True, "AVX512", there=False) == "blas"
    with pytest.raises(RuntimeError, match="found 'onednn', which"):
        chosen(True, "AVX512", "onednn", there=False)
    with pytest.raises(ValueError, match="found 'mkl'; expected one of auto"):
        chosen(True, "AVX512", "mkl")
    products.library.cache_clear()


@pytest.mark.parametrize("rough", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [100, 1 << 12, 1 << 15])
def test_tanh(rough, dtype, count):
    """Within two roundings of its own size, also near zero; rough: of 1."""
    sizes = torch.logspace(-8, 1.5, count // 2, dtype=torch.float64)
    x = torch.cat([sizes, -sizes]).to(dtype)
    truth = torch.tanh(x.double())
    eps = torch.finfo(dtype).eps
    bound = 2 * eps * (1 if rough and dtype == torch.float32 else truth.abs())
    out = torch.empty_like(x)
    assert tanh(x, out, rough) is out
    assert ((out.double() - truth).abs() <= bound).all()
    wide = torch.zeros(4, count // 2).to(dtype)
    part = wide[:, : count // 4].copy_(x.view(4, -1))
    assert torch.equal(tanh(part, part, rough), out.view(4, -1)) or count < 1 << 14
    edges = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0]).to(dtype)
    found = tanh(edges.repeat(count // 4 + 1), torch.empty((count // 4 + 1) * 4).to(dtype), rough)
    torch.testing.assert_close(found[:4], torch.tanh(edges), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inference_meets_few_numbers_of_rows(library, dtype, monkeypatch):
    """Rows are filled up; the sums of those that were given are the same, up to their order."""
    seen = set()

    def counted(call):
        def wrapped(x, *others):
            seen.add(len(x))
            return call(x, *others)

        return wrapped

    draw = torch.Generator().manual_seed(1)
    weight, bias = (torch.randn(*size, generator=draw).to(dtype) for size in ((160, 128), (160,)))
    inputs = [torch.randn(rows, 128, generator=draw).to(dtype) for rows in range(65, 257, 7)]
    plain = [products.linear(x, weight, bias) for x in inputs]
    monkeypatch.setattr(products, "_onednn", counted(products._onednn))
    linear = counted(torch.nn.functional.linear)
    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    with torch.inference_mode():
        found = [products.linear(x, weight, bias) for x in inputs]
    for one, other in zip(found, plain, strict=True):
        # sums of 128 products of size 1, in float32; bfloat16 keeps 8 bits of the result
        exact = dtype == torch.float32
        rtol, atol = (1e-5, 1e-4) if exact else (2**-7, 2**-6)
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)
    filled = {128, 192, 256}
    assert seen == filled or (library == "blas" and dtype == torch.float32 and len(seen) > 20)
