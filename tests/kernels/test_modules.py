"""RNN, GRU, LSTM and the cells beside torch.nn, and what they have beyond it."""

import copy
import inspect
import pickle

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import kernels
from kernels.backend import interpreted

SEQUENCE = ["RNN", "GRU", "LSTM"]
CELLS = ["RNNCell", "GRUCell", "LSTMCell"]
BOUND = {torch.float32: 200 * torch.finfo(torch.float32).eps, torch.float64: 1e-12}


def pair(name, *sizes, **options):
    """The module of torch.nn and ours with the same weights, in float64."""
    theirs = getattr(torch.nn, name)(*sizes, dtype=torch.float64, **options)
    ours = getattr(kernels, name)(*sizes, dtype=torch.float64, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def flat(state):
    return list(state) if isinstance(state, tuple) else [state]


def start(name, *shape):
    state = tuple(torch.randn(*shape, dtype=torch.float64) for _ in range(2))
    return state if name.startswith("LSTM") else state[0]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def check_gradients(ours, theirs, results, their_results):
    sum((r**2).sum() for r in results).backward()
    sum((r**2).sum() for r in their_results).backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", SEQUENCE)
def test_outputs_states_and_gradients_of_torch_nn(name, bias, batch_first, bidirectional):
    torch.manual_seed(0)
    theirs, ours = pair(
        name, 3, 5, num_layers=2, bias=bias, batch_first=batch_first, bidirectional=bidirectional
    )
    inputs = torch.randn(4, 6, 3, dtype=torch.float64)  # B or T first, as the option says
    state = start(name, 4 if bidirectional else 2, 6 if not batch_first else 4, 5)
    for initial in (None, state):
        (y, last), (their_y, their_last) = ours(inputs, initial), theirs(inputs, initial)
        assert_same([y, *flat(last)], [their_y, *flat(their_last)])
    check_gradients(ours, theirs, [y, *flat(last)], [their_y, *flat(their_last)])


def test_relu():
    theirs, ours = pair("RNN", 3, 5, nonlinearity="relu")
    inputs = torch.randn(4, 2, 3, dtype=torch.float64)
    assert_same(ours(inputs), theirs(inputs))


@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize("name", SEQUENCE)
def test_packed_sequences(name, enforce_sorted):
    torch.manual_seed(1)
    theirs, ours = pair(name, 3, 5, num_layers=2, bidirectional=True)
    lengths = torch.tensor([6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4])
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)
    packed = pack_padded_sequence(inputs, lengths, enforce_sorted=enforce_sorted)
    state = start(name, 4, 4, 5)
    (y, last), (their_y, their_last) = ours(packed, state), theirs(packed, state)
    assert torch.equal(y.batch_sizes, their_y.batch_sizes)
    assert_same([y.data, *flat(last)], [their_y.data, *flat(their_last)])
    assert_same([pad_packed_sequence(y)[0]], [pad_packed_sequence(their_y)[0]])
    check_gradients(ours, theirs, [y.data, *flat(last)], [their_y.data, *flat(their_last)])


@pytest.mark.parametrize("name", SEQUENCE)
def test_lengths_are_packing_without_the_packing(name):
    torch.manual_seed(2)
    theirs, ours = pair(name, 3, 5, num_layers=2, bidirectional=True, batch_first=True)
    lengths = torch.tensor([2, 6, 1])
    inputs = torch.randn(3, 6, 3, dtype=torch.float64)
    y, last = ours(inputs, lengths=lengths)
    packed, their_last = theirs(
        pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    )
    assert_same([y, *flat(last)], [pad_packed_sequence(packed, True)[0], *flat(their_last)])


@pytest.mark.parametrize("name", SEQUENCE)
def test_one_sequence_without_a_batch(name):
    theirs, ours = pair(name, 3, 5, bidirectional=True)
    inputs = torch.randn(6, 3, dtype=torch.float64)
    state = start(name, 2, 5)
    (y, last), (their_y, their_last) = ours(inputs, state), theirs(inputs, state)
    assert_same([y, *flat(last)], [their_y, *flat(their_last)])


