"""One step of search in Triton against ``decoder_step`` in float64, in the interpreter (on a GPU:
compiled), and the persistent schedule across processes."""

import itertools
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from triton.runtime.interpreter import InterpreterBuilder

from kernels import use_backend
from kernels.common.chip import CHIPS
from kernels.decoder import (
    DecoderState,
    DecoderWeights,
    LayerWeights,
    Memory,
    decoder_step,
    input_sums,
    prepared_step,
    reads_rows,
    step_memory,
    step_weights,
)
from kernels.decoder.triton_backend.step import launch
from kernels.decoder.triton_backend.step import weights as preparing
from kernels.decoder.triton_backend.step.tiles import Problem, phases, pick, price
from kernels.recurrence.schedule import use_schedule
from tests.kernels.test_decoder import KINDS, SCORES, make, sentinel_of
from tests.kernels.test_triton_decoder import AcrossProcesses

INTERPRETED = not torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED else "cuda"
EPS = torch.finfo(torch.float32).eps
SIZES = (6, 1, 5, 6, 7, 8, 9)  # N, T, S, E, H, D, A


@pytest.fixture(autouse=True)
def poisoned():
    """Fresh memory holds NaN: what a kernel forgets to write shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def parts(leaves, layers):
    names = ("ih", "hh", "bi", "bh", "nw", "nb")
    weights = DecoderWeights(
        tuple(LayerWeights(*(leaves.get(f"{k}{n}") for k in names)) for n in range(layers)),
        *(leaves.get(name) for name in ("output", "query", "score", "gate", "gate_bias")),
        sentinel_of(leaves),
    )
    return weights, DecoderState(leaves["hidden"], leaves.get("cell"), leaves.get("feed"))


def memory_of(leaves, sources, lengths):
    if "keys" not in leaves:
        return None
    keys, values = leaves["keys"][:sources].clone(), leaves["values"][:sources].clone()
    if lengths is not None:
        for tensor, length in itertools.product((keys, values), range(sources)):
            tensor[length, lengths[length] :] = float(
                "nan"
            )  # what is past a length may be anything
        lengths = torch.tensor(lengths, device=keys.device)
    return Memory(keys, values, lengths)


def steps(
    leaves, kind, layers=1, residual=False, product=torch.float32, dtype=torch.float32, sources=2,
    lengths=(5, 3), rows=(3, 1, 1, 0, 2, 1), summed=False, folds=True,
):  # fmt: skip
    """The step in Triton, and in float64 by the reference from the same (rounded) numbers."""
    leaves = {name: leaf.to(dtype) for name, leaf in leaves.items()}
    exact = {name: leaf.double() for name, leaf in leaves.items()}
    inputs = exact["inputs"][:, 0]
    given_rows = None if rows is None else torch.tensor(rows)
    weights, state = parts(exact, layers)
    expected = decoder_step(
        inputs if rows is None else inputs[given_rows], weights, state,
        memory_of(exact, sources, lengths), kind, 0.7, residual,
    )  # fmt: skip
    leaves = {name: leaf.to(DEVICE) for name, leaf in leaves.items()}
    weights, state = parts(leaves, layers)
    memory = memory_of(leaves, sources, lengths)
    inputs = leaves["inputs"][:, 0]
    with use_backend("triton"):
        prepared = step_weights(weights, kind, inputs.shape[1], product)
        assert reads_rows(prepared)
        if memory is not None:
            memory = step_memory(memory, prepared if folds else None)
        if summed:
            inputs = input_sums(inputs, prepared)
        found = prepared_step(
            inputs, None if rows is None else given_rows.to(DEVICE), prepared, state, memory, kind,
            0.7, residual, summed,
        )  # fmt: skip
    assert prepared.counter.eq(0).all()  # as the next launch must find it
    return found, expected


def compare(found, expected, eps=EPS, factor=50):
    pairs = zip(
        (found[0], *found[1], found[2]), (expected[0], *expected[1], expected[2]), strict=True
    )
    for k, (a, b) in enumerate(pairs):
        assert (a is None) == (b is None), k
        if a is not None:
            assert a.shape == b.shape and torch.isfinite(a).all(), k
            assert (a.double().cpu() - b).norm() <= factor * eps * max(1.0, b.norm()), k


OPTIONS = {
    "fed": {},
    "not fed": {"feeding": False},
    "deep": {"layers": 3, "norm": True, "residual": True},
    "residual": {"layers": 2, "residual": True},
    "normed": {"norm": True, "feeding": False},
    "gated": {"gate": "vector"},
    "gated by one number": {"gate": "scalar"},
    "sentinel": {"sentinel": True},
    "deep sentinel": {"sentinel": True, "layers": 2, "norm": True, "gate": "vector"},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(("kind", "score"), list(itertools.product(KINDS, SCORES)))
def test_every_cell_score_and_option(kind, score, name):
    options = dict(OPTIONS[name])
    residual = options.pop("residual", False)
    if score == "none":
        options = {k: v for k, v in options.items() if k not in ("gate", "sentinel")}
    leaves, _ = make(kind, score, sizes=SIZES, **options)
    compare(*steps(leaves, kind, options.get("layers", 1), residual))


@pytest.mark.parametrize("schedule", ["step", "persistent"])
@pytest.mark.parametrize("folds", [True, False])
@pytest.mark.parametrize("gate", [None, "scalar", "vector"])
def test_both_schedules_with_values_folded_or_not(schedule, folds, gate):
    leaves, _ = make("lstm", "additive", sizes=SIZES, layers=2, norm=True, gate=gate)
    with use_schedule(schedule):
        compare(*steps(leaves, "lstm", 2, folds=folds))


def test_values_are_folded_where_that_is_cheaper():
    leaves, _ = make("lstm", "additive", sizes=SIZES)
    for gate, folded in ((None, True), (1, True), (8, False)):
        own = {k: v.float().to(DEVICE) for k, v in leaves.items()}
        if gate:
            own["gate"] = torch.zeros(gate, 7, device=DEVICE)
            own["gate_bias"] = torch.zeros(gate, device=DEVICE)
        with use_backend("triton"):
            prepared = step_weights(parts(own, 1)[0], "lstm", 6, torch.float32)
            memory = step_memory(memory_of(own, 2, None), prepared)
        assert (memory.folded is not None) == folded == (memory.values is None)
    assert preparing.folds(32, 50, 512, 512, 2, CHIPS[90])
    assert not preparing.folds(500, 200, 64, 1024, 2, CHIPS[90])


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("normed", [{0}, {1}, {0, 2}])
def test_normalisation_after_some_layers(normed, residual):
    leaves, _ = make("lstm", "additive", layers=3, norm=True, sizes=SIZES)
    for layer in {0, 1, 2} - normed:
        del leaves[f"nw{layer}"], leaves[f"nb{layer}"]
    compare(*steps(leaves, "lstm", 3, residual))


@pytest.mark.parametrize("lengths", [(140, 0), (128, 127), None])
def test_the_sentinel_comes_after_the_last_position(lengths):
    """In a block of its own, in the last one, beside a source without words."""
    leaves, _ = make("gru", "additive", sentinel=True, sizes=(6, 1, 140, 6, 20, 8, 19))
    for schedule in ("step", "persistent"):
        with use_schedule(schedule):
            compare(*steps(leaves, "gru", lengths=lengths))


@pytest.mark.parametrize("layers", [1, 2])
def test_summed_inputs_beside_a_sentinel(layers):
    """One layer's sentinel reads the inputs; above another layer it does not."""
    leaves, _ = make("lstm", "additive", sentinel=True, layers=layers, sizes=SIZES)
    if layers == 2:
        compare(*steps(leaves, "lstm", 2, summed=True))
        return
    with pytest.raises(ValueError, match="the sentinel reads the inputs"):
        steps(leaves, "lstm", summed=True)
    weights, state = parts(leaves, 1)
    prepared = step_weights(weights, "lstm", 6, torch.float64)
    sums = input_sums(leaves["inputs"][:, 0], prepared)
    with pytest.raises(ValueError, match="the sentinel reads the inputs"):
        prepared_step(sums, None, prepared, state, None, "lstm", summed=True)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("rows", [None, (5, 0, 0, 3, 2, 5)])
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_inputs_by_row_and_summed(kind, rows, summed):
    leaves, _ = make(kind, "additive", sizes=SIZES)
    compare(*steps(leaves, kind, rows=rows, summed=summed))


