"""The attention decoder's Triton kernels against float64, in Triton's interpreter (on a GPU:
compiled), and the persistent schedule across processes."""

import contextlib
import functools
import multiprocessing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.common.chip import CHIPS
from kernels.decoder.triton_backend import gradients, launch
from kernels.decoder.triton_backend.tiles import Problem, Tiles, pick, price
from kernels.recurrence.schedule import Schedule, use_schedule
from tests.kernels.test_decoder import KINDS, SCORES, assert_near_reference, make, run

INTERPRETED = not torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED else "cuda"


@pytest.fixture(autouse=True)
def poisoned():
    """Fresh memory holds NaN: what a kernel forgets to write shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def compare(leaves, call, dtype=torch.float32, residual=False):
    """Outputs, states, weights and every gradient, as near to float64 as their conditioning
    allows."""
    found, grads = run(
        {name: leaf.to(DEVICE) for name, leaf in leaves.items()}, call, "triton", dtype,
        residual=residual,
    )  # fmt: skip
    assert all(grads[name] is not None and grads[name].dtype == dtype for name in leaves)
    assert_near_reference(leaves, call, dtype, found, grads, residual=residual)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score", SCORES)
def test_every_cell_and_score(kind, score):
    compare(*make(kind, score))


PLACES = {
    "one gate": {"gate": "scalar"},
    "gates": {"gate": "vector"},
    "sentinel": {"sentinel": True},
    "sentinel and gate": {"sentinel": True, "gate": "scalar"},
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(
    ("kind", "score"),
    [("lstm", "additive"), ("lstm", "general"), ("lstm", "dot"), ("gru", "additive"),
     ("gru", "dot"), ("tanh", "general"), ("relu", "additive")],
)  # fmt: skip
def test_context_gate_and_sentinel(kind, score, name):
    """Lengths are 5, 0 and 1: one row's attention is all the sentinel's."""
    compare(*make(kind, score, **PLACES[name]))


@pytest.mark.parametrize("feeding", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["lstm", "gru", "relu"])
def test_a_sentinel_above_every_kind_of_top_layer(kind, layers, feeding):
    """What its gate reads: the embedding and what is fed, the embedding alone, a layer below."""
    options = {"layers": layers, "feeding": feeding, "dropout": "plain" if layers > 1 else None}
    compare(*make(kind, "general", sentinel=True, **options), residual=layers > 1)


@pytest.mark.parametrize("schedule", ["step", "persistent"])
@pytest.mark.parametrize(("kind", "norm"), [("lstm", {1}), ("gru", {0, 2}), ("tanh", {2})])
def test_normalisation_after_some_layers_beside_everything_else(kind, norm, schedule):
    options = {"layers": 3, "norm": norm, "dropout": "plain", "sentinel": True, "gate": "vector"}
    with use_schedule(schedule):
        compare(*make(kind, "additive", **options), residual=True)


@pytest.mark.parametrize("norm", [{0}, {1}])
@pytest.mark.parametrize("residual", [False, True])
def test_normalisation_after_some_layers(norm, residual):
    compare(*make("lstm", "additive", layers=2, norm=norm), residual=residual)


@pytest.mark.parametrize("schedule", ["step", "persistent"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_deep_with_norm_residual_and_dropout_of_each_step(kind, schedule):
    leaves, call = make(kind, "additive", layers=3, norm=True, dropout="plain")
    with use_schedule(schedule):
        compare(leaves, call, residual=True)


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 2, "dropout": "variational", "residual": True},
        {"layers": 3, "norm": True},
        {"layers": 2, "feeding": False, "dropout": "plain"},
        {"layers": 1, "norm": True, "dropout": "variational", "feeding": False},
    ],
    ids=["no norm", "norm alone", "not fed", "one normed layer"],
)
@pytest.mark.parametrize(("kind", "score"), [("lstm", "general"), ("gru", "none")])
def test_options_apart(kind, score, options):
    options = dict(options)
    residual = options.pop("residual", False)
    compare(*make(kind, score, **options), residual=residual)


@pytest.mark.parametrize(
    "sizes",
    [
        (1, 1, 1, 1, 1, 1, 1),
        (5, 3, 17, 3, 5, 2, 1),  # two blocks of sources
        (2, 0, 3, 2, 2, 2, 2),  # no step
        (18, 2, 3, 4, 20, 18, 33),  # several tiles of rows, units and columns
    ],
)
@pytest.mark.parametrize("schedule", ["step", "persistent"])
@pytest.mark.parametrize("options", [{}, {"sentinel": True, "gate": "vector"}], ids=["", "both"])
def test_odd_sizes(sizes, schedule, options):
    with use_schedule(schedule):
        compare(*make("lstm", "additive", sizes=sizes, **options))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    score=st.sampled_from(SCORES),
    feeding=st.booleans(),
    sizes=st.tuples(*(st.integers(1, high) for high in (4, 3, 19, 5, 9, 7, 10))),
    gate=st.sampled_from([None, "scalar", "vector"]),
    sentinel=st.booleans(),
)
def test_any_sizes(kind, score, feeding, sizes, gate, sentinel):
    options = {} if score == "none" else {"gate": gate, "sentinel": sentinel}
    compare(*make(kind, score, feeding=feeding, sizes=sizes, **options))


@pytest.mark.parametrize("options", [{}, {"sentinel": True, "gate": "vector"}], ids=["", "both"])
@pytest.mark.parametrize("score", ["additive", "general", "none"])
def test_half_precision(score, options):
    """bfloat16 products are wrong in the interpreter; float16 stands for both there."""
    options = {} if score == "none" else options
    compare(*make("lstm", score, layers=2, **options), dtype=torch.float16)


@pytest.mark.parametrize(("kind", "size"), [("tanh", 1), ("relu", 2), ("lstm", 2)])
def test_normalising_nearly_equal_units_in_half_precision(kind, size):
    """A single unit's output is the shift alone, and nothing has a gradient through it: what
    rounding leaves of unit minus mean, divided by a small deviation, would be a large one."""
    leaves, call = make(kind, "additive", norm=True, sizes=(2, 3, 4, 17, size, 2, 33))
    compare(leaves, call, dtype=torch.float16)


def test_autocast_rounds_only_the_products():
    leaves, call = make("gru", "additive", layers=2, dropout="plain")
    leaves = {k: v.float().to(DEVICE) for k, v in leaves.items()}
    exact, _ = run(leaves, call, "triton", torch.float32)
    with torch.autocast(DEVICE, torch.float16):
        vectors, state, alpha = call(leaves, "triton")
    assert all(t.dtype == torch.float32 for t in (vectors, *state[::2], alpha))
    assert 0 < (vectors - exact[0]).norm() < 8 * torch.finfo(torch.float16).eps * exact[0].norm()


@pytest.mark.parametrize("options", [{}, {"sentinel": True, "gate": "scalar"}], ids=["", "both"])
def test_padding_may_hold_anything_and_has_no_gradient(options):
    leaves, call = make("lstm", "additive", **options)  # lengths 5, 0, 1
    for name in ("keys", "values"):
        leaves[name][1], leaves[name][2, 1:] = float("nan"), float("inf")
    found, grads = run({k: v.to(DEVICE) for k, v in leaves.items()}, call, "triton", torch.float32)
    assert all(torch.isfinite(t).all() for t in (*found, *grads.values()))
    assert found[-1][1].eq(0).all() and found[-1][2, :, 1:].eq(0).all()
    for name in ("keys", "values"):
        assert grads[name][1].eq(0).all() and grads[name][2, 1:].eq(0).all()


class AcrossProcesses:
    """A kernel whose programs run at the same time, each in a process of its own, in the
    interpreter, over shared memory."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return functools.partial(self.launch, grid[0])

    def launch(self, programs, /, **arguments):
        memory = {}
        for a in arguments.values():
            if isinstance(a, torch.Tensor):
                storage = a.untyped_storage()
                memory[storage.data_ptr()] = (storage, storage.clone().share_memory_())
        assert programs > 1 and arguments["first_program"] == 0
        assert arguments["programs"] == programs

        def shared(a):
            if not isinstance(a, torch.Tensor):
                return a
            copy = memory[a.untyped_storage().data_ptr()][1]
            where = a.storage_offset(), a.shape, a.stride()
            return torch.empty(0, dtype=a.dtype).set_(copy, *where)

        def one(program):
            torch.set_num_threads(1)
            own = {name: shared(a) for name, a in arguments.items()}
            self.kernel[(1,)](**own | {"first_program": program})

        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=one, args=(p,)) for p in range(programs)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * programs
        for original, copy in memory.values():
            original.copy_(copy)


