"""Devices by name: whatever accelerator torch finds, and none that is not there."""

from __future__ import annotations

import pytest
import torch

from seq2seq.decoding.sampling import draw, keep_top_p
from seq2seq.errors import UsageError
from seq2seq.precision import device_named, resolve_precision
from seq2seq.training.optimizers import mixed_precision


@pytest.fixture
def machine(monkeypatch):
    """Pretends that torch finds ``count`` devices of a kind."""

    def pretend(kind, count=1):
        found = None if kind is None else torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: found)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize("kind", ["mps", "cuda", "xpu"])
def test_the_accelerator_there_is(machine, kind):
    machine(kind)
    assert device_named("auto") == device_named(kind) == torch.device(kind)
    assert device_named("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match=rf"device {kind}:1: not there .{kind} devices found: 1"):
        device_named(f"{kind}:1")


def test_no_accelerator(machine):
    machine(None)
    assert device_named("auto") == torch.device("cpu")
    for name in ("mps", "cuda", "cuda:0"):
        with pytest.raises(UsageError, match=r"not there .* devices found: 0"):
            device_named(name)
        with pytest.raises(UsageError, match=f"training.device is {name!r}"):
            mixed_precision("auto", name)


@pytest.mark.parametrize("name", ["meta", "gpu", "mps:x"])
def test_what_is_no_device_here(machine, name):
    machine("mps")
    with pytest.raises(UsageError, match="expected auto, cpu, cuda, cuda:N, mps or xpu"):
        device_named(name)


def test_apple_multiplies_in_float32(machine):
    machine("mps")
    assert resolve_precision("auto", torch.device("mps")) == "fp32"
    assert mixed_precision("auto", "mps") == "no"
    assert mixed_precision("bf16", "mps") == "bf16"


def test_the_same_tokens_without_float64(monkeypatch):
    logits, uniform = torch.randn(20, 9), torch.rand(20, 1, dtype=torch.float64)
    expected = draw(logits, uniform)
    kept = keep_top_p(logits, 0.7)
    monkeypatch.setattr("kernels.common.precision.WITHOUT_FLOAT64", ("cpu",))
    assert torch.equal(draw(logits, uniform), expected)
    assert torch.equal(keep_top_p(logits, 0.7), kept)
