"""Diverse beam search, against the method written down for one source."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from seq2seq.decoding import Hypothesis, beam_search
from seq2seq.errors import UsageError
from tests.seq2seq.decoding.toys import BOS, CLOSE, EOS, IDS, PAD, A, ToyRNN, limits, table_beam

LIMIT = 5


def diverse(model: ToyRNN, sources: list[int], size: int, groups: int, **options) -> list:
    return beam_search(
        model, model.start(sources), sources=len(sources), beam_size=size, groups=groups,
        max_lengths=limits(*[LIMIT] * len(sources)), **IDS, **{"n_best": size, **options},
    )  # fmt: skip


def by_hand(model: ToyRNN, source: int, size: int, groups: int, strength: float) -> list:
    """The finished hypotheses of all groups, for patience 1 and no length penalty."""
    each = size // groups
    live = [[([], 0.0, model.start([source]), BOS)] for _ in range(groups)]
    done: list[list[tuple]] = [[] for _ in range(groups)]
    for step in range(LIMIT + 1):
        taken: dict[int, int] = {}
        for group in range(groups):
            if not live[group]:
                continue
            every = []
            for row, (tokens, log_p, state, last) in enumerate(live[group]):
                logits, after = model.step(torch.tensor([last]), state)
                for token, gain in enumerate(logits.float().log_softmax(1)[0].tolist()):
                    if token not in (PAD, BOS):
                        rank = log_p + gain - strength * taken.get(token, 0)
                        every.append((-rank, row, token, log_p + gain, tokens, after))
            every.sort(key=lambda one: one[:3])
            done[group] += [(one[4], one[3]) for one in every[:each] if one[2] == EOS]
            going = [one for one in every if one[2] != EOS][:each]
            for _, _, token, *_ in going:
                taken[token] = taken.get(token, 0) + 1
            live[group] = [
                ([*tokens, token], log_p, state, token)
                for _, _, token, log_p, tokens, state in going
            ]
            if len(done[group]) >= each or step == LIMIT:
                live[group] = []
    return [sorted(one, key=lambda pair: -pair[1])[:each] for one in done]


@pytest.mark.parametrize(("size", "groups"), [(4, 2), (6, 3), (3, 3), (8, 2)])
@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_it_is_the_method_written_down(size: int, groups: int, strength: float) -> None:
    model = ToyRNN(seed=5)
    # n_best for all: no group stops by the bound before its patience has run out
    found = diverse(model, [0, 1, 2], size, groups, diversity=strength, length_penalty=0.0)
    for source, beam in enumerate(found):
        expected = [
            one for group in by_hand(model, source, size, groups, strength) for one in group
        ]
        expected.sort(key=lambda pair: -pair[1])
        expected = [one for n, one in enumerate(expected) if one not in expected[:n]]
        finished = [one for one in beam if one.finished]
        assert [one.tokens for one in finished] == [tokens for tokens, _ in expected]
        assert [one.log_probability for one in finished] == pytest.approx(
            [log_p for _, log_p in expected], **CLOSE
        )


def test_what_each_group_finds_stands_once() -> None:
    model = ToyRNN(seed=5)
    found = diverse(model, [0, 1], 6, 3, diversity=0.0)
    plain = diverse(model, [0, 1], 2, 1)
    for three, one in zip(found, plain, strict=True):
        assert [h.tokens for h in three] == [h.tokens for h in one]


def test_a_source_alone_and_among_others() -> None:
    model = ToyRNN(seed=5)
    together = diverse(model, list(range(6)), 6, 2, return_attention=True, no_repeat_ngram=2)
    for source, beam in enumerate(together):
        (alone,) = diverse(model, [source], 6, 2, return_attention=True, no_repeat_ngram=2)
        assert [h.tokens for h in alone] == [h.tokens for h in beam]
        assert [h.score for h in alone] == [h.score for h in beam]
        assert all(torch.equal(h.attention, g.attention) for h, g in zip(alone, beam, strict=True))


def test_strength_brings_other_first_tokens() -> None:
    model = ToyRNN(seed=5)
    options = {"n_best": 3, "min_length": 2}
    first = [{one.tokens[0] for one in beam} for beam in diverse(model, [0, 1, 2], 3, 3, **options)]
    apart = diverse(model, [0, 1, 2], 3, 3, diversity=100.0, **options)
    assert all(len({one.tokens[0] for one in beam}) == 3 for beam in apart)
    assert sum(map(len, first)) < 9


def test_n_best_takes_from_every_group_and_no_hypothesis_twice() -> None:
    model = ToyRNN(seed=5)
    lengths = set()
    for source, n_best in itertools.product(range(6), range(1, 7)):
        (beam,) = diverse(model, [source], 6, 3, n_best=n_best)
        assert len({tuple(h.tokens) for h in beam}) == len(beam) <= n_best
        lengths.add(n_best - len(beam))
        assert beam == sorted(beam, key=lambda h: (not h.finished, -h.score))
    assert min(lengths) == 0 < max(lengths)  # fewer where groups agree and found nothing else


def test_wrong_groups() -> None:
    model = ToyRNN()
    with pytest.raises(UsageError, match="beam_size is 5, which 2 groups cannot share"):
        diverse(model, [0], 5, 2)
    with pytest.raises(UsageError, match="groups is 0"):
        diverse(model, [0], 4, 0)
    with pytest.raises(UsageError, match="diversity is nan"):
        diverse(model, [0], 4, 2, diversity=math.nan)


def test_a_small_vocabulary_runs_dry() -> None:
    found = table_beam({"else": {A: 1.0}}, 4, limit=2, groups=2, n_best=4)
    assert all(isinstance(one, Hypothesis) and one.tokens == [A, A] for one in found)