@pytest.mark.skipif(not INTERPRETED, reason="on a GPU the other tests use the barrier")
@pytest.mark.parametrize(
    "options",
    [{"norm": True}, {"norm": {0}, "sentinel": True, "gate": "vector"}],
    ids=["normed", "sentinel, gate, one norm"],
)
def test_programs_wait_for_each_other_across_processes(monkeypatch, options):
    """Three programs, two layers, several tiles in each product: each phase needs what others
    wrote in the one before."""
    for kernel in (launch.FORWARD, launch.BACKWARD):
        monkeypatch.setattr(kernel, "function", AcrossProcesses(kernel.function))
    monkeypatch.setattr(launch, "INTERPRETED_PROGRAMS", 3)
    leaves, call = make(
        "gru", "additive", layers=2, dropout="plain", sizes=(4, 2, 5, 3, 18, 4, 17), **options
    )  # fmt: skip
    compare(leaves, call, residual=True)


@pytest.mark.skipif(not INTERPRETED, reason="would leave wrong numbers on the GPU")
def test_a_barrier_that_is_never_reached_is_an_error_in_debug_mode(monkeypatch):
    """The interpreter runs one program after the other: the first waits in vain."""
    monkeypatch.setenv("KERNELS_DEBUG", "20")
    monkeypatch.setattr(launch, "INTERPRETED_PROGRAMS", 2)
    leaves, call = make("tanh", "none", sizes=(1, 2, 1, 1, 1, 1, 1))
    with pytest.raises(RuntimeError, match="barrier was not reached"):
        call({k: v.float() for k, v in leaves.items()}, "triton")