def test_sums_of_inputs_on_the_torch_backend():
    leaves, _ = make("lstm", "additive", sizes=SIZES)
    weights, state = parts(leaves, 1)
    prepared = step_weights(weights, "lstm", 6, torch.float64)
    assert not reads_rows(prepared)
    memory, inputs = step_memory(memory_of(leaves, 2, None), prepared), leaves["inputs"][:, 0]
    sums = input_sums(inputs, prepared)
    before = sums.clone()
    for rows in (None, torch.tensor([3, 1, 1, 0, 2, 1])):
        plain = prepared_step(inputs, rows, prepared, state, memory, "lstm")
        found = prepared_step(sums, rows, prepared, state, memory, "lstm", summed=True)
        torch.testing.assert_close(found, plain)
    assert torch.equal(sums, before)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("score", SCORES)
def test_a_single_hypothesis(score, name):
    """Its query reads the weight as a whole, and before it waits."""
    options = dict(OPTIONS[name])
    residual = options.pop("residual", False)
    if score == "none":
        options = {k: v for k, v in options.items() if k not in ("gate", "sentinel")}
    leaves, _ = make("lstm", score, sizes=(1, 1, 20, 3, 19, 18, 35), **options)
    layers = options.get("layers", 1)
    compare(*steps(leaves, "lstm", layers, residual, sources=1, lengths=(17,), rows=None))


