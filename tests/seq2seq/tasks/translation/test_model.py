"""The translation model: teacher forcing and stepping agree, for every shape of model."""

from __future__ import annotations

import itertools

import pytest
import torch

from kernels.backend import use_backend
from seq2seq.config.layers import DecoderConfig, EncoderConfig
from seq2seq.errors import UsageError
from seq2seq.layers.dropout import dropout_mask
from seq2seq.tasks.translation.config import ModelConfig
from seq2seq.tasks.translation.model import TranslationModel

CELLS = ("lstm", "gru", "tanh", "relu")
ATTENTIONS = ("additive", "dot", "scaled_dot", "general", "concat", "none")


def make(words=(11, 13), seed=0, **options) -> TranslationModel:
    encoder = EncoderConfig(
        cell=options.pop("cell", "lstm"),
        layers=options.pop("encoder_layers", 1),
        hidden_size=4,
        residual=options.get("residual", False),
        layer_norm=options.get("layer_norm", False),
    )
    decoder = DecoderConfig(
        cell=options.pop("decoder_cell", encoder.cell),
        layers=options.pop("layers", 1),
        hidden_size=8,
        attention=options.pop("attention", "additive"),
        attention_size=options.pop("attention_size", None),
        input_feeding=options.pop("input_feeding", True),
        residual=options.pop("residual", False),
        layer_norm=options.pop("layer_norm", False),
    )
    torch.manual_seed(seed)
    config = ModelConfig(
        encoder, decoder, embedding_size=6, dropout=options.pop("dropout", 0.0), init_range=0.4,
        **options,
    )  # fmt: skip
    return TranslationModel(config, *words).double()


def batch(words=(11, 13), seed=1):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([5, 2, 1])
    source = torch.randint(4, words[0], (3, 5), generator=generator)
    source[torch.arange(5) >= lengths.unsqueeze(1)] = 0
    target = torch.randint(4, words[1], (3, 4), generator=generator)
    target[:, 0] = 2
    return source, lengths, target


def assert_stepping_equals_teacher_forcing(model: TranslationModel) -> None:
    model.eval()
    source, lengths, target = batch()
    with torch.no_grad():
        expected = model.projection(model(source, lengths, target))  # (B, T, V)
        state = model.start((source, lengths))
        for t in range(target.shape[1]):
            logits, state = model.step(target[:, t], state)
            torch.testing.assert_close(logits, expected[:, t], rtol=1e-10, atol=1e-12)
            if state.attention is not None:
                torch.testing.assert_close(state.attention.sum(1), torch.ones(3).double())


@pytest.mark.parametrize(("cell", "attention"), list(itertools.product(CELLS, ATTENTIONS)))
def test_every_cell_and_attention(cell, attention):
    assert_stepping_equals_teacher_forcing(make(cell=cell, attention=attention))


