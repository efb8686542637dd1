"""Words from characters: padding and the words beside change nothing."""

from __future__ import annotations

import pytest
import torch

from seq2seq.config.layers import CharacterConfig
from seq2seq.layers.character_words import CharacterWords


def make(kind):
    torch.manual_seed(0)
    config = CharacterConfig(kind=kind, embedding_size=3, hidden_size=4, width=3)
    return CharacterWords(config, 9).double()


@pytest.mark.parametrize("kind", ["lstm", "gru", "cnn"])
def test_a_word_alone_and_beside_longer_ones(kind):
    layer = make(kind)
    characters, lengths = torch.randint(0, 9, (3, 7)), torch.tensor([2, 7, 1])
    vectors = layer(characters, lengths)
    assert vectors.shape == (3, layer.size)
    for row, length in enumerate(lengths.tolist()):
        alone = layer(characters[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(alone[0], vectors[row])
    changed = characters.clone()
    changed[0, 2:] = 1
    torch.testing.assert_close(layer(changed, lengths), vectors)


@pytest.mark.parametrize("kind", ["lstm", "cnn"])
def test_gradients(kind):
    layer = make(kind)
    characters, lengths = torch.randint(0, 9, (2, 4)), torch.tensor([4, 2])
    weight = layer.embedding.weight.detach().clone().requires_grad_()

    def of_weight(weight):
        return torch.func.functional_call(
            layer, {"embedding.weight": weight}, (characters, lengths)
        )

    assert torch.autograd.gradcheck(of_weight, weight)


def test_a_convolution_is_the_largest_over_places():
    layer = make("cnn")
    characters = torch.tensor([[1, 2]])
    x = layer.embedding(characters)[0]  # (2, 3)
    padded = torch.cat([x.new_zeros(1, 3), x, x.new_zeros(1, 3)])
    windows = torch.stack([padded[place : place + 3].T for place in range(2)])  # (2, 3, width)
    scores = torch.einsum("pew,dew->pd", windows, layer.layer.weight) + layer.layer.bias
    torch.testing.assert_close(layer(characters, torch.tensor([2]))[0], scores.relu().amax(0))