@pytest.mark.parametrize("schedule", ["step", "persistent"])
@pytest.mark.parametrize(
    ("sizes", "sources", "lengths"),
    [
        ((1, 1, 1, 1, 1, 1, 1), 1, None),
        ((4, 1, 5, 3, 4, 3, 5), 4, (5, 0, 1, 3)),  # a source without words
        ((40, 1, 33, 3, 18, 4, 35), 8, (33, 0, 1, 32, 17, 16, 2, 33)),  # several tiles of each
        ((18, 1, 3, 2, 3, 4, 5), 1, (2,)),  # more hypotheses of a source than are taken at once
        ((3, 1, 140, 2, 3, 4, 5), 3, (140, 129, 128)),  # several blocks of source positions
        ((2, 1, 0, 2, 3, 4, 5), 2, None),  # no source positions
        ((2, 1, 3, 2, 3, 0, 5), 2, None),  # values without columns
        ((0, 1, 3, 2, 3, 4, 5), 0, None),  # no hypotheses
    ],
    ids=["ones", "length 0", "tiles", "beams", "long", "S 0", "D 0", "N 0"],
)
def test_odd_sizes(sizes, sources, lengths, schedule):
    for folds in (True, False) if sizes[5] else (True,):
        leaves, _ = make("lstm", "additive", sizes=sizes)
        with use_schedule(schedule):
            found, expected = steps(
                leaves, "lstm", sources=sources, lengths=lengths, rows=None, folds=folds
            )
        compare(found, expected)
        if lengths is not None:
            for row, length in enumerate(lengths):
                beams = sizes[0] // sources
                assert found[2][row * beams : (row + 1) * beams, length:].eq(0).all()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    score=st.sampled_from(SCORES),
    feeding=st.booleans(),
    gate=st.sampled_from([None, "scalar", "vector"]),
    beams=st.integers(1, 5),
    sizes=st.tuples(*(st.integers(1, high) for high in (4, 1, 19, 5, 40, 7, 40))),
)
def test_any_sizes(kind, score, feeding, gate, beams, sizes):
    sources, rest = sizes[0], sizes[1:]
    gate = None if score == "none" else gate
    leaves, _ = make(kind, score, feeding=feeding, gate=gate, sizes=(sources * beams, *rest))
    compare(*steps(leaves, kind, sources=sources, lengths=None, rows=None))


@pytest.mark.parametrize("score", SCORES)
def test_half_precision(score):
    """bfloat16 products are wrong in the interpreter; float16 stands for both there."""
    leaves, _ = make("lstm", score, layers=2, sizes=SIZES)
    half = torch.float16
    found, expected = steps(leaves, "lstm", 2, product=half, dtype=half)
    assert found[0].dtype == found[1].hidden.dtype == half
    compare(found, expected, torch.finfo(half).eps, 4)
    found, expected = steps(leaves, "lstm", 2, product=half)  # as under autocast
    assert found[0].dtype == found[1].hidden.dtype == torch.float32
    compare(found, expected, torch.finfo(half).eps, 4)