@pytest.mark.parametrize("name", SEQUENCE + CELLS)
def test_constructor_and_state_dict_are_those_of_torch_nn(name):
    theirs, ours = getattr(torch.nn, name), getattr(kernels, name)
    module, other = ours(3, 5), theirs(3, 5)
    assert list(module.state_dict()) == list(other.state_dict())
    other.load_state_dict(module.state_dict(), strict=True)
    module.load_state_dict(other.state_dict(), strict=True)
    if name in CELLS:
        positional = [p for p in inspect.signature(theirs).parameters if p != "self"]
        mine = inspect.signature(ours).parameters
        assert [p for p in mine if mine[p].kind != inspect.Parameter.KEYWORD_ONLY] == positional


def test_positional_arguments_as_in_torch_nn():
    arguments = (3, 5, 2, True, True, 0.5, True)
    assert repr(kernels.LSTM(*arguments)) == repr(torch.nn.LSTM(*arguments))
    assert repr(kernels.GRU(*arguments)) == repr(torch.nn.GRU(*arguments))
    assert kernels.RNN(3, 5, 2, "relu", False, True).batch_first


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_cells(name, bias):
    theirs, ours = pair(name, 3, 5, bias=bias)
    inputs = torch.randn(4, 3, dtype=torch.float64)
    for initial in (None, start(name, 4, 5)):
        mine, other = flat(ours(inputs, initial)), flat(theirs(inputs, initial))
        assert_same(mine, other)
    check_gradients(ours, theirs, mine, other)
    single = start(name, 5)
    assert_same(flat(ours(inputs[0], single)), flat(theirs(inputs[0], single)))


@pytest.mark.parametrize("name", SEQUENCE)
def test_cells_and_layers_agree_with_every_option(name):
    torch.manual_seed(3)
    options = {"layer_norm": True, "zoneout": (0.2, 0.4)}
    layer = getattr(kernels, name)(3, 5, **options).eval()
    cell = getattr(kernels, name + "Cell")(3, 5, **options).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    inputs, state, outputs = torch.randn(6, 4, 3), None, []
    for x in inputs:
        state = cell(x, state)
        outputs.append(flat(state)[0])
    bound = BOUND[torch.float32]
    torch.testing.assert_close(layer(inputs)[0], torch.stack(outputs), rtol=bound, atol=bound)


def test_plain_modules_have_no_parameters_of_options():
    assert len(kernels.LSTM(3, 4).state_dict()) == 4
    assert len(kernels.LSTM(3, 4, layer_norm=True).state_dict()) == 8
    assert set(kernels.GRU(3, 4, layer_norm=True, bias=False).state_dict()) == {
        "weight_ih_l0",
        "weight_hh_l0",
        "gain_ih_l0",
        "gain_hh_l0",
    }


def test_layer_norm_takes_each_gate_by_itself():
    # With W_ih of huge scale in one gate, the others must not change.
    torch.manual_seed(4)
    lstm = kernels.LSTM(3, 4, layer_norm=True, dtype=torch.float64)
    inputs = torch.randn(5, 2, 3, dtype=torch.float64)
    before = lstm(inputs)[0]
    with torch.no_grad():
        lstm.weight_ih_l0[4:8] *= 1000  # scale of one gate: normalised away but for epsilon
    torch.testing.assert_close(lstm(inputs)[0], before, rtol=1e-2, atol=1e-3)
    assert (before.abs() > 0.01).any()


def test_layer_norm_derivatives():
    torch.manual_seed(5)
    lstm = kernels.LSTM(2, 3, layer_norm=True, dtype=torch.float64)
    inputs = torch.randn(3, 2, 2, dtype=torch.float64)
    names = [name for name, _ in lstm.named_parameters()]

    def function(*parameters):
        return torch.func.functional_call(
            lstm, dict(zip(names, parameters, strict=True)), (inputs,)
        )[0]

    assert torch.autograd.gradcheck(function, list(lstm.parameters()))


