"""Embeddings from vectors, and pooling: padding changes nothing, and the equations hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq.layers.dropout import hide_words
from seq2seq.layers.embedding import WordEmbedding
from seq2seq.layers.pooling import KINDS, Pooling
from seq2seq.text.vectors import Table


def make(kinds, size=4):
    torch.manual_seed(1)
    return Pooling(kinds, size, 3).double()


def test_pooling_reads_nothing_past_a_length():
    pooling = make(KINDS)
    outputs = torch.randn(3, 6, 4, dtype=torch.float64)
    lengths, final = torch.tensor([6, 2, 0]), torch.randn(3, 4, dtype=torch.float64)
    final[2] = 0
    vectors, weights = pooling(outputs, lengths, final)
    assert vectors.shape == (3, pooling.size) == (3, 16)
    changed = outputs.clone()
    changed[1, 2:], changed[2] = 1e6, -1e6
    assert torch.equal(pooling(changed, lengths, final)[0], vectors)
    alone, own = pooling(outputs[1:2, :2], lengths[1:2], final[1:2])
    torch.testing.assert_close(alone[0], vectors[1])
    torch.testing.assert_close(own[0], weights[1, :2])
    assert not vectors[2].any() and not weights[2].any()


def test_the_equations():
    pooling = make(KINDS)
    outputs, final = torch.randn(1, 5, 4, dtype=torch.float64), torch.randn(1, 4).double()
    vectors, weights = pooling(outputs, torch.tensor([5]), final)
    last, mean, most, attended = vectors.split(4, -1)
    assert torch.equal(last, final)
    torch.testing.assert_close(mean, outputs.mean(1))
    assert torch.equal(most, outputs.amax(1))
    scores = torch.tanh(outputs @ pooling.hidden.weight.T + pooling.hidden.bias)
    expected = (scores @ pooling.query.weight.T).softmax(1)  # (1, 5, 1)
    torch.testing.assert_close(weights, expected[..., 0])
    torch.testing.assert_close(attended, (expected * outputs).sum(1))


def test_scores_without_gradients_are_the_same():
    torch.manual_seed(0)
    pooling = Pooling(["attention"], 64)
    outputs, final = torch.randn(32, 40, 64), torch.randn(32, 64)
    lengths = torch.randint(1, 41, (32,))
    expected = pooling(outputs, lengths, final)
    with torch.inference_mode():
        found = pooling(outputs, lengths, final)
    # sums of 64 products of about 1/8 each, in another order: some 64 roundings of 6e-8
    torch.testing.assert_close(found[0], expected[0].detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], expected[1].detach(), atol=1e-5, rtol=1e-5)


def test_gradients():
    pooling = make(KINDS)
    outputs = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    final = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([3, 2])
    assert torch.autograd.gradcheck(lambda a, b: pooling(a, lengths, b)[0], (outputs, final))


@pytest.mark.parametrize("kinds", [[], ["sum"], ["mean", "mean"]])
def test_wrong_kinds(kinds):
    with pytest.raises(ValueError, match="expected some of last"):
        Pooling(kinds, 4)


def test_an_embedding_begins_with_vectors_and_keeps_some():
    table = Table(np.arange(10, dtype=np.float32).reshape(5, 2), np.array([0, 1, 1, 1, 1], bool))
    torch.manual_seed(0)
    embedding = WordEmbedding(3, 2, kept=2)
    embedding.begin_with(table)
    ids = torch.tensor([[1, 4], [3, 2]])
    vectors = embedding(ids)
    assert vectors.tolist() == [[[2, 3], [8, 9]], [[6, 7], [4, 5]]]
    vectors.sum().backward()
    assert embedding.weight.grad.tolist() == [[0, 0], [1, 1], [1, 1]]
    assert set(embedding.state_dict()) == {"weight", "kept"}
    assert embedding.weight[0].abs().max() < 10  # of no vector: drawn, of the others' spread
    frozen = WordEmbedding(3, 2, frozen=True)
    assert not frozen(torch.tensor([1])).requires_grad and set(frozen.state_dict()) == {"weight"}


def test_words_are_hidden_in_training_only():
    tokens = torch.arange(1000).view(10, 100) + 5
    assert torch.equal(hide_words(tokens, 0.5, 0, training=False), tokens)
    torch.manual_seed(0)
    hidden = hide_words(tokens, 0.3, 0, training=True)
    share = float((hidden == 0).float().mean())
    assert 0.24 < share < 0.36  # 4 standard deviations of 1,000 draws
    assert bool(((hidden == tokens) | (hidden == 0)).all())
