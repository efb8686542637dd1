"""The language model, its loss, and how it is evaluated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seq2seq.tasks.generation.config import LanguageModelConfig
from seq2seq.tasks.generation.model import LanguageModel
from seq2seq.tasks.generation.objectives import LanguageLoss
from seq2seq.tasks.generation.perplexity import Cache, Dynamic, evaluate
from seq2seq.tasks.generation.text import Corpus
from seq2seq.text.vocabulary import END

V = 11


def make(**options) -> LanguageModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "embedding_size": 8, "init_range": 0.6}
    return LanguageModel(LanguageModelConfig(**{**sizes, **options}), V)


def ids(*shape, seed=1):
    return torch.randint(2, V, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh", "relu"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_carried_state_goes_on_where_it_was(cell, layer_norm):
    model = make(cell=cell, layer_norm=layer_norm, zoneout_hidden=0.1).eval()
    tokens = ids(3, 10)
    whole = model(tokens)
    first = model(tokens[:, :4])
    second = model(tokens[:, 4:], first.state)
    torch.testing.assert_close(second.vectors, whole.vectors[:, 4:])
    for one, two in zip(second.state.hidden, whole.state.hidden, strict=True):
        torch.testing.assert_close(one, two)
    assert len(whole.state.cell) == (2 if cell == "lstm" else 0)


def test_a_window_leaves_its_activations_behind():
    """What is carried holds no graph, so that no window is kept for the next."""
    state = make()(ids(3, 10)).state
    assert all(part.requires_grad for parts in state for part in parts)
    assert not any(part.requires_grad for parts in state.detach() for part in parts)


def test_a_reset_begins_anew():
    model = make().eval()
    tokens = ids(2, 9)
    resets = torch.zeros(2, 9, dtype=torch.bool)
    resets[1, 5] = True
    found = model(tokens, None, resets)
    torch.testing.assert_close(found.vectors[0], model(tokens[:1]).vectors[0])
    torch.testing.assert_close(found.vectors[1, 5:], model(tokens[1:, 5:]).vectors[0])


def test_tied_embeddings_are_one_matrix_and_the_top_layer_as_wide():
    model = make(tied_embeddings=True, layers=3)
    assert model.projection.weight is model.embedding.weight
    assert [layer.hidden_size for layer in model.layers] == [12, 12, 8]


@pytest.mark.parametrize(
    "name",
    [
        "embedding_dropout",
        "input_dropout",
        "hidden_dropout",
        "output_dropout",
        "recurrent_dropout",
        "weight_dropout",
        "zoneout_hidden",
        "zoneout_cell",
    ],
)
def test_every_regulariser_works_in_training_alone(name):
    plain, model = make(), make(**{name: 0.5})
    model.load_state_dict(plain.state_dict())
    tokens = ids(4, 7)
    torch.manual_seed(1)
    one, two = model(tokens).vectors, model(tokens).vectors
    assert not torch.equal(one, two)
    if not name.startswith("zoneout"):  # which stays, as its expectation
        torch.testing.assert_close(model.eval()(tokens).vectors, plain.eval()(tokens).vectors)


def test_variational_dropout_is_the_same_at_every_step():
    model = make(output_dropout=0.5, dropout_kind="variational")
    found = model(ids(4, 7))
    dropped = (found.vectors == 0) & (found.raw != 0)
    assert dropped.any() and torch.equal(dropped, dropped[:, :1].expand_as(dropped))


def test_the_loss_with_activation_regularisation():
    model = make(output_dropout=0.5)
    tokens, targets = ids(3, 6), ids(3, 6, seed=2)
    torch.manual_seed(5)
    loss, cross, _ = LanguageLoss(model, 0.0, activation=2.0, temporal=3.0)(tokens, targets)
    torch.manual_seed(5)
    found = model(tokens)
    logits = model.projection(found.vectors).flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum")
    torch.testing.assert_close(cross, expected)
    expected = expected + 18 * 2.0 * found.vectors.pow(2).mean()
    expected = expected + 18 * 3.0 * (found.raw[:, 1:] - found.raw[:, :-1]).pow(2).mean()
    torch.testing.assert_close(loss, expected)
    model.eval()
    loss, cross, _ = LanguageLoss(model, 0.0, 2.0, 3.0).eval()(tokens, targets)
    torch.testing.assert_close(loss, cross)


# --------------------------------------------------------------------------------- evaluation


def corpus(*pieces, documents=False) -> Corpus:
    arrays = [np.asarray(piece, np.int32) for piece in pieces]
    return Corpus(arrays, documents, characters=sum(map(len, arrays)), words=7)


def nll(model, piece) -> float:
    tokens = torch.as_tensor(np.asarray(piece))[None]
    logits = model.eval().projection(model(tokens[:, :-1]).vectors)[0]
    return -logits.log_softmax(1)[range(len(piece) - 1), tokens[0, 1:]].sum().item()


def test_stateful_evaluation_is_that_of_the_whole_text():
    model, piece = make(), ids(700).numpy()
    found = evaluate(model, corpus(piece, piece[:9]))
    assert found.tokens == 699 + 8
    assert found.total == pytest.approx(nll(model, piece) + nll(model, piece[:9]), rel=1e-5)
    assert found.word_perplexity == pytest.approx(math.exp(found.total / 7))
    assert model.training is False  # as it was


def test_stretches_side_by_side_give_nearly_the_same():
    model, piece = make(init_range=0.3), ids(700).numpy()
    exact = evaluate(model, corpus(piece))
    found = evaluate(model, corpus(piece), rows=8, warm_up=60)
    assert found.tokens == exact.tokens
    assert found.total == pytest.approx(exact.total, rel=1e-4)


def test_cold_windows():
    model, piece = make(), ids(100).numpy()
    found = evaluate(model, corpus(piece), cold_window=30)
    parts = [piece[at : at + 31] for at in range(0, 99, 30)]
    assert found.tokens == 99
    assert found.total == pytest.approx(sum(nll(model, part) for part in parts), rel=1e-5)


def test_documents_begin_anew():
    model, one, two = make(), [END, 5, 6, 7], [END, 8, 9]
    found = evaluate(model, corpus([*one, *two, END], documents=True))
    expected = nll(model, [*one, END]) + nll(model, [*two, END])
    assert found.total == pytest.approx(expected, rel=1e-5)


def test_the_cache_against_its_definition():
    model, piece = make().eval(), ids(40).numpy()
    options = Cache(size=10, weight=0.3, flatness=0.7)
    found = evaluate(model, corpus(piece), cache=options)
    tokens = torch.from_numpy(piece).long()
    hidden = model(tokens[None, :-1]).vectors[0].detach()
    p = model.projection(hidden).softmax(1)
    total = 0.0
    for t in range(39):
        target, own = tokens[t + 1], p[t, tokens[t + 1]].item()
        window = range(max(0, t - 10), t)
        weights = [math.exp(0.7 * float(hidden[t] @ hidden[i])) for i in window]
        same = sum(w for w, i in zip(weights, window, strict=True) if tokens[i + 1] == target)
        mixed = 0.7 * own + 0.3 * same / sum(weights) if weights else own
        total -= math.log(mixed)
    assert found.total == pytest.approx(total, rel=1e-4)


def test_the_cache_helps_where_text_repeats_itself_and_rows_are_apart():
    model = make()
    piece = np.tile(ids(25).numpy(), 12)
    plain = evaluate(model, corpus(piece))
    cached = evaluate(model, corpus(piece), cache=Cache(200, 0.5, 3.0))
    assert cached.total < 0.97 * plain.total
    rows = evaluate(model, corpus(piece), rows=3, warm_up=100, cache=Cache(200, 0.5, 3.0))
    assert rows.tokens == cached.tokens and rows.total < plain.total


def test_dynamic_evaluation_learns_and_leaves_the_weights_as_they_were():
    model = make()
    piece = np.tile(ids(6).numpy(), 80)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = evaluate(model, corpus(piece))
    found = evaluate(model, corpus(piece), dynamic=Dynamic(rate=0.5, decay=0.001, steps=10))
    assert found.tokens == plain.tokens
    assert found.total < 0.8 * plain.total
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    # nothing is learned from a segment before it was scored
    first = evaluate(model, corpus(piece[:11]), dynamic=Dynamic(rate=0.5, steps=10))
    assert first.total == pytest.approx(nll(model, piece[:11]), rel=1e-5)