@pytest.mark.parametrize(
    "options",
    [
        {"input_feeding": False},
        {"input_feeding": False, "attention": "none"},
        {"bridge": "zero"},
        {"bridge": "copy"},
        {"layers": 3, "encoder_layers": 2, "residual": True},
        {"layers": 2, "encoder_layers": 3, "layer_norm": True},
        {"layers": 2, "encoder_layers": 3, "bridge": "copy", "cell": "gru"},
        {"tied_embeddings": "target"},
        {"attention_size": 3},
        {"cell": "gru", "decoder_cell": "lstm"},
        {"cell": "lstm", "decoder_cell": "gru"},
    ],
)
def test_every_option(options):
    assert_stepping_equals_teacher_forcing(make(**options))


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("feeding", [True, False])
def test_every_parameter_gets_a_gradient(attention, feeding):
    model = make(
        attention=attention, input_feeding=feeding, layers=2, encoder_layers=2, layer_norm=True,
        dropout=0.2, dropout_kind="variational", embedding_dropout=0.1,
    )  # fmt: skip
    source, lengths, target = batch()
    model.projection(model(source, lengths, target)).square().sum().backward()
    unread = ("encoder.norms.1",) if attention == "none" else ()  # only attention reads the outputs
    for name, parameter in model.named_parameters():
        if not name.startswith(unread or ("-",)):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_backends_agree_on_loss_gradients():
    model = make(layers=2, encoder_layers=2)
    source, lengths, target = batch()
    gradients = []
    for backend in ("reference", "torch"):
        with use_backend(backend):
            loss = model.projection(model(source, lengths, target)).square().sum()
            gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_padding_and_company_change_nothing():
    model = make(encoder_layers=2).eval()
    source, lengths, target = batch()
    together = model(source, lengths, target)
    for row, length in enumerate(lengths.tolist()):
        alone = model(source[row : row + 1, :length], lengths[row : row + 1], target[row : row + 1])
        torch.testing.assert_close(together[row], alone[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("attention", ["additive", "general", "none"])
@pytest.mark.parametrize(
    "index",
    [
        [0, 0, 1, 1, 2, 2],  # two hypotheses each
        [2, 2, 2],  # sources leave
        [2, 0, 1],  # another order
        [1, 0, 0],  # unequal numbers
        [],
    ],
)
def test_reorder_moves_whole_hypotheses(attention, index):
    """Whatever the order, row i goes on as row index[i] would have."""
    model = make(attention=attention, layers=2).eval()
    source, lengths, target = batch()
    with torch.no_grad():
        _, state = model.step(target[:, 0], model.start((source, lengths)))
        expected, _ = model.step(target[:, 1], state)
        rows = torch.tensor(index, dtype=torch.long)
        moved = model.reorder(state, rows)
        found, after = model.step(target[:, 1][rows], moved)
        torch.testing.assert_close(found, expected[rows], rtol=1e-10, atol=1e-12)
        again, _ = model.step(target[:, 2][rows], model.reorder(after, torch.arange(len(rows))))
        assert again.shape == (len(rows), 13)


def test_hypotheses_share_the_memory_of_their_source():
    model = make().eval()
    source, lengths, _ = batch()
    state = model.start((source, lengths))
    grown = model.reorder(state, torch.arange(3).repeat_interleave(5))
    assert grown.memory.keys is state.memory.keys
    assert model.reorder(grown, torch.arange(5, 10)).memory.keys.shape[0] == 1


def test_tied_embeddings_are_one_parameter():
    model = make(words=(13, 13), tied_embeddings="all")
    assert model.projection.weight is model.source_embedding.weight
    assert model.target_embedding.weight is model.source_embedding.weight
    names = [name for name, _ in model.named_parameters() if "embedding" in name or "proj" in name]
    assert names == ["source_embedding.weight", "projection.bias"]


def test_dropout_is_off_in_evaluation_and_on_in_training():
    model = make(dropout=0.5, layers=2)
    source, lengths, target = batch()
    assert not torch.equal(model(source, lengths, target), model(source, lengths, target))
    model.eval()
    assert torch.equal(model(source, lengths, target), model(source, lengths, target))


def test_dropout_masks_keep_the_expectation():
    torch.manual_seed(0)
    like = torch.zeros((), dtype=torch.float64)
    mask = dropout_mask((1000, 333), 0.3, like)
    assert mask.dtype == torch.float64 and mask.shape == (1000, 333)
    values = mask.unique()
    assert len(values) == 2 and values[0] == 0
    assert values[1] == pytest.approx(1 / 0.7, rel=1e-4)
    # the mean of n draws has standard deviation sqrt(0.3 / 0.7 / n); five of them
    assert abs(mask.mean() - 1) < 5 * (0.3 / 0.7 / mask.numel()) ** 0.5
    # each of the four draws from one 64-bit number
    for quarter in range(4):
        share = (mask.flatten()[quarter::4] > 0).double().mean()
        assert abs(share - 0.7) < 5 * (0.21 / (mask.numel() / 4)) ** 0.5
    both = (mask.flatten()[:-1] > 0) & (mask.flatten()[1:] > 0)  # neighbours are independent
    assert abs(both.double().mean() - 0.49) < 0.005


@pytest.mark.parametrize("rate", [1e-7, 1 - 1e-7])
def test_dropout_masks_at_both_ends(rate):
    mask = dropout_mask((50, 50), rate, torch.zeros(()))
    assert torch.isfinite(mask).all()
    assert abs((mask > 0).float().mean() - (1 - rate)) < 0.01


def test_variational_dropout_uses_one_mask_for_all_steps():
    model = make(dropout=0.5, dropout_kind="variational", input_feeding=False)
    source, lengths, target = batch()
    dropped = model(source, lengths, target) == 0  # (B, T, A)
    assert dropped.any() and not dropped.all()
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bridge": "copy", "layers": 2}, "bridge: 'copy'"),
        ({"bridge": "copy", "cell": "gru", "decoder_cell": "lstm"}, "no cell state to copy"),
        ({"tied_embeddings": "all"}, "tied_embeddings: 'all' needs one vocabulary"),
    ],
)
def test_sizes_that_do_not_fit_name_the_key(options, message):
    with pytest.raises(UsageError, match=message):
        make(**options)


def test_dot_attention_needs_equal_sizes():
    config = ModelConfig(
        EncoderConfig(hidden_size=4), DecoderConfig(hidden_size=6, attention="dot")
    )
    with pytest.raises(UsageError, match="'dot' multiplies decoder states"):
        TranslationModel(config, 9, 9)