def test_large_scores_and_queries_do_not_overflow():
    leaves, _ = make("lstm", "additive", sizes=SIZES)
    leaves["query"] *= 1e4
    leaves["score"] *= 30
    compare(*steps(leaves, "lstm"), factor=500)  # a score's rounding is as large as a score


def test_a_row_does_not_depend_on_the_rows_beside_it():
    """Bit for bit: what the other hypotheses hold, and the other sources."""
    leaves, _ = make("lstm", "additive", sizes=(20, 1, 5, 6, 19, 8, 9))
    options = {"sources": 10, "lengths": (5,) * 10, "rows": None}
    (first, _), own = steps(leaves, "lstm", **options), slice(4, 6)
    changed = {k: v.clone() for k, v in leaves.items()}
    for name in ("inputs", "feed"):
        changed[name][:4] += 3
        changed[name][6:] -= 3
    for name in ("hidden", "cell"):
        changed[name][:, :4] += 1
    for name in ("keys", "values"):
        changed[name][:2] *= 50
        changed[name][3:] *= 50
    second, _ = steps(changed, "lstm", **options)
    assert torch.equal(first[0][own], second[0][own])
    assert torch.equal(first[1].cell[:, own], second[1].cell[:, own])
    assert torch.equal(first[2][own], second[2][own])
    assert not torch.equal(first[0][:4], second[0][:4])


def test_two_runs_are_bit_identical():
    leaves, _ = make("gru", "additive", layers=2, sizes=(20, 1, 33, 6, 20, 8, 9))
    options = {"sources": 5, "lengths": None, "rows": None}
    (first, _), (second, _) = (steps(leaves, "gru", 2, **options) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[2], second[2])


@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_the_highest_score_may_come_in_any_block_of_positions(kind):
    """Scores that rise along the source, or fall: what was found before shrinks, or does not."""
    leaves, _ = make("lstm", kind, sizes=(8, 1, 300, 3, 6, 4, 5))
    leaves["keys"] = leaves["keys"][:, :1] * torch.linspace(-8, 8, 300).double()[None, :, None]
    found, expected = steps(leaves, "lstm", sources=4, lengths=None, rows=None)
    highest = expected[2].argmax(1)
    assert (highest > 128).any() and (highest < 128).any()
    compare(found, expected)


class Dawdling:
    """A kernel whose first program takes its time before everything it writes."""

    def __init__(self, kernel, seconds):
        self.kernel, self.seconds = kernel, seconds

    def __getitem__(self, grid):
        def run(**arguments):
            if arguments["first_program"] == 0:
                store = InterpreterBuilder.create_masked_store

                def late(*arguments):
                    time.sleep(self.seconds)
                    return store(*arguments)

                InterpreterBuilder.create_masked_store = late  # of this process
            self.kernel[grid](**arguments)

        return run


@pytest.mark.skipif(not INTERPRETED, reason="on a GPU the other tests use the barrier")
@pytest.mark.parametrize("rows", [20, 1])
@pytest.mark.parametrize("gate", [None, "vector", "sentinel"])
def test_programs_wait_for_each_other_across_processes(monkeypatch, gate, rows):
    """Three programs, two layers, several tiles in each phase: each needs what others wrote in the
    one before. The counter is zero again at the end. A single row reads weights before it waits."""
    slow = Dawdling(launch.STEP.function, 0.1 if rows == 1 else 0.02)
    monkeypatch.setattr(launch.STEP, "function", AcrossProcesses(slow))
    monkeypatch.setattr(launch, "INTERPRETED_PROGRAMS", 3)
    options = {"sentinel": True} if gate == "sentinel" else {"gate": gate}
    leaves, _ = make(
        "gru", "additive", layers=2, norm=True, sizes=(rows, 1, 5, 3, 36, 18, 33), **options
    )
    sources = (
        {"sources": 4, "lengths": (5, 2, 1, 0)} if rows > 1 else {"sources": 1, "lengths": (4,)}
    )
    found, expected = steps(leaves, "gru", 2, True, rows=None, **sources)
    compare(found, expected)