def test_zoneout():
    torch.manual_seed(6)
    gru = kernels.GRU(3, 64, zoneout=0.75, batch_first=True)
    inputs = torch.randn(2, 40, 3)
    outputs, _ = gru(inputs)
    kept = (outputs[:, 1:] == outputs[:, :-1]).float().mean().item()
    assert abs(kept - 0.75) < 0.05  # 5000 draws: about 8 standard deviations
    # At inference the expectation: h' = z*h + (1-z)*new.
    gru.eval()
    plain = kernels.GRU(3, 64, batch_first=True)
    plain.load_state_dict(gru.state_dict())
    torch.testing.assert_close(gru(inputs[:, :1])[0], 0.25 * plain(inputs[:, :1])[0])
    assert torch.equal(gru(inputs)[0], gru(inputs)[0])


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_recurrent_dropout_has_one_mask_per_sequence(backend):
    torch.manual_seed(7)
    rnn = kernels.RNN(4, 4, bias=False, recurrent_dropout=0.5, batch_first=True)
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(torch.eye(4))
        rnn.weight_hh_l0.copy_(torch.eye(4))
    with kernels.use_backend(backend):
        outputs, _ = rnn(torch.full((64, 3, 4), 0.1))
    # A masked unit shows tanh(0.1) at every step, another grows at every step.
    low = torch.isclose(outputs, torch.full_like(outputs, 0.1).tanh())
    assert torch.equal(low[:, 1], low[:, 2])
    assert 0.35 < low[:, 1].float().mean() < 0.65
    rnn.eval()
    assert not torch.isclose(rnn(torch.full((1, 3, 4), 0.1))[0][:, 1:], torch.tensor(0.1)).any()


def test_weight_dropout_is_on_in_training_only():
    torch.manual_seed(8)
    lstm = kernels.LSTM(3, 8, weight_dropout=0.5)
    inputs = torch.randn(5, 2, 3)
    first, second = lstm(inputs)[0], lstm(inputs)[0]
    assert torch.equal(first[0], second[0])  # no recurrent product has mattered yet
    assert not torch.equal(first, second)
    lstm.eval()
    plain = torch.nn.LSTM(3, 8)
    plain.load_state_dict(lstm.state_dict())
    bound = BOUND[torch.float32]
    torch.testing.assert_close(lstm(inputs)[0], plain(inputs)[0], rtol=bound, atol=bound)


@pytest.mark.parametrize("name", SEQUENCE)
def test_resets_cut_a_sequence_in_two(name):
    torch.manual_seed(9)
    ours = getattr(kernels, name)(3, 5, 2, batch_first=True, dtype=torch.float64)
    inputs = torch.randn(2, 6, 3, dtype=torch.float64)
    resets = torch.zeros(2, 6, dtype=torch.bool)
    resets[0, 4] = True
    outputs, _ = ours(inputs, resets=resets)
    torch.testing.assert_close(outputs[:1, :4], ours(inputs[:1, :4])[0])
    torch.testing.assert_close(outputs[:1, 4:], ours(inputs[:1, 4:])[0])
    torch.testing.assert_close(outputs[1:], ours(inputs[1:])[0])


@pytest.mark.parametrize("name", SEQUENCE)
def test_recomputing_changes_no_result(name):
    torch.manual_seed(11)
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64, "layer_norm": True}
    keeps = getattr(kernels, name)(3, 5, **options)
    makes = getattr(kernels, name)(3, 5, **options, recompute=True)
    makes.load_state_dict(keeps.state_dict())
    inputs = torch.randn(4, 2, 3, dtype=torch.float64)
    y, other = keeps(inputs)[0], makes(inputs)[0]
    assert torch.equal(y, other)
    check_gradients(makes, keeps, [other], [y])
    assert "recompute=True" in repr(makes)


def test_dropout_between_layers_only():
    torch.manual_seed(10)
    gru = kernels.GRU(3, 5, 1, dropout=0.9)
    inputs = torch.randn(4, 2, 3)
    assert torch.equal(gru(inputs)[0], gru(inputs)[0])
    deep = kernels.GRU(3, 5, 2, dropout=0.9)
    assert not torch.equal(deep(inputs)[0], deep(inputs)[0])
    deep.eval()
    assert torch.equal(deep(inputs)[0], deep(inputs)[0])


