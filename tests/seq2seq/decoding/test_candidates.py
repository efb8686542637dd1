"""The tokens that a step chooses from, and what search refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seq2seq.decoding import beam_search, greedy_search
from seq2seq.decoding.candidates import (
    BLOCK,
    best_of_sources,
    block_maxima,
    candidates,
    scan,
    top_tokens,
)
from seq2seq.errors import RunError, UsageError
from tests.seq2seq.decoding.toys import (
    BOS,
    EOS,
    IDS,
    PAD,
    ToyRNN,
    ToyState,
    limits,
)

# --- the vocabulary -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 7, 4 * BLOCK * 6, 40 * BLOCK + 17, 8000])
@pytest.mark.parametrize("kind", ["normal", "few values", "all equal", "mostly impossible"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_top_tokens_are_those_of_a_stable_sort(width: int, kind: str, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(width)
    logits = torch.randn(9, width, generator=draw).to(dtype)
    if kind == "few values":
        logits = logits.mul(2).round()
    elif kind == "all equal":
        logits = torch.zeros_like(logits)
    elif kind == "mostly impossible":
        logits[:, : width - width // 8] = -math.inf
    count = min(5, width)
    values, tokens = top_tokens(logits, 5, block_maxima(logits))
    expected = logits.sort(dim=1, descending=True, stable=True)
    kept = expected.values[:, :count]
    assert torch.equal(values.sort(dim=1, descending=True).values, kept)
    assert torch.equal(logits.gather(1, tokens), values)
    if kind != "mostly impossible" or width >= 4 * BLOCK:  # which -inf comes back is open
        assert torch.equal(tokens, expected.indices[:, :count].sort(dim=1).values)


@pytest.mark.parametrize("width", [1, 7, 40, 4 * BLOCK, 40 * BLOCK + 17, 4096])
@pytest.mark.parametrize("kind", ["normal", "few values", "all equal", "mostly impossible"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 5])
def test_the_best_of_sources_are_those_of_all_their_rows(width, kind, dtype, rows) -> None:
    draw = torch.Generator().manual_seed(width)
    logits = torch.randn(3 * rows, width, generator=draw).to(dtype)
    log_p = -torch.randn(3, rows, generator=draw).abs()
    log_p[1, rows // 2 + 1 :] = -math.inf  # fewer hypotheses than rows
    if kind == "few values":
        logits, log_p = logits.mul(2).round(), log_p.round()
    elif kind == "all equal":
        logits, log_p = torch.zeros_like(logits), torch.zeros_like(log_p)
    elif kind == "mostly impossible":
        logits[:, : width - width // 8] = -math.inf
        logits[:, -1] = 1.0
    for count, barred in ((10, {PAD, BOS}), (2, {PAD, BOS, EOS}), (1, set()), (6, {width + 3})):
        before = logits.clone()
        total, token, row, sound = best_of_sources(logits, log_p, count, barred=frozenset(barred))
        assert torch.equal(logits, before) and bool(sound.all())
        single = logits.float()
        gains = single - scan(logits)[1]
        gains[:, [one for one in barred if one < width]] = -math.inf
        every = (log_p.unsqueeze(2) + gains.view(3, rows, width)).flatten(1)
        expected = every.sort(dim=1, descending=True, stable=True)
        kept = min(count, every.shape[1])
        assert torch.equal(total[:, :kept], expected.values[:, :kept])
        there = total > -math.inf  # which -inf comes back is open
        assert bool((total[:, kept:] == -math.inf).all())
        place = row * width + token
        assert torch.equal(place[:, :kept][there[:, :kept]],
                           expected.indices[:, :kept][there[:, :kept]])  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [50, 3000])
def test_log_probabilities_are_those_of_log_softmax(dtype: torch.dtype, width: int) -> None:
    logits = (30 * torch.randn(6, width, generator=torch.Generator().manual_seed(1))).to(dtype)
    before = logits.clone()
    log_p, tokens, sound = candidates(
        logits, 5, eos=EOS, forbidden=frozenset({PAD, BOS}), allow_eos=True
    )
    expected = logits.double().log_softmax(1).gather(1, tokens)
    open_ = ~torch.isin(tokens, torch.tensor([PAD, BOS]))
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    tolerance = 8 * torch.finfo(exact).eps * 100  # values up to about 100
    torch.testing.assert_close(log_p[open_].double(), expected[open_], rtol=0, atol=tolerance)
    assert log_p[~open_].eq(-math.inf).all()
    assert sound.all()
    assert torch.equal(logits, before)  # the model's own memory


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize("shift", [0.0, 500.0, -500.0])
def test_the_normaliser_neither_overflows_nor_vanishes(size: float, shift: float) -> None:
    draw = torch.Generator().manual_seed(7)
    logits = size * torch.randn(40, 5000, generator=draw) + shift
    logits[3, :4990] = -math.inf
    maxima, normaliser = scan(logits)
    assert torch.equal(maxima.amax(1), logits.amax(1))
    expected = logits.double().logsumexp(1, keepdim=True)
    torch.testing.assert_close(normaliser.double(), expected, rtol=2e-6, atol=2e-6)


def test_a_batch_may_come_in_low_precision_and_strided() -> None:
    class Strided(ToyRNN):
        def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
            logits, state = super().step(tokens, state)
            state.attention = state.attention.bfloat16()
            return logits.bfloat16().t().contiguous().t(), state

    model = Strided(vocabulary=300)
    found = beam_search(
        model, model.start([0, 1, 2]), sources=3, beam_size=4, max_lengths=limits(5, 6, 7),
        coverage_penalty=0.1, **IDS,
    )  # fmt: skip
    assert all(math.isfinite(source[0].score) for source in found)


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [math.nan, math.inf, None])
@pytest.mark.parametrize("beam_size", [1, 3])
def test_logits_without_probabilities(damage: float | None, beam_size: int) -> None:
    class Damaged(ToyRNN):
        def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
            logits, state = super().step(tokens, state)
            if len(self.rows) == 2:
                if damage is None:
                    logits[-1] = -math.inf
                else:
                    logits[-1, 4] = damage
            return logits, state

    model = Damaged()
    with pytest.raises(RunError, match=r"source 2 .* step 2: .*\(NaN"):
        beam_search(
            model, model.start([0, 1, 2]), sources=3, beam_size=beam_size, min_length=3,
            max_lengths=limits(5, 5, 5), **IDS,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("beam_size", 0),
        ("n_best", 0),
        ("n_best", 4),
        ("min_length", -1),
        ("no_repeat_ngram", -2),
        ("coverage_penalty", -0.1),
        ("length_penalty", math.nan),
        ("length_penalty", 50.0),
        ("patience", -1.0),
    ],
)
def test_options_out_of_range(option: str, value: float) -> None:
    model = ToyRNN()
    options = {"sources": 1, "beam_size": 3, "max_lengths": limits(4), **IDS, option: value}
    with pytest.raises(UsageError, match=f"{option} is {value}"):
        beam_search(model, model.start([0]), **options)


def test_arguments_that_do_not_fit() -> None:
    model = ToyRNN()
    options = {"sources": 2, "beam_size": 3, "max_lengths": limits(4, 4), **IDS}
    wrong = [
        ({"max_lengths": limits(4)}, r"max_lengths has shape \(1,\); .* \(2,\)"),
        ({"max_lengths": limits(4, -1)}, r"max_lengths\[1\] is -1"),
        ({"max_lengths": torch.ones(2)}, "max_lengths holds torch.float32"),
        ({"source_lengths": limits(4)}, "source_lengths has shape"),
        ({"eos": 6}, "eos is token 6, but the model's vocabulary has 6"),
        ({"sources": -1}, "sources is -1"),
    ]
    for change, message in wrong:
        with pytest.raises(ValueError, match=message):
            beam_search(model, model.start([0, 1]), **(options | change))

    class Deep(ToyRNN):
        def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
            logits, state = super().step(tokens, state)
            return torch.stack([logits, logits], 1), state

    with pytest.raises(ValueError, match=r"logits of shape \(2, 2, 6\); .* \(2, V\)"):
        beam_search(Deep(), model.start([0, 1]), **options)


def test_the_result_can_be_used_outside_of_the_search() -> None:
    model = ToyRNN()
    options = {"sources": 1, "max_lengths": limits(4), "return_attention": True, **IDS}
    attention = greedy_search(model, model.start([0]), **options)[0].attention
    weight = torch.ones(4, requires_grad=True)
    (attention * weight).sum().backward()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("width", [5, 63, 8001])
def test_a_row_sums_to_the_same_wherever_it_stands(width: int) -> None:
    logits = 3 * torch.randn(37, width, generator=torch.Generator().manual_seed(2))
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            together = scan(logits)[1]
            assert torch.equal(together, torch.cat([scan(row.unsqueeze(0))[1] for row in logits]))
    finally:
        torch.set_num_threads(threads)
