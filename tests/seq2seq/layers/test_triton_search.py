"""Search whose steps are Triton's kernels gives what PyTorch's operators give; here in Triton's
interpreter."""

from __future__ import annotations

import pytest
import torch

from kernels import use_backend
from kernels.decoder.triton_backend.step import launch
from seq2seq.decoding import beam_search
from seq2seq.layers import decoder_search
from tests.seq2seq.tasks.translation.test_model import batch, make

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IDS = {"bos": 2, "eos": 3, "pad": 0}


def search(model, source, lengths, backend, beam_size):
    with use_backend(backend), torch.no_grad():
        return beam_search(
            model, model.start((source, lengths)), sources=len(source), beam_size=beam_size,
            max_lengths=lengths + 4, n_best=beam_size, source_lengths=lengths,
            return_attention=True, **IDS,
        )  # fmt: skip


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "gru", "attention": "scaled_dot", "layers": 2, "residual": True},
        {"attention": "general", "input_feeding": False, "layer_norm": True},
        {"cell": "tanh", "attention": "none"},
    ],
    ids=["lstm", "gru", "not fed", "no attention"],
)
def test_the_same_text_on_both_backends(options, beam_size, monkeypatch):
    launches, bind = [], launch.STEP.bind

    def counted(*arguments):
        launches.append(arguments)
        return bind(*arguments)

    monkeypatch.setattr(launch.STEP, "bind", counted)
    model = make(**options).float().eval().to(DEVICE)
    source, lengths, _ = (t.to(DEVICE) for t in batch())
    expected = search(model, source, lengths, "torch", beam_size)
    assert not launches
    found = search(model, source, lengths, "triton", beam_size)
    longest = max(len(h.tokens) for own in found for h in own)
    assert len(launches) >= longest > 1
    for ours, theirs in zip(found, expected, strict=True):
        assert [h.tokens for h in ours] == [h.tokens for h in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.score == pytest.approx(b.score, rel=1e-4, abs=1e-4)
            if a.attention is not None:
                torch.testing.assert_close(a.attention, b.attention, rtol=1e-4, atol=1e-5)


def test_a_large_vocabulary_keeps_its_embedding(monkeypatch):
    """Its sums would take more room than they are worth; the kernel then reads the rows it needs of
    the embedding itself."""
    model = make().float().eval().to(DEVICE)
    source, lengths, _ = (t.to(DEVICE) for t in batch())
    texts = []
    for largest in (1 << 28, 0):
        monkeypatch.setattr(decoder_search, "_LARGEST_TABLE", largest)
        with use_backend("triton"):
            assert model.decoding_weights().summed == bool(largest)
        found = search(model, source, lengths, "triton", 2)
        texts.append([[h.tokens for h in own] for own in found])
    assert texts[0] == texts[1]