@pytest.mark.skipif(not INTERPRETED, reason="would leave wrong numbers on the GPU")
def test_a_barrier_that_is_never_reached_is_an_error_in_debug_mode(monkeypatch):
    """The interpreter runs one program after the other: the first waits in vain."""
    monkeypatch.setenv("KERNELS_DEBUG", "20")
    monkeypatch.setattr(launch, "INTERPRETED_PROGRAMS", 2)
    leaves, _ = make("tanh", "none", sizes=(1, 1, 1, 1, 1, 1, 1))
    with pytest.raises(RuntimeError, match="barrier was not reached"):
        steps(leaves, "tanh", rows=None)


@pytest.mark.skipif(not INTERPRETED, reason="no launch can be stopped on a GPU")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_launch_that_was_stopped_leaves_nothing_to_the_next(monkeypatch, error):
    """Its arrivals and departures would let the next one's programs pass, or hang."""
    leaves, _ = make("lstm", "additive", sizes=SIZES)
    leaves = {k: v.float() for k, v in leaves.items()}
    weights, state = parts(leaves, 1)
    kernel = launch.STEP.function

    class Stopped:
        def __getitem__(self, grid):
            def run(**arguments):
                kernel[grid](**arguments)
                arguments["counter"].copy_(torch.tensor([7, 1]))
                raise error

            return run

    with use_backend("triton"), use_schedule("persistent"):
        prepared = step_weights(weights, "lstm", 6, torch.float32)
        arguments = (leaves["inputs"][:, 0], None, prepared, state)
        memory = step_memory(memory_of(leaves, 2, None), prepared)
        expected = prepared_step(*arguments, memory, "lstm")[0]
        monkeypatch.setattr(launch.STEP, "function", Stopped())
        with pytest.raises(error):
            prepared_step(*arguments, memory, "lstm")
        monkeypatch.undo()
        assert prepared.counter.eq(0).all()
        assert torch.equal(prepared_step(*arguments, memory, "lstm")[0], expected)


def test_what_has_no_kernel_says_so():
    leaves, _ = make("lstm", "additive", sizes=SIZES)
    with use_schedule("resident"), pytest.raises(RuntimeError, match="recurrence's alone"):
        steps(leaves, "lstm")
    with pytest.raises(RuntimeError, match="no float64"):
        steps(leaves, "lstm", product=torch.float64)


@pytest.mark.parametrize(("prepare", "run"), [("triton", "torch"), ("torch", "triton")])
def test_weights_of_the_other_backend_are_a_clear_error(prepare, run):
    leaves, _ = make("lstm", "additive", sizes=SIZES)
    leaves = {k: v.float().to(DEVICE) for k, v in leaves.items()}
    weights, state = parts(leaves, 1)
    with use_backend(prepare):
        prepared = step_weights(weights, "lstm", 6, torch.float32)
        memory = step_memory(memory_of(leaves, 2, None), prepared)
    with use_backend(run), pytest.raises(RuntimeError, match=f"prepared for '{prepare}'"):
        prepared_step(leaves["inputs"][:, 0], None, prepared, state, memory, "lstm")
    if prepare == "triton":
        plain = step_weights(weights, "lstm", 6, torch.float32)
        with pytest.raises(RuntimeError, match="call step_memory anew"):
            prepared_step(leaves["inputs"][:, 0], None, plain, state, memory, "lstm")


@pytest.mark.parametrize(
    ("name", "shape", "named"),
    [
        ("inputs", (6, 1, 5), "inputs has shape"),
        ("hidden", (1, 6, 6), r"state\.hidden has shape"),
        ("cell", (1, 5, 7), r"state\.cell has shape"),
        ("feed", (6, 8), r"state\.feed has shape"),
        ("feed", None, r"state\.feed is None"),
        ("keys", (6, 5, 5), r"memory\.keys has shape"),
        ("values", (6, 4, 8), r"memory\.values has shape"),
    ],
)
def test_wrong_shapes_name_the_argument(name, shape, named):
    """A kernel would read past the end."""
    right, _ = make("lstm", "additive", sizes=SIZES)
    right = {k: v.float().to(DEVICE) for k, v in right.items()}
    weights, _ = parts(right, 1)
    wrong = dict(right)
    wrong[name] = None if shape is None else torch.zeros(shape, device=DEVICE)
    _, state = parts(wrong, 1)
    with use_backend("triton"):
        prepared = step_weights(weights, "lstm", 6, torch.float32)
        memory = step_memory(memory_of(wrong, 2, None))
        with pytest.raises(ValueError, match=named):
            prepared_step(wrong["inputs"][:, 0], None, prepared, state, memory, "lstm")


