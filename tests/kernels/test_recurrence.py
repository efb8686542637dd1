"""kernels.recurrence: the reference against derivatives, the torch backend against it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import bidirectional_recurrence, recurrence, use_backend
from kernels.common.gates import GATES
from kernels.recurrence.reference import GateNorm
from tests.kernels.recurrences import (
    KINDS,
    assert_close,
    bound,
    call,
    make,
    options_of,
    relative,
    run,
)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_reference_derivatives(kind, reverse):
    arguments = make(kind, 3, 3, 2, 3)
    mask = torch.tensor([[2.0, 0, 2], [0, 2, 2], [2, 2, 0]], dtype=torch.float64)

    def function(*tensors):
        results = recurrence(
            **dict(zip(arguments, tensors, strict=True)),
            kind=kind,
            reverse=reverse,
            lengths=torch.tensor([3, 0, 2]),
            hidden_mask=mask,
        )
        return tuple(r for r in results if r is not None)

    with use_backend("reference"):
        assert torch.autograd.gradcheck(function, [t.requires_grad_() for t in arguments.values()])


@pytest.mark.parametrize("kind", KINDS)
def test_torch_backend_derivatives_twice(kind):
    arguments = make(kind, 2, 3, 2, 2)

    def function(*tensors):
        named = dict(zip(arguments, tensors, strict=True))
        results = recurrence(**named, kind=kind, lengths=torch.tensor([3, 1]))
        return tuple(r for r in results if r is not None)

    tensors = [t.requires_grad_() for t in arguments.values()]
    with use_backend("torch"):
        assert torch.autograd.gradcheck(function, tensors)
        assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize("lengths", [None, [7, 0, 3, 1, 7], [0, 0, 0, 0, 0], [2, 2, 1, 3, 1]])
@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_torch_backend_equals_reference(kind, directions, lengths, dtype):
    arguments = make(kind, 5, 7, 3, 5, directions=directions)
    lengths = None if lengths is None else torch.tensor(lengths)
    truth = run("reference", arguments, kind=kind, lengths=lengths)
    found = run("torch", arguments, dtype, kind=kind, lengths=lengths)
    assert_close(found, truth, bound(dtype, 7))


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_with_options(kind):
    # With few units the deviation may be near 0, and n(x) then has large derivatives.
    arguments = make(kind, 3, 3, 2, 16, norm=True)
    options = {"kind": kind, "lengths": torch.tensor([3, 0, 2]), **options_of(kind, 3, 3, 16, 0)}
    found = []
    for backend in ("reference", "torch"):
        tensors = {k: v.clone().requires_grad_() for k, v in arguments.items()}
        leaves = list(tensors.values())
        with use_backend(backend):
            outputs, *_ = call(tensors, **options)
            first = torch.autograd.grad(
                outputs.square().sum(), leaves, create_graph=True, allow_unused=True
            )
            total = sum(g.square().sum() for g in first if g is not None)
            found.append(torch.autograd.grad(total, leaves, materialize_grads=True))
    assert_close(found[1], found[0], 3 * bound(torch.float64, 3))  # three passes, each rounds


BYTES = {  # of a sequence, step and unit: products', states' and float32 elements
    "lstm": (4, 1, 1),
    "gru": (4, 1, 0),
    "tanh": (1, 1, 0),
}


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("kind", BYTES)
def test_what_is_kept_for_the_backward_pass(kind, backend, dtype, norm):
    """The table in the docstring of ``recurrence``, counted."""
    batch, steps, size = 2, 3, 5
    arguments = make(kind, batch, steps, 4, size, norm=norm)
    arguments = {k: v.to(dtype).requires_grad_() for k, v in arguments.items()}
    own = {tensor.untyped_storage().data_ptr() for tensor in arguments.values()}
    gates, states, cells = BYTES[kind]
    width = dtype.itemsize
    state_width = width if backend == "triton" else 4
    of_states = states * state_width + cells * 4
    if norm:
        gates += 2 * GATES[kind]
    if backend == "torch" and kind == "tanh":
        gates -= 1  # its state
    lengths = torch.full((batch,), steps)  # with them, it is not oneDNN's layer
    own.add(lengths.untyped_storage().data_ptr())
    for recompute in (False, True):
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with use_backend(backend), hooks:
            outputs, *_ = call(arguments, kind=kind, recompute=recompute, lengths=lengths)
        found = sum(
            size
            for place, size in kept.items()
            if place not in own and place != outputs.untyped_storage().data_ptr()
        )
        per_step = of_states + (0 if recompute else gates * width)
        initial = of_states  # of every sequence
        assert found == batch * size * (steps * per_step + initial)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_recomputing_in_half_precision(kind, norm):
    dtype = torch.float16
    arguments = make(kind, 6, 5, 8, 16, norm=norm)
    truth = run("reference", arguments, kind=kind)
    kept = run("torch", arguments, dtype, kind=kind)
    made = run("torch", arguments, dtype, kind=kind, recompute=True)
    assert_close(made, truth, 8 * torch.finfo(dtype).eps)
    assert_close(kept, truth, 8 * torch.finfo(dtype).eps)
    results = 3 if kind == "lstm" else 2
    assert all(torch.equal(a, b) for a, b in zip(kept[:results], made[:results], strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_reverse_mask_and_its_gradient(kind, lengths):
    arguments = make(kind, 3, 4, 3, 5)
    arguments["hidden_mask"] = make("tanh", 3, 0, 1, 5, seed=5)["hidden"]
    lengths = None if lengths is None else torch.tensor(lengths, dtype=torch.int32)
    options = {"kind": kind, "lengths": lengths, "reverse": True}
    truth = run("reference", arguments, **options)
    assert_close(run("torch", arguments, **options), truth, bound(torch.float64, 4))


@pytest.mark.parametrize("lengths", [None, [4, 0, 3, 1, 4]])
@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("options", ["none", "expectation", "everything"])
@pytest.mark.parametrize("kind", KINDS)
def test_options_equal_the_reference(kind, options, norm, directions, lengths):
    """Zoneout, resets, dropout mask and layer normalisation, with and without recomputing."""
    arguments = make(kind, 5, 4, 3, 6, directions=directions, norm=norm)
    lengths = None if lengths is None else torch.tensor(lengths)
    named = {"kind": kind, "lengths": lengths}
    if options == "expectation":
        named["zoneout"] = (0.1, 0.2)
    if options == "everything":
        mask = make("tanh", 5, 0, 1, 6, seed=5, directions=directions)["hidden"]
        arguments["hidden_mask"] = mask
        named |= options_of(kind, 5, 4, 6, directions)
    truth = run("reference", arguments, **named)
    for dtype in (torch.float64, torch.float32):
        for recompute in (False, True):
            found = run("torch", arguments, dtype, **named, recompute=recompute)
            assert_close(found, truth, bound(dtype, 4))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    batch=st.integers(1, 6),
    steps=st.integers(0, 6),
    features=st.integers(1, 7),
    size=st.integers(1, 9),
    directions=st.sampled_from([0, 2]),
    bias=st.booleans(),
    state=st.booleans(),
    data=st.data(),
)
def test_any_shape(kind, batch, steps, features, size, directions, bias, state, data):
    lengths = data.draw(
        st.none()
        | st.lists(st.integers(0, steps), min_size=batch, max_size=batch).map(torch.tensor)
    )
    arguments = make(
        kind, batch, steps, features, size, bias=bias, state=state, directions=directions
    )
    truth = run("reference", arguments, kind=kind, lengths=lengths)
    found = run("torch", arguments, torch.float32, kind=kind, lengths=lengths)
    assert_close(found, truth, bound(torch.float32, steps))


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_steps_and_no_sequences(kind, backend):
    for batch, steps in ((2, 0), (0, 3)):
        arguments = make(kind, batch, steps, 3, 4)
        outputs, hidden, *_ = run(backend, arguments, kind=kind)
        assert outputs.shape == (batch, steps, 4)
        assert torch.equal(hidden, arguments["hidden"])


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_may_hold_anything(kind, backend):
    arguments = make(kind, 3, 4, 2, 3)
    lengths = torch.tensor([4, 2, 0])
    clean = run(backend, arguments, kind=kind, lengths=lengths)
    dirty = {**arguments, "inputs": arguments["inputs"].clone()}
    dirty["inputs"][1, 2:] = float("nan")
    dirty["inputs"][2] = float("inf")
    for a, b in zip(run(backend, dirty, kind=kind, lengths=lengths), clean, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_is_the_same_alone_and_in_a_batch(kind):
    arguments = make(kind, 4, 6, 3, 5)
    lengths = torch.tensor([3, 6, 0, 5])
    with use_backend("torch"):
        outputs, hidden, _ = recurrence(**arguments, kind=kind, lengths=lengths)
        for row, length in enumerate(lengths.tolist()):
            own = {k: v[row : row + 1] for k, v in arguments.items() if v.size(0) == 4}
            own["inputs"] = own["inputs"][:, :length]
            alone, last, _ = recurrence(**{**arguments, **own}, kind=kind)
            torch.testing.assert_close(outputs[row, :length], alone[0])
            torch.testing.assert_close(hidden[row], last[0])
            assert not outputs[row, length:].any()


def test_non_contiguous_arguments():
    arguments = make("lstm", 4, 5, 3, 6)
    truth = run("torch", arguments, kind="lstm")
    strided = {k: v.mT.contiguous().mT if v.dim() > 1 else v for k, v in arguments.items()}
    strided["inputs"] = arguments["inputs"].transpose(0, 1).contiguous().transpose(0, 1)
    strided["bias_ih"] = arguments["bias_ih"].repeat_interleave(2)[::2]
    assert not strided["inputs"].is_contiguous()
    assert_close(run("torch", strided, kind="lstm"), truth, bound(torch.float64, 5))


@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast_stays_near_float64(kind, directions):
    arguments = make(kind, 8, 9, 24, 32, directions=directions)
    lengths = torch.tensor([9, 5, 9, 1, 0, 7, 9, 3])
    truth = run("reference", arguments, kind=kind, lengths=lengths)
    with torch.autocast("cpu", torch.bfloat16):
        found = run("torch", arguments, torch.float32, kind=kind, lengths=lengths)
    # A unit of relu near 0 may round to the other side, which turns its whole gradient on or
    # off: only the results of relu are held to the bound.
    compared = 2 if kind == "relu" else len(truth)
    limit = 2 * torch.finfo(torch.bfloat16).eps
    assert_close(found[:compared], truth[:compared], limit)


def test_autocast_gives_float32_and_rounds_only_the_products():
    arguments = {k: v.float() for k, v in make("lstm", 4, 5, 16, 16).items()}
    with use_backend("torch"):
        exact = recurrence(**arguments)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = recurrence(**{**arguments, "inputs": arguments["inputs"].bfloat16()})
    assert all(tensor.dtype == torch.float32 for tensor in rounded)
    assert 0 < relative(rounded[0], exact[0]) < 2 * torch.finfo(torch.bfloat16).eps
    assert not torch.equal(rounded[2], rounded[2].bfloat16().float())  # the cell keeps 24 bits


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_throughout(dtype):
    arguments = make("gru", 3, 4, 8, 8)
    truth = run("reference", arguments, kind="gru")
    found = run("torch", arguments, dtype, kind="gru")
    assert_close(found, truth, 4 * torch.finfo(dtype).eps)
    cast = {k: v.to(dtype) for k, v in arguments.items()}
    assert all(r.dtype == dtype for r in recurrence(**cast, kind="gru") if r is not None)


def test_without_gradients_the_results_are_the_same():
    arguments = make("gru", 3, 4, 2, 5)
    with torch.no_grad():
        plain = recurrence(**arguments, kind="gru")
    needing = recurrence(**{k: v.requires_grad_() for k, v in arguments.items()}, kind="gru")
    assert torch.equal(plain[0], needing[0]) and not plain[0].requires_grad


def test_backward_twice_over_a_kept_graph():
    arguments = {k: v.requires_grad_() for k, v in make("lstm", 2, 3, 2, 4).items()}
    loss = recurrence(**arguments)[0].sum()
    first = torch.autograd.grad(loss, list(arguments.values()), retain_graph=True)
    second = torch.autograd.grad(loss, list(arguments.values()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_frozen_argument_gets_no_gradient():
    arguments = make("lstm", 2, 3, 2, 4)
    arguments["weight_hh"].requires_grad_()
    recurrence(**arguments)[0].sum().backward()
    assert arguments["weight_hh"].grad.abs().sum() > 0
    assert arguments["inputs"].grad is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ltsm"}, "kind: found 'ltsm'"),
        ({"inputs": torch.zeros(4, 3)}, "inputs: found shape"),
        ({"inputs": torch.zeros(4, 5, 3, dtype=torch.int64)}, "inputs: found dtype"),
        (
            {"weight_ih": torch.zeros(24, 2)},
            r"weight_ih: found shape \(24, 2\); expected \(24, 3\)",
        ),
        ({"weight_hh": torch.zeros(25, 6)}, "weight_hh: found shape"),
        ({"bias_ih": torch.zeros(6)}, r"bias_ih: .*expected \(24,\)"),
        ({"hidden": torch.zeros(3, 6)}, r"hidden: .*expected \(4, 6\)"),
        ({"cell": torch.zeros(4, 6, dtype=torch.float64)}, "cell: found dtype torch.float64"),
        ({"hidden_mask": torch.zeros(6)}, "hidden_mask: found shape"),
        ({"bias_hh": torch.zeros(24, device="meta")}, "bias_hh: found on meta; expected cpu"),
        ({"lengths": torch.tensor([1, 2, 3])}, r"lengths: found shape \(3,\)"),
        ({"lengths": torch.tensor([1, 2, 3, 6])}, "lengths: found values from 1 to 6.*T = 5"),
        ({"lengths": torch.tensor([1, 2, 3, -1])}, "lengths: found values from -1"),
        ({"lengths": torch.tensor([1.0, 2, 3, 4])}, "lengths: found dtype torch.float32"),
        ({"lengths": [1, 2, 3, 4]}, "lengths: found list"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {k: v.float() for k, v in make("lstm", 4, 5, 3, 6).items()}
    with pytest.raises(ValueError, match=message):
        recurrence(**{**arguments, **change})


def test_a_cell_state_is_for_lstm_only():
    arguments = make("gru", 2, 3, 2, 4)
    with pytest.raises(ValueError, match=r"cell: .*expected None"):
        recurrence(**arguments, cell=arguments["hidden"], kind="gru")


def test_wrong_gains_are_named():
    arguments = make("gru", 2, 3, 2, 4)
    gains = torch.ones(3, 4, dtype=torch.float64)
    for norm, message in (
        (GateNorm(gains[:2], gains), r"norm.input_gain: found shape \(2, 4\); expected \(3, 4\)"),
        (GateNorm(gains, gains.float()), "norm.recurrent_gain: found dtype torch.float32"),
        (GateNorm(gains, gains, gains[0]), "norm.cell_gain, cell_shift: found a tensor for 'gru'"),
        (GateNorm(gains, None), "norm: expected both"),
    ):
        with pytest.raises(ValueError, match=message):
            recurrence(**arguments, kind="gru", norm=norm)
    pairs = {k: (v, v) for k, v in arguments.items() if k.startswith(("weight", "bias"))}
    with pytest.raises(ValueError, match="norm: expected a pair"):
        bidirectional_recurrence(
            arguments["inputs"], **pairs, kind="gru", norm=GateNorm(gains, gains)
        )


def test_wrong_pairs_are_named():
    arguments = make("gru", 2, 3, 2, 4)
    with pytest.raises(ValueError, match="weight_ih: expected a pair"):
        bidirectional_recurrence(**arguments, kind="gru")
    pairs = {k: (v, v) for k, v in arguments.items() if k.startswith(("weight", "bias"))}
    with pytest.raises(ValueError, match=r"hidden: .*expected \(2, B, H\)"):
        bidirectional_recurrence(
            arguments["inputs"], **pairs, hidden=arguments["hidden"], kind="gru"
        )
