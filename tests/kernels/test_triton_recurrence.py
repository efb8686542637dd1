"""The Triton recurrences against float64, in Triton's interpreter (on a GPU: compiled), and the
grid barrier across processes."""

import functools
import multiprocessing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import bidirectional_recurrence, recurrence, use_backend
from kernels.recurrence.schedule import Schedule, use_schedule
from kernels.recurrence.triton_backend import loops
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
from tests.kernels.tolerances import assert_near, plain_dtype

SIZE = 20  # no multiple of a tile
SCHEDULES = {
    "step": Schedule("step", 16, 16, 32, 4),
    "persistent": Schedule("persistent", 16, 32, 16, 4),  # one program: nobody to wait for
    "resident": Schedule("resident", 16, 32, 32, 4),
}
NORM_SCHEDULES = {
    "step": Schedule("step", 4, 32, 32, 4),  # a program holds four sequences
    "resident": SCHEDULES["resident"],
}
INTERPRETED = not torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED else "cuda"


@pytest.fixture(autouse=True)
def poisoned():
    """Fresh memory holds NaN: what a kernel forgets to write shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def compare(
    kind,
    schedule,
    directions,
    lengths,
    everything,
    dtype=torch.float32,
    batch=5,
    steps=4,
    norm=False,
    recompute=False,
    size=SIZE,
):
    arguments = make(kind, batch, steps, 3, size, directions=directions, norm=norm)
    options = {"kind": kind, "lengths": lengths, "recompute": recompute}
    if everything:
        mask = make("tanh", batch, 0, 1, size, seed=5, directions=directions)["hidden"]
        arguments["hidden_mask"] = mask
        options |= options_of(kind, batch, steps, size, directions)
    elif kind in ("lstm", "gru"):
        options["zoneout"] = (0.1, 0.2 if kind == "lstm" else 0.0)
    truth = run("reference", arguments, **options)
    plain = run("reference", arguments, plain_dtype(dtype), **options)
    on_device = {
        k: v.to(DEVICE) if isinstance(v, torch.Tensor) and k != "lengths" else v
        for k, v in options.items()
    }
    arguments = {k: v.to(DEVICE) for k, v in arguments.items()}
    with use_schedule(schedule):
        found = run("triton", arguments, dtype, **on_device)
    assert_near(found, truth, plain, dtype)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 0, 3, 1, 4]])
@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_states_and_every_gradient(kind, schedule, directions, lengths, everything):
    lengths = None if lengths is None else torch.tensor(lengths)
    compare(kind, SCHEDULES[schedule], directions, lengths, everything)


# The inner side in 2, 4 and 8 parts; of 70 units, several blocks, fewer and as many as fit ahead.
SPLIT_SCHEDULES = [
    Schedule("step", 16, 32, 32, 4, 2),
    Schedule("persistent", 16, 128, 32, 4, 2, 1),
    Schedule("persistent", 16, 128, 64, 4, 4, 8),
    Schedule("persistent", 16, 128, 128, 8, 8, 1),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("schedule", SPLIT_SCHEDULES)
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_products_shared_out_over_warps(kind, schedule, dtype):
    everything = dtype == torch.float32
    lengths = torch.tensor([4, 0, 3, 1, 4])
    compare(kind, schedule, 0, lengths, everything, dtype, size=70)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 0, 3, 1, 4]])
@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize("schedule", NORM_SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_layer_normalisation(kind, schedule, directions, lengths, everything):
    lengths = None if lengths is None else torch.tensor(lengths)
    compare(kind, NORM_SCHEDULES[schedule], directions, lengths, everything, norm=True)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("schedule", NORM_SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_recomputing(kind, schedule, norm):
    chosen = (NORM_SCHEDULES if norm else SCHEDULES)[schedule]
    lengths = torch.tensor([4, 0, 3, 1, 4])
    compare(kind, chosen, 2, lengths, True, norm=norm, recompute=True)


@pytest.mark.parametrize("schedule", NORM_SCHEDULES)
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_layer_normalisation_in_half_precision(kind, schedule):
    lengths = torch.tensor([4, 0, 3, 1, 4])
    compare(kind, NORM_SCHEDULES[schedule], 0, lengths, False, torch.float16, norm=True)


def test_layer_normalisation_without_gradients_keeps_nothing():
    arguments = make("lstm", 5, 4, 3, SIZE, norm=True)
    truth = run("reference", arguments)[:3]
    given = {k: v.to(DEVICE, torch.float32) for k, v in arguments.items()}
    for schedule in NORM_SCHEDULES.values():
        with torch.no_grad(), use_backend("triton"), use_schedule(schedule):
            found = call(given)
        assert_close([f.double().cpu() for f in found], truth, bound(torch.float32, 4))


def test_the_persistent_schedule_cannot_normalise():
    arguments = {k: v.float().to(DEVICE) for k, v in make("gru", 3, 3, 2, SIZE, norm=True).items()}
    with (
        use_backend("triton"),
        use_schedule("persistent"),
        pytest.raises(RuntimeError, match=r"'persistent': found layer normalisation"),
    ):
        call(arguments, kind="gru")
    with (
        use_backend("triton"),
        use_schedule(SCHEDULES["persistent"]),
        pytest.raises(RuntimeError, match=r"'persistent': found layer normalisation"),
    ):
        call(arguments, kind="gru")
    with (
        use_backend("triton"),
        use_schedule(Schedule("step", 16, 16, 16, 4)),
        pytest.raises(RuntimeError, match=r"'step': found tiles of 16 units.*all 20"),
    ):
        call(arguments, kind="gru")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_half_precision(kind, schedule):
    """bfloat16 products are wrong in the interpreter; float16 stands for both there."""
    compare(kind, SCHEDULES[schedule], 0, torch.tensor([4, 0, 3, 1, 4]), False, torch.float16)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_autocast_rounds_only_the_products(schedule):
    arguments = {k: v.float().to(DEVICE) for k, v in make("lstm", 4, 5, 16, SIZE).items()}
    with use_backend("triton"), use_schedule(SCHEDULES[schedule]):
        exact = recurrence(**arguments)
        with torch.autocast(DEVICE, torch.float16):
            rounded = recurrence(**arguments)
    assert all(tensor.dtype == torch.float32 for tensor in rounded)
    assert 0 < relative(rounded[0], exact[0]) < 4 * torch.finfo(torch.float16).eps


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    schedule=st.sampled_from(sorted(SCHEDULES)),
    batch=st.integers(1, 20),
    steps=st.integers(0, 4),
    norm=st.booleans(),
    recompute=st.booleans(),
    data=st.data(),
)
def test_any_batch_and_lengths(kind, schedule, batch, steps, norm, recompute, data):
    lengths = data.draw(
        st.none()
        | st.lists(st.integers(0, steps), min_size=batch, max_size=batch).map(torch.tensor)
    )
    chosen = NORM_SCHEDULES.get(schedule, NORM_SCHEDULES["step"]) if norm else SCHEDULES[schedule]
    options = {"batch": batch, "steps": steps, "norm": norm, "recompute": recompute}
    compare(kind, chosen, 0, lengths, False, **options)


def test_tiles_that_share_the_units_and_the_batch():
    """Several unit tiles in the step schedule, which alone can run them one after the other."""
    arguments = make("gru", 35, 3, 4, 70)
    truth = run("reference", arguments, kind="gru")
    arguments = {k: v.to(DEVICE) for k, v in arguments.items()}
    with use_schedule(Schedule("step", 16, 16, 32, 4)):
        found = run("triton", arguments, torch.float32, kind="gru")
    assert_close([f.cpu() for f in found], truth, bound(torch.float32, 3))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_rule_alone(kind):
    arguments = make(kind, 3, 3, 4, 40)
    truth = run("reference", arguments, kind=kind)
    arguments = {k: v.to(DEVICE) for k, v in arguments.items()}
    schedules = ["resident"] if INTERPRETED else ["step", "resident", "persistent"]
    for name in schedules:
        with use_schedule(name):
            found = run("triton", arguments, torch.float32, kind=kind)
        assert_close([f.cpu() for f in found], truth, bound(torch.float32, 3))


class AcrossProcesses:
    """A kernel whose programs run at the same time, each in a process of its own, in the
    interpreter, over shared memory."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return functools.partial(self.launch, grid[0])

    def launch(self, programs, /, **arguments):
        shared = {}
        for a in arguments.values():
            if isinstance(a, torch.Tensor):
                storage = a.untyped_storage()
                shared[storage.data_ptr()] = (storage, storage.clone().share_memory_())
        assert programs > 1 and arguments["first_program"] == 0
        context = multiprocessing.get_context("fork")

        def copied(a):
            if not isinstance(a, torch.Tensor):
                return a
            copy = shared[a.untyped_storage().data_ptr()][1]
            where = a.storage_offset(), a.shape, a.stride()
            return torch.empty(0, dtype=a.dtype).set_(copy, *where)

        def one(program):
            torch.set_num_threads(1)
            own = {name: copied(a) for name, a in arguments.items()}
            self.kernel[(1,)](**own | {"first_program": program})

        processes = [context.Process(target=one, args=(p,)) for p in range(programs)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * programs
        for original, copy in shared.values():
            original.copy_(copy)


@pytest.mark.skipif(not INTERPRETED, reason="on a GPU the other tests use the barrier")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_programs_wait_for_each_other_across_processes(kind, monkeypatch):
    """Two unit tiles and two directions: two groups of two programs, with ragged lengths."""
    monkeypatch.setenv("KERNELS_DEBUG", str(1 << 30))  # here programs do run at the same time
    for kernel in (loops.FORWARD, loops.BACKWARD):
        monkeypatch.setattr(kernel, "function", AcrossProcesses(kernel.function))
    arguments = make(kind, 3, 4, 3, SIZE, directions=2)
    lengths = torch.tensor([4, 2, 3])
    options = {"kind": kind, "lengths": lengths} | options_of(kind, 3, 4, SIZE, 2)
    truth = run("reference", arguments, **options)
    with use_schedule(Schedule("persistent", 16, 16, 16, 4)):
        found = run("triton", arguments, torch.float32, **options)
    assert_close(found, truth, bound(torch.float32, 4))


@pytest.mark.skipif(not INTERPRETED, reason="would leave wrong numbers on the GPU")
def test_a_barrier_that_is_never_reached_is_an_error_in_debug_mode(monkeypatch):
    """The interpreter runs one program after the other: the first waits in vain."""
    monkeypatch.setenv("KERNELS_DEBUG", "20")
    arguments = {k: v.float() for k, v in make("lstm", 3, 3, 2, SIZE).items()}
    with (
        use_backend("triton"),
        use_schedule(Schedule("persistent", 16, 16, 16, 4)),
        pytest.raises(RuntimeError, match="barrier was not reached"),
    ):
        recurrence(**arguments)


@pytest.mark.skipif(not INTERPRETED, reason="of the interpreter")
def test_the_interpreter_takes_no_schedule_that_would_wait_for_ever():
    arguments = make("lstm", 3, 2, 2, 40)  # two programs of 32 units, by the rule
    half = {name: tensor.half() for name, tensor in make("lstm", 64, 2, 8, 256).items()}
    truth = run("reference", arguments)
    with (
        use_backend("triton"),
        use_schedule(Schedule("persistent", 16, 32, 16, 4)),
        pytest.raises(RuntimeError, match="found 2 programs that wait"),
    ):
        recurrence(**{name: tensor.float() for name, tensor in arguments.items()})
    assert_close(run("triton", arguments, torch.float32), truth, bound(torch.float32, 2))
    with use_backend("triton"):
        assert recurrence(**half)[0].isfinite().all()


def test_schedules_that_cannot_run_say_so():
    arguments = {k: v.float().to(DEVICE) for k, v in make("lstm", 3, 3, 2, SIZE).items()}
    with use_backend("triton"):
        with (
            use_schedule(Schedule("resident", 16, 16, 16, 4)),
            pytest.raises(RuntimeError, match=r"resident.*expected both to hold all 20"),
        ):
            recurrence(**arguments)
        big = {k: v.float().to(DEVICE) for k, v in make("lstm", 1, 1, 2, 1200).items()}
        with (
            use_schedule(Schedule("persistent", 16, 8, 16, 4)),
            pytest.raises(RuntimeError, match="cannot be resident"),
        ):
            recurrence(**big)
        with (
            use_schedule("resident"),
            pytest.raises(RuntimeError, match="does not fit lstm with hidden size 1200"),
        ):
            recurrence(**big)
    with pytest.raises(ValueError, match="use_schedule: found 'fast'"), use_schedule("fast"):
        pass


def test_strides_of_masks_and_of_arriving_gradients_are_minded():
    made = make("lstm", 3, 3, 2, SIZE, directions=2)
    made = {k: v.to(DEVICE, torch.float32).requires_grad_() for k, v in made.items()}
    pairs = {k: tuple(v) if k[:4] in ("weig", "bias") else v for k, v in made.items()}
    mask = (torch.rand(2, 1, SIZE) < 0.5).float().to(DEVICE).expand(2, 3, SIZE)
    results = []
    for backend in ("reference", "triton"):
        with use_backend(backend), use_schedule(SCHEDULES["persistent"]):
            _, hidden, cell = bidirectional_recurrence(**pairs, hidden_mask=mask)
            joined = torch.cat([s.transpose(0, 1).reshape(3, -1) for s in (hidden, cell)], 1)
            weighted = joined * torch.arange(joined.numel(), device=DEVICE).view_as(joined)
            results.append(torch.autograd.grad(weighted.sum(), list(made.values())))
    assert_close(results[1], results[0], bound(torch.float32, 3))


def test_the_backward_pass_runs_as_the_forward_pass_was_asked_to(monkeypatch):
    """Also outside the block, and in autograd's own threads on a GPU."""
    asked = []
    pick = loops._pick
    monkeypatch.setattr(loops, "_pick", lambda *a: asked.append(a[2]) or pick(*a))
    made = {k: v.to(DEVICE, torch.float32) for k, v in make("gru", 3, 3, 2, SIZE).items()}
    inputs = made.pop("inputs").requires_grad_()
    with use_backend("triton"), use_schedule("resident"):
        outputs, *_ = recurrence(inputs, **made, kind="gru")
    outputs.sum().backward()
    assert asked == ["resident", "resident"]


def test_two_runs_are_bit_identical():
    arguments = {k: v.to(DEVICE) for k, v in make("gru", 5, 4, 3, SIZE).items()}
    with use_schedule(SCHEDULES["persistent"]):
        first, second = (run("triton", arguments, torch.float32, kind="gru") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
