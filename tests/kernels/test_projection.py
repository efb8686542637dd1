"""The projected LSTM (Sak et al. 2014) on all backends, as a function and as an operator; Triton's
in its interpreter where there is no GPU."""

import pickle

import pytest
import torch

import kernels
from kernels import recurrence, use_backend
from kernels.recurrence import operation
from kernels.recurrence.layout import Arguments
from kernels.recurrence.schedule import use_schedule
from tests.kernels.recurrences import assert_close, bound, call, make, options_of, run

B, T, INPUTS, H, P = 5, 4, 3, 6, 2
SHAPES = (B, T, INPUTS, H)
BACKENDS = ["torch", "triton"]


def named(options, directions):
    """Options of a call, and the hidden mask that goes with them."""
    if options == "everything":
        mask = make("tanh", B, 0, 1, P, seed=5, directions=directions)["hidden"]
        return options_of("lstm", B, T, H, directions, P), {"hidden_mask": mask}
    return ({"zoneout": (0.1, 0.2)} if options == "expectation" else {}), {}


@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("lengths", [None, [4, 0, 3, 1, 4]])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("options", ["none", "expectation", "everything"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_results_and_gradients_of_the_reference(backend, options, norm, lengths, directions):
    """Within three times the bound of a plain recurrence, whose steps round only one product."""
    arguments = make("lstm", *SHAPES, directions=directions, norm=norm, projected=P)
    settings, masks = named(options, directions)
    settings["lengths"] = None if lengths is None else torch.tensor(lengths)
    truth = run("reference", arguments | masks, **settings)
    interpreted = backend == "triton"  # slow
    for dtype in [torch.float32] if interpreted else [torch.float64, torch.float32]:
        for recompute in [options == "everything"] if interpreted else [False, True]:
            found = run(backend, arguments | masks, dtype, **settings, recompute=recompute)
            assert_close(found, truth, 3 * bound(dtype, T))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(backend, dtype):
    """Operands and results of the products are rounded, too."""
    arguments = make("lstm", *SHAPES, directions=2, projected=P)
    rounded = {name: tensor.to(dtype).double() for name, tensor in arguments.items()}
    truth = run("reference", rounded)
    assert_close(run(backend, rounded, dtype), truth, 2 * (T + 1) * torch.finfo(dtype).eps)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_autocast_gives_float32(backend):
    arguments = {k: v.float() for k, v in make("lstm", *SHAPES, projected=P).items()}
    with use_backend(backend), torch.autocast("cpu", torch.bfloat16):
        outputs, hidden, cell = call(arguments)
    assert {t.dtype for t in (outputs, hidden, cell)} == {torch.float32}
    rounding = 2 * (T + 1) * torch.finfo(torch.bfloat16).eps
    assert_close([outputs], call(arguments)[:1], rounding)


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("lengths", [None, [2, 0]])
def test_derivatives_twice(backend, lengths):
    arguments = make("lstm", 2, 2, 2, 3, norm=True, projected=2)
    lengths = None if lengths is None else torch.tensor(lengths)

    def function(*tensors):
        results = call(dict(zip(arguments, tensors, strict=True)), lengths=lengths)
        return tuple(results)

    leaves = [tensor.requires_grad_() for tensor in arguments.values()]
    with use_backend(backend):
        assert torch.autograd.gradcheck(function, leaves)
        assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("lengths", "recompute"), [(None, False), ([4, 0, 2], True)])
def test_the_operator_keeps_its_contract(lengths, backend, recompute):
    dtype = torch.float64 if backend == "torch" else torch.float32
    made = {k: v.to(dtype) for k, v in make("lstm", 3, 4, 2, 5, directions=1, projected=3).items()}
    tensors = [made[n].requires_grad_() if n in made else None for n in Arguments._fields]
    lengths = None if lengths is None else torch.tensor(lengths)
    rest = ([0.0, 0.0], None, None, None, lengths, "lstm", [False], backend, *[dtype] * 3, "")
    assert len(tensors) + len(rest) == operation.CALL
    torch.library.opcheck(torch.ops.kernels.recurrence.default, (*tensors, *rest, True, recompute))


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
@pytest.mark.parametrize(("batch", "steps"), [(0, 3), (2, 0)])
def test_nothing_to_do(backend, batch, steps):
    arguments = make("lstm", batch, steps, 3, 4, projected=2)
    arguments = {k: v.float() for k, v in arguments.items()}
    with use_backend(backend):
        outputs, hidden, cell = call(arguments)
    assert outputs.shape == (batch, steps, 2)
    assert torch.equal(hidden, arguments["hidden"])
    assert torch.equal(cell, arguments["cell"])


def test_a_projection_onto_all_units_by_the_identity_changes_nothing():
    arguments = make("lstm", *SHAPES)
    projected = arguments | {"weight_hr": torch.eye(H, dtype=torch.float64)}
    assert_close(call(projected), call(arguments), 0)


@pytest.mark.parametrize("schedule", ["resident", "persistent"])
def test_triton_has_the_step_schedule_only(schedule):
    arguments = {k: v.float() for k, v in make("lstm", *SHAPES, projected=P).items()}
    with use_backend("triton"), use_schedule(schedule), pytest.raises(RuntimeError) as caught:
        call(arguments)
    assert schedule in str(caught.value) and "weight_hr" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"weight_hr": torch.zeros(P, H, 1)}, {}, r"weight_hr: found shape .*expected \(P, H\)"),
        (
            {"weight_hr": torch.zeros(P, H + 1)},
            {},
            r"weight_hh: .*expected \(28, 2\).*beside",
        ),
        ({"weight_hr": torch.zeros(P, H).double()}, {}, r"weight_hr: found dtype torch\.float64"),
        ({"cell": torch.zeros(B, P)}, {}, r"cell: found shape \(5, 2\); expected \(5, 6\)"),
        ({"hidden": torch.zeros(B, H)}, {}, r"hidden: found shape \(5, 6\); expected \(5, 2\)"),
        ({"cell": None}, {"kind": "gru"}, r"weight_hr: found a tensor; expected None for kind"),
    ],
)
def test_what_does_not_fit_is_named(change, options, message):
    arguments = {k: v.float() for k, v in make("lstm", *SHAPES, projected=P).items()} | change
    with pytest.raises(ValueError, match=message):
        recurrence(**arguments, **options)


