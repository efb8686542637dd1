"""Ensembles: the mean of probabilities, searched like one model."""

from __future__ import annotations

import math

import pytest
import torch

from seq2seq.decoding import beam_search
from seq2seq.decoding.ensemble import Ensemble, log_mean
from seq2seq.errors import UsageError
from tests.seq2seq.decoding.toys import CLOSE, EOS, IDS, ToyRNN, follow, limits


def search(models: list[ToyRNN], sources: list[int], **options) -> list:
    ensemble = Ensemble(models)
    state = ensemble.state([model.start(sources) for model in models])
    lengths = limits(*[6] * len(sources))
    return beam_search(
        ensemble, state, sources=len(sources), beam_size=3, n_best=3, max_lengths=lengths,
        **IDS, **options,
    )  # fmt: skip


def test_scores_are_the_mean_of_probabilities() -> None:
    models = [ToyRNN(vocabulary=9, seed=seed) for seed in (1, 2, 3)]
    found = search(models, list(range(5)), return_attention=True)
    assert {one.finished for beam in found for one in beam} == {True, False}
    for source, beam in enumerate(found):
        for one in beam:
            followed = [follow(model, source, one.tokens) for model in models]
            mean = torch.stack([log_p.exp() for log_p, _ in followed]).mean(0).log()
            given = [*one.tokens, EOS] if one.finished else one.tokens
            expected = [mean[t, token].item() for t, token in enumerate(given)]
            assert one.token_scores == pytest.approx(expected, **CLOSE)
            attention = torch.stack([weights for _, weights in followed]).mean(0)
            torch.testing.assert_close(one.attention, attention[: len(given)])


def test_one_model_or_the_same_twice_changes_nothing() -> None:
    model = ToyRNN(vocabulary=9, seed=1)
    alone = search([model], [0, 1, 2])
    for one, other in zip(alone, search([model, model], [0, 1, 2]), strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in other]
        expected = [h.log_probability for h in one]
        assert [h.log_probability for h in other] == pytest.approx(expected, **CLOSE)


def test_a_source_does_not_depend_on_its_batch() -> None:
    models = [ToyRNN(vocabulary=9, seed=seed) for seed in (4, 5)]
    together = search(models, list(range(7)))
    assert together == [search(models, [source])[0] for source in range(7)]


def test_attention_is_that_of_the_models_that_have_one() -> None:
    models = [ToyRNN(seed=1), ToyRNN(seed=2, attention=False)]
    ((one, *_),) = search(models, [0], return_attention=True)
    _, expected = follow(models[0], 0, one.tokens)
    torch.testing.assert_close(one.attention, expected[: len(one.attention)])
    ((one, *_),) = search([models[1]], [0], return_attention=True)
    assert one.attention is None
    with pytest.raises(UsageError, match="coverage_penalty needs a model with attention"):
        search([models[1]], [0], coverage_penalty=0.2)


def test_log_mean_of_what_is_impossible_unlikely_or_no_number() -> None:
    inf, nan = math.inf, math.nan
    log_ps = [torch.tensor([-inf, -inf, -300.0, nan, 0.0]), torch.tensor([-inf, 0, -301, 0, nan])]
    found = log_mean(log_ps)
    assert found[0] == -inf and found[3].isnan() and found[4].isnan()
    expected = [-math.log(2), -300 + math.log((1 + math.exp(-1)) / 2)]
    assert found[1:3].tolist() == pytest.approx(expected, rel=1e-6)


def test_wrong_use() -> None:
    with pytest.raises(UsageError, match="an ensemble of no models"):
        Ensemble([])
    with pytest.raises(UsageError, match=r"vocabularies of \[9, 6\] tokens"):
        search([ToyRNN(vocabulary=9), ToyRNN(vocabulary=6)], [0])