@pytest.mark.parametrize("name", SEQUENCE + CELLS)
def test_copies_pickles_and_casts(name):
    module = getattr(kernels, name)(3, 5, layer_norm=True)
    inputs = torch.randn(2, 4, 3) if name in SEQUENCE else torch.randn(4, 3)
    expected = flat(module(inputs))[0]
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(flat(other(inputs))[0], expected)
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        cast = copy.deepcopy(module).to(dtype)
        result = flat(cast(inputs.to(dtype)))[0]
        assert result.dtype == dtype
        assert (result.double() - expected.double()).norm() <= (
            8 * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
        ) * expected.double().norm()
    assert next(module.to("meta").parameters()).device.type == "meta"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_size": 6}, "proj_size: found 6; expected .* below hidden_size, 5"),
        ({"hidden_size": 0}, "hidden_size: found 0"),
        ({"dropout": 1.5}, "dropout: found 1.5"),
        ({"recurrent_dropout": 1.0}, "recurrent_dropout: found 1.0"),
        ({"zoneout": (0.1, 0.2, 0.3)}, "zoneout: found"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        kernels.LSTM(**{"input_size": 3, "hidden_size": 5, **options})


def test_wrong_inputs_are_named():
    lstm, inputs = kernels.LSTM(3, 5, batch_first=True), torch.zeros(2, 4, 3)
    state = torch.zeros(1, 2, 5)
    cases = [
        ((torch.zeros(2, 4, 2),), {}, "input: found 2 features; expected 3"),
        ((torch.zeros(3),), {}, "input: found 1 dimensions"),
        ((inputs, state), {}, "hx: expected a pair"),
        ((inputs, (state, state[:, :1])), {}, "hx: found shape"),
        ((inputs[0], (state, state)), {}, "hx: found 3 dimensions"),
        ((inputs[0],), {"lengths": torch.tensor([2])}, "lengths: found with a 2-D input"),
        ((inputs,), {"lengths": torch.tensor([2, 5])}, "lengths: found values"),
        ((inputs,), {"resets": torch.zeros(2, 4)}, "resets: found torch.float32"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            lstm(*arguments, **options)
    packed = pack_padded_sequence(inputs, torch.tensor([4, 2]), batch_first=True)
    with pytest.raises(ValueError, match="lengths: found with a PackedSequence"):
        lstm(packed, lengths=torch.tensor([4, 2]))
    with pytest.raises(ValueError, match="nonlinearity: found 'sine'"):
        kernels.RNN(3, 5, nonlinearity="sine")
    with pytest.raises(ValueError, match="hx: found shape"):
        kernels.GRUCell(3, 5)(torch.zeros(2, 3), torch.zeros(1, 5))


def test_autocast_gives_float32():
    lstm = kernels.LSTM(8, 8, 2, bidirectional=True, batch_first=True)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, (hidden, cell) = lstm(torch.randn(2, 3, 8), lengths=torch.tensor([3, 1]))
    assert {outputs.dtype, hidden.dtype, cell.dtype} == {torch.float32}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("backend", ["torch", "triton", "reference"])
def test_gradients_add_up_over_batches(kind, backend):
    """Gradients that shared memory would be counted twice (and clipped twice)."""
    if backend == "triton" and not torch.cuda.is_available() and not interpreted():
        pytest.skip("needs a GPU or Triton's interpreter")
    torch.manual_seed(0)
    ours = getattr(kernels, kind)(5, 6, 2, batch_first=True, bidirectional=True)
    batches, single = torch.randn(2, 3, 4, 5), []
    with kernels.use_backend(backend):
        for batch in batches:
            ours.zero_grad()
            ours(batch)[0].square().sum().backward()
            single.append([p.grad.clone() for p in ours.parameters()])
        ours.zero_grad()
        for batch in batches:
            ours(batch)[0].square().sum().backward()
    for parameter, first, second in zip(ours.parameters(), *single, strict=True):
        torch.testing.assert_close(parameter.grad, first + second)


def test_a_cell_computes_the_nonlinearity_it_was_last_set_to():
    ours, theirs = kernels.RNNCell(3, 4), torch.nn.RNNCell(3, 4)
    ours.load_state_dict(theirs.state_dict())
    inputs = torch.randn(2, 3)
    for name in ("relu", "tanh"):
        ours.nonlinearity = theirs.nonlinearity = name
        torch.testing.assert_close(ours(inputs), theirs(inputs))
        assert ("nonlinearity=relu" in repr(ours)) == (name == "relu")
    with pytest.raises(ValueError, match="nonlinearity: found 'gelu'"):
        ours.nonlinearity = "gelu"


@pytest.mark.parametrize(
    ("name", "options"), [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})]
)
def test_mode_is_that_of_torch(name, options):
    ours, theirs = (getattr(package, name)(3, 4, **options) for package in (kernels, torch.nn))
    assert ours.mode == theirs.mode