@pytest.mark.parametrize(
    ("backend", "options"), [("torch", {}), ("triton", {"layer_norm": True, "zoneout": 0.1})]
)
def test_compiled_without_a_graph_break(backend, options):
    torch.manual_seed(0)
    module = kernels.LSTM(
        4, 6, 2, bidirectional=True, batch_first=True, proj_size=3, **options
    ).eval()
    lengths = torch.tensor([5, 0, 3])
    with use_backend(backend):
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        results = []
        for function in (module, compiled):
            inputs = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
            outputs, (hidden, cell) = function(inputs.requires_grad_(), lengths=lengths)
            outputs.square().sum().backward()
            results.append((outputs, hidden, cell, inputs.grad, module.weight_hr_l0.grad.clone()))
            module.zero_grad()
    for plain, traced in zip(*results, strict=True):
        assert torch.equal(plain, traced)


def modules(**options):
    """torch.nn's LSTM and ours from the same seed, in float64."""
    made = []
    for kind in (torch.nn.LSTM, kernels.LSTM):
        torch.manual_seed(3)
        made.append(kind(3, 6, 2, bidirectional=True, proj_size=2, dtype=torch.float64, **options))
    return made


def check_against_torch_nn(theirs, ours, inputs, state=None):
    sides = []
    for module in (theirs, ours):
        outputs, (hidden, cell) = module(inputs, state)
        results = [getattr(outputs, "data", outputs), hidden, cell]
        total = sum(result.square().sum() for result in results)
        sides.append(results + list(torch.autograd.grad(total, list(module.parameters()))))
    assert_close(sides[1], sides[0], bound(torch.float64, T))


@pytest.mark.parametrize("bias", [False, True])
def test_the_module_is_that_of_torch_nn(bias):
    theirs, ours = modules(bias=bias, batch_first=True)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for mine, their in zip(ours.all_weights, theirs.all_weights, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, their, strict=True))
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(B, T, 3, dtype=torch.float64)
    state = (torch.randn(4, B, 2).double(), torch.randn(4, B, 6).double())
    check_against_torch_nn(theirs, ours, inputs)
    check_against_torch_nn(theirs, ours, inputs, state)


def test_packed_sequences():
    theirs, ours = modules()
    inputs = torch.randn(T, 3, 3, dtype=torch.float64)
    packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, [2, 4, 1], enforce_sorted=False)
    check_against_torch_nn(theirs, ours, packed)


@pytest.mark.parametrize("option", ["layer_norm", "recurrent_dropout", "zoneout", "recompute"])
@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_options_of_the_module(option, backend):
    """In training, every backend from the same random numbers."""
    value = 0.3 if option in ("recurrent_dropout", "zoneout") else True
    torch.manual_seed(0)
    module = kernels.LSTM(3, 6, 2, batch_first=True, proj_size=2, **{option: value})
    inputs, results = torch.randn(B, T, 3), []
    resets = torch.rand(B, T) < 0.3
    for name in ("reference", backend):
        torch.manual_seed(1)
        with use_backend(name):
            results.append(module(inputs, resets=resets)[0].double())
    assert_close(results[1:], results[:1], 3 * bound(torch.float32, T))


def test_modules_pickled_before_there_were_projections():
    """Their attributes lack proj_size."""
    module = kernels.GRU(3, 5)
    del module.__dict__["proj_size"]
    restored = pickle.loads(pickle.dumps(module))
    assert torch.equal(restored(torch.ones(2, 1, 3))[0], module(torch.ones(2, 1, 3))[0])
    assert repr(restored) == "GRU(3, 5)"


@pytest.mark.parametrize("size", [-1, 6, 2.0, "2"])
def test_a_wrong_size_is_named(size):
    with pytest.raises(ValueError, match=r"proj_size: found .* below hidden_size, 6"):
        kernels.LSTM(3, 6, proj_size=size)


def test_a_wrong_state_is_named():
    module = kernels.LSTM(3, 6, proj_size=2)
    with pytest.raises(ValueError, match=r"hx: found shape \(1, 4, 6\); expected \(1, 4, 2\)"):
        module(torch.ones(5, 4, 3), (torch.ones(1, 4, 6), torch.ones(1, 4, 6)))