def test_every_kernel_is_launched_on_the_device_of_its_tensors(monkeypatch):
    """Triton launches on the current device, which may be another GPU than theirs."""
    entered, launched = [], []

    @contextlib.contextmanager
    def on_device(device):
        entered.append(device)
        yield
        entered.pop()

    class Watched:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            launched.append(entered[-1:])
            return self.kernel[grid]

    for module, kernel in (
        (launch, launch.FORWARD), (launch, launch.BACKWARD), (gradients, gradients.KEYS),
    ):  # fmt: skip
        monkeypatch.setattr(kernel, "function", Watched(kernel.function))
        monkeypatch.setattr(module, "on_device", on_device)
    leaves, call = make("lstm", "additive", sizes=(2, 2, 3, 2, 3, 3, 2))
    run({k: v.to(DEVICE) for k, v in leaves.items()}, call, "triton", torch.float32)
    assert len(launched) >= 3
    assert all(device and device[0].type == DEVICE for device in launched)


@pytest.mark.parametrize("options", [{}, {"sentinel": True, "gate": "vector"}], ids=["", "both"])
def test_two_runs_are_bit_identical(options):
    leaves, call = make("lstm", "additive", layers=2, sizes=(5, 3, 20, 6, 20, 8, 9), **options)
    leaves = {k: v.to(DEVICE) for k, v in leaves.items()}
    (first, a), (second, b) = (run(leaves, call, "triton", torch.float32) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_graph_can_be_gone_through_twice_and_twice_differentiated():
    leaves, call = make("tanh", "dot", sizes=(2, 2, 3, 2, 3, 3, 2))
    names = list(leaves)
    found = []
    for backend, dtype in (("triton", torch.float32), ("reference", torch.float64)):
        own = [leaves[n].to(DEVICE, dtype).requires_grad_() for n in names]
        vectors, *_ = call(dict(zip(names, own, strict=True)), backend)
        loss = vectors.square().sum()
        plain = torch.autograd.grad(loss, own, retain_graph=True)
        grads = torch.autograd.grad(loss, own, create_graph=True)
        for a, b in zip(plain, grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        twice = torch.autograd.grad(sum(g.square().sum() for g in grads), own)
        found.append([t.double() for t in twice])
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= 400 * torch.finfo(torch.float32).eps * max(1.0, b.norm())


def test_gradients_of_the_attention_weights():
    leaves, call = make("lstm", "general")
    found = []
    for backend, dtype in (("triton", torch.float32), ("reference", torch.float64)):
        own = {k: v.to(DEVICE, dtype).requires_grad_() for k, v in leaves.items()}
        _, _, alpha = call(own, backend)
        loss = (alpha * torch.arange(alpha.numel(), device=DEVICE).view_as(alpha)).sum()
        wanted = [own[n] for n in ("keys", "query", "hh0", "values")]
        found.append([g.double() for g in torch.autograd.grad(loss, wanted)])
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= 200 * torch.finfo(torch.float32).eps * max(1.0, b.norm())


def test_without_gradients_nothing_is_kept_for_them():
    leaves, call = make("lstm", "additive")
    leaves = {k: v.float().to(DEVICE) for k, v in leaves.items()}
    expected, _ = run(leaves, call, "triton", torch.float32)
    with torch.no_grad():
        vectors, _, _ = call(leaves, "triton")
    assert not vectors.requires_grad and torch.equal(vectors.double(), expected[0])


def test_the_recurrences_schedule_is_refused():
    leaves, call = make("lstm", "none")
    leaves = {k: v.float().to(DEVICE) for k, v in leaves.items()}
    for schedule in ("resident", Schedule("resident", 16, 16, 16, 4)):
        with use_schedule(schedule), pytest.raises(RuntimeError, match="recurrence's alone"):
            call(leaves, "triton")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    batch=st.integers(1, 2000),
    size=st.integers(1, 3000),
    width=st.integers(1, 3000),
    values=st.integers(0, 3000),
    fed=st.booleans(),
    width_in_bytes=st.sampled_from([2, 4]),
    backward=st.booleans(),
    arch=st.sampled_from(sorted(CHIPS)),
    steps=st.integers(1, 2),
    extras=st.booleans(),
)
def test_the_rule_always_finds_tiles(
    kind, batch, size, width, values, fed, width_in_bytes, backward, arch, steps, extras
):
    problem = Problem(
        kind, batch, size, width, values, size if values else 0, 30, 2, fed, width_in_bytes,
        backward, steps, values if extras else 0, bool(extras and values),
    )  # fmt: skip
    tiles = pick(problem, CHIPS[arch])
    assert tiles.schedule == "persistent"
    launched = pick(problem, CHIPS[arch], "step")
    assert price(tiles, problem, CHIPS[arch]) <= price(launched, problem, CHIPS[arch])
    sizes = (tiles.cell_rows, tiles.cell_units, tiles.rows, tiles.columns, tiles.inner)
    assert all(n & (n - 1) == 0 for n in (*sizes, tiles.row_block))
    without = problem._replace(gate=0, sentinel=False)
    assert price(tiles, problem, CHIPS[arch]) >= price(tiles, without, CHIPS[arch]) > 0
    assert isinstance(tiles, Tiles)


def test_values_without_columns_are_a_clear_error():
    leaves, call = make("lstm", "additive", sizes=(3, 4, 5, 6, 7, 0, 9))
    with pytest.raises(RuntimeError, match="values have 0 columns"):
        run({k: v.to(DEVICE) for k, v in leaves.items()}, call, "triton", torch.float32)
