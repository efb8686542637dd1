"""Searches in a part of the vocabulary find what searches of all of it find where the rest is
impossible."""

from __future__ import annotations

import pytest
import torch

from seq2seq.decoding import beam_search, narrow
from seq2seq.decoding.drawing import draw_sequences
from seq2seq.decoding.narrow import NarrowModel, Part, Whole
from seq2seq.decoding.sampling import Sampling
from tests.seq2seq.decoding.test_constraints import Tokens
from tests.seq2seq.decoding.toys import BOS, CLOSE, EOS, PAD, ToyRNN, limits

V = 40
SOURCES = [0, 1, 2, 3]


class Masked(ToyRNN):
    """The reference: the whole vocabulary, -inf for what the one source may not be given."""

    def __init__(self, allowed: torch.Tensor) -> None:
        super().__init__(V)
        self.barred = torch.zeros(V).masked_fill(~allowed, -torch.inf)

    def step(self, tokens, state):
        logits, state = super().step(tokens, state)
        return logits + self.barred, state


class Rows(ToyRNN):
    """The same model with the rows of a part alone, as ``narrowed`` weights have them."""

    def __init__(self, part: Part) -> None:
        super().__init__(V)
        self.embedding, self.output = self.embedding[part.ids], self.output[part.ids]


@pytest.fixture(params=[1, 8, 256])
def allowed(request, monkeypatch):
    monkeypatch.setattr(narrow, "_SIZES", request.param)
    draw = torch.Generator().manual_seed(5)
    allowed = torch.rand(len(SOURCES), V, generator=draw) < 0.25  # (B, V)
    allowed[:, [PAD, BOS, EOS]] = True
    return allowed


def searched(allowed, *, beginnings=None, constraints=None, **options):
    part = Part(allowed, torch.device("cpu"))
    toy = Rows(part)
    model = NarrowModel(toy)
    found = beam_search(
        model,
        model.state(toy.start(SOURCES), part),
        sources=len(SOURCES),
        max_lengths=limits(3, 9, 6, 7),
        bos=part.position(BOS),
        eos=part.position(EOS),
        pad=part.position(PAD),
        beginnings=part.beginnings(beginnings),
        constraints=part.constraints(constraints),
        **options,
    )
    return [[part.original(one) for one in some] for some in found]


def reference(allowed, *, beginnings=None, constraints=None, **options):
    found = []
    for i, source in enumerate(SOURCES):
        toy = Masked(allowed[i])
        found += beam_search(
            toy,
            toy.start([source]),
            sources=1,
            max_lengths=limits((3, 9, 6, 7)[i]),
            bos=BOS,
            eos=EOS,
            pad=PAD,
            beginnings=None if beginnings is None else [beginnings[i]],
            constraints=None if constraints is None else [constraints[i]],
            **options,
        )
    return found


def same(found, expected):
    for some, others in zip(found, expected, strict=True):
        assert [one.tokens for one in some] == [one.tokens for one in others]
        for one, other in zip(some, others, strict=True):
            assert one.score == pytest.approx(other.score, **CLOSE)
            assert one.finished == other.finished
            assert (one.attention is None) == (other.attention is None)


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 1},
        {"beam_size": 4, "n_best": 4, "length_penalty": 0.6},
        {"beam_size": 4, "groups": 2, "n_best": 4, "coverage_penalty": 0.3},
        {"beam_size": 3, "no_repeat_ngram": 1, "min_length": 2, "return_attention": True},
        {"beam_size": 60, "n_best": 9},  # wider than what a source may be given
    ],
)
def test_as_if_the_rest_were_impossible(allowed, options):
    same(searched(allowed, **options), reference(allowed, **options))


def test_beginnings_and_constraints_are_in_tokens_of_the_whole(allowed):
    words = [row.nonzero().flatten()[3:].tolist() for row in allowed]  # behind the special ones
    given = {
        "beginnings": [[row[0]] for row in words],
        "constraints": [Tokens([(row[2],)], [(row[1],), (V - 1,)]) for row in words],
        "beam_size": 6,
    }
    found = searched(allowed, **given)
    same(found, reference(allowed, **given))
    for (best, *_), row in zip(found, words, strict=True):
        assert best.tokens[0] == row[0] and row[2] in best.tokens and row[1] not in best.tokens[1:]


def test_drawn_sequences_do_not_depend_on_the_part(allowed):
    part = Part(allowed, torch.device("cpu"))
    toy = Rows(part)
    keys = [[10 * source + n for n in range(5)] for source in SOURCES]
    common = {"options": Sampling(temperature=0.8, top_k=5)}
    tokens = {"bos": part.position(BOS), "eos": part.position(EOS), "pad": part.position(PAD)}
    state = NarrowModel.state(toy.start(SOURCES), part)
    limit = limits(3, 9, 6, 7)
    drawn = draw_sequences(
        NarrowModel(toy), state, keys=keys, max_lengths=limit, **tokens, **common
    )
    for i, source in enumerate(SOURCES):
        masked = Masked(allowed[i])
        (expected,) = draw_sequences(
            masked,
            masked.start([source]),
            keys=[keys[i]],
            max_lengths=limit[i : i + 1],
            bos=BOS,
            eos=EOS,
            pad=PAD,
            **common,
        )
        found = [part.original(one) for one in drawn[i]]
        assert [one.tokens for one in found] == [one.tokens for one in expected]


def test_rows_may_leave_and_repeat_in_any_number(allowed):
    part = Part(allowed, torch.device("cpu"))
    toy = Rows(part)
    model = NarrowModel(toy)
    state = model.state(toy.start(SOURCES), part)
    sources = list(range(len(SOURCES)))
    for index in ([0, 0, 2, 3], [0, 2, 2, 3], [1, 2], [0, 1, 1]):
        sources = [sources[i] for i in index]
        state = model.reorder(state, torch.tensor(index))
        logits, state = model.step(torch.zeros(len(index), dtype=torch.long), state)
        assert torch.equal(logits.isneginf(), part.barred[sources].isneginf())
    assert sources == [2, 2, 2] and state.each == 3 and len(state.barred) == 1


def test_the_whole_vocabulary_changes_nothing():
    whole = Whole()
    assert whole.position(7) == 7 and whole.beginnings([[1]]) == [[1]]
    assert whole.constraints(None) is None


def test_a_part_is_filled_up_to_a_round_number(monkeypatch):
    monkeypatch.setattr(narrow, "_SIZES", 16)
    allowed = torch.zeros(2, V, dtype=torch.bool)
    allowed[0, [3, 30]] = allowed[1, [30, 39]] = True
    part = Part(allowed, torch.device("cpu"))
    assert len(part.ids) == 16 and part.ids.tolist() == sorted(part.ids.tolist())
    assert (part.barred == 0).sum(1).tolist() == [2, 2]
    monkeypatch.setattr(narrow, "_SIZES", 64)
    assert len(Part(allowed, torch.device("cpu")).ids) == V