def test_what_does_not_belong_together_is_named():
    """Weights of one cell with the state of another, or without the memory they read, or with one
    that other weights folded: the kernel would read what is not there, or give back what it never
    wrote."""
    leaves, _ = make("lstm", "additive", gate="vector", sizes=SIZES)
    leaves = {k: v.float().to(DEVICE) for k, v in leaves.items()}
    weights, state = parts(leaves, 1)
    plain = weights._replace(gate=None, gate_bias=None)
    inputs, given = leaves["inputs"][:, 0], memory_of(leaves, 2, None)
    with use_backend("triton"):
        prepared, other = (step_weights(w, "lstm", 6, torch.float32) for w in (weights, plain))
        memory, folded = step_memory(given, prepared), step_memory(given, other)
        assert folded.folded is not None
        for own, at, kind, named in (
            (state, None, "lstm", "memory is None"),
            (state, folded, "lstm", r"memory\.folded"),
            (state, memory, "gru", r"state\.cell must be given for 'lstm'"),
            (state._replace(cell=None), memory, "lstm", r"state\.cell must be given for 'lstm'"),
            (state._replace(cell=None), memory, "tanh", "a cell of 4 gates"),
        ):
            with pytest.raises(ValueError, match=named):
                prepared_step(inputs, None, prepared, own, at, kind)


def test_a_query_without_memory_is_not_read():
    leaves, _ = make("lstm", "none", sizes=SIZES)
    leaves["query"] = torch.ones(3, 7, dtype=torch.float64)
    compare(*steps(leaves, "lstm"))


def test_hypotheses_in_equal_numbers():
    leaves, _ = make("lstm", "additive", sizes=(5, *SIZES[1:]))
    with pytest.raises(ValueError, match="5 hypotheses, memory 2 sources"):
        leaves = {k: v.float().to(DEVICE) for k, v in leaves.items()}
        weights, state = parts(leaves, 1)
        with use_backend("triton"):
            prepared = step_weights(weights, "lstm", 6, torch.float32)
            memory = step_memory(memory_of(leaves, 2, None), prepared)
            prepared_step(leaves["inputs"][:, 0], None, prepared, state, memory, "lstm")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    sources=st.integers(1, 300),
    beams=st.integers(1, 40),
    source=st.integers(0, 2000),
    size=st.integers(1, 3000),
    width=st.integers(1, 3000),
    values=st.integers(1, 3000),
    attends=st.booleans(),
    folded=st.booleans(),
    width_in_bytes=st.sampled_from([2, 4]),
    arch=st.sampled_from(sorted(CHIPS)),
)
def test_the_rule_always_finds_tiles(
    kind, sources, beams, source, size, width, values, attends, folded, width_in_bytes, arch
):
    problem = Problem(
        kind, sources * beams, beams, source, size, width, values, size if attends else 0, True, 0,
        True, 2, width, 0, folded, False, False, width_in_bytes, 4,
    )  # fmt: skip
    tiles = pick(problem, CHIPS[arch])
    assert tiles.schedule == "persistent"
    numbers = (*tiles[2:5][:2], tiles.rows, tiles.columns, tiles.inner, *tiles[8:-2])
    assert all(n > 0 and n & (n - 1) == 0 for n in numbers)
    assert all(count > 0 for *_, count in phases(problem, tiles))
    assert price(tiles, problem, CHIPS[arch]) > 0


def test_few_kernels_serve_a_search_whose_sources_end():
    """Each other choice of tiles would be compiled anew."""
    found = set()
    for sources, source in itertools.product(range(1, 65), (20, 30, 50)):
        problem = Problem(
            "lstm", 5 * sources, 5, source, 512, 512, 512, 512, True, 0, True, 1, 0, 512, True,
            False, False, 2, 2,
        )  # fmt: skip
        found.add(pick(problem, CHIPS[90]))
    assert len(found) <= 6
