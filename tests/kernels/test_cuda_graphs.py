"""Loops of launches replayed as CUDA graphs, with graphs that record calls and run them in Triton's
interpreter. No GPU has run real ones."""

import contextlib
import threading
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from kernels.common import cuda_graphs as graphs
from kernels.decoder.triton_backend import launch as decoder_launch
from kernels.recurrence.schedule import use_schedule
from kernels.recurrence.triton_backend import loops as recurrent_loops
from tests.kernels.recurrences import make, options_of, run
from tests.kernels.test_decoder import make as make_decoder
from tests.kernels.test_decoder import run as run_decoder

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="graphs are played on the CPU")


class Stream:
    cuda_stream = 7


@pytest.fixture
def played(monkeypatch):
    """CUDA graphs on the CPU: what is captured runs at each replay, and not before. -> the names of
    what was done."""
    done = []

    def capture(recorded, device):
        done.append("capture")

        def replayed():
            done.append("replay")
            recorded()

        return replayed

    monkeypatch.setenv("KERNELS_GRAPHS", "1")
    monkeypatch.setattr(graphs, "on_gpu", lambda device: True)
    monkeypatch.setattr(graphs, "capture", capture)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append("synchronize"))
    graphs.clear()
    yield done
    graphs.clear()


@pytest.mark.parametrize("kind", ["lstm", "gru", "relu"])
@pytest.mark.parametrize("everything", [False, True])
def test_a_replayed_recurrence_is_the_plain_one(kind, everything, played, monkeypatch):
    """Forward and backward pass, with other numbers at each call."""
    options = {"kind": kind}
    if everything:
        options |= options_of(kind, 3, 2, 5, 2) | {"lengths": torch.tensor([2, 0, 1])}
    for seed in range(3):
        arguments = make(kind, 3, 2, 3, 5, directions=2, seed=seed)
        with use_schedule("step"):
            found = run("triton", arguments, torch.float32, **options)
    assert played == ["capture", "replay"] * 2 + ["replay"] * 2
    monkeypatch.delenv("KERNELS_GRAPHS")
    with use_schedule("step"):
        plain = run("triton", arguments, torch.float32, **options)
    assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lstm", {}),
        ("gru", {"layers": 2, "dropout": "plain", "norm": True}),
        ("lstm", {"layers": 2, "sentinel": True, "gate": "vector"}),
    ],
)
def test_a_replayed_decoder_is_the_plain_one(kind, options, played, monkeypatch):
    """Buffers that are views of others stay so."""
    leaves, call = make_decoder(kind, "additive", sizes=(3, 2, 3, 3, 5, 4, 6), **options)
    for factor in (1.0, 0.5, 0.25):
        leaves = {k: v * factor for k, v in leaves.items()}
        with use_schedule("step"):
            found = run_decoder(leaves, call, "triton", torch.float32)
    assert played.count("capture") == 2 and played.count("replay") == 4
    monkeypatch.delenv("KERNELS_GRAPHS")
    with use_schedule("step"):
        plain = run_decoder(leaves, call, "triton", torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(found[0], plain[0], strict=True))
    assert all(torch.equal(found[1][name], plain[1][name]) for name in plain[1])


class Bundle(NamedTuple):
    whole: Tensor
    part: Tensor  # of ``whole``
    other: Tensor | None
    read: Tensor


def bundle():
    whole = torch.arange(12.0)
    return Bundle(whole, whole[3:9].view(2, 3), None, torch.arange(6.0).view(2, 3))


def add(own):
    own.part.add_(own.read)
    own.whole.mul_(2)


WRITTEN = frozenset(["whole", "part"])


def added():
    named = bundle()
    add(named)
    return named.whole


def test_what_overlaps_overlaps_in_the_buffers(played):
    for _ in range(3):
        named = bundle()
        graphs.replay("add", named, WRITTEN, add)
        assert torch.equal(named.whole, added())
        assert torch.equal(named.read, bundle().read)
    assert played == ["capture", "replay", "replay"]


def test_only_what_is_written_is_copied_out(played):
    for _ in range(2):
        named = bundle()
        graphs.replay("add", named, frozenset(), add)
    assert torch.equal(named.whole, bundle().whole)


def test_the_key_tells_loops_apart(played, monkeypatch):
    """By what is asked, by shapes, strides, dtypes, alignment, and the stream."""
    named = bundle()
    for _ in range(2):
        graphs.replay("add", bundle(), WRITTEN, add)
    assert len(graphs._graphs) == 1
    shifted = torch.arange(14.0)[1:13]  # begins 4 bytes after a multiple of 16
    others = [
        ("twice", named),
        ("add", named._replace(read=named.read.t().contiguous().t())),
        ("add", named._replace(read=named.read.double())),
        ("add", named._replace(part=torch.zeros(2, 3))),
        ("add", named._replace(whole=shifted, part=shifted[3:9].view(2, 3))),
    ]
    for key, other in others:
        graphs.replay(key, other, WRITTEN, add)
    monkeypatch.setattr(Stream, "cuda_stream", 8)
    graphs.replay("add", bundle(), WRITTEN, add)
    assert played == ["capture", "replay"]  # all came for the first time


def test_graphs_and_their_bytes_are_bounded(played, monkeypatch):
    monkeypatch.setattr(graphs, "MOST", 2)
    for key in ("a", "a", "b", "b", "a", "c", "c"):
        graphs.replay(key, bundle(), WRITTEN, add)
    assert [full[0] for full in graphs._graphs] == ["a", "c"]  # b was used longest ago
    assert played.count("synchronize") == 1  # it may still run
    monkeypatch.setattr(graphs, "MOST_BYTES", 100)  # a bundle has 72
    for _ in range(2):
        graphs.replay("d", bundle(), WRITTEN, add)
    assert [full[0] for full in graphs._graphs] == ["d"]
    monkeypatch.setattr(graphs, "MOST_BYTES", 50)
    before = len(played)
    for _ in range(3):
        graphs.replay("e", bundle(), WRITTEN, add)
    assert len(played) == before


@pytest.mark.parametrize("reason", ["another graph", "debugging", "not wanted", "on the CPU"])
def test_loops_that_stay_plain(reason, played, monkeypatch):
    if reason == "another graph":
        monkeypatch.setattr(graphs, "capturing", lambda device: True)
    elif reason == "debugging":
        monkeypatch.setenv("KERNELS_DEBUG", "1")
    elif reason == "not wanted":
        monkeypatch.delenv("KERNELS_GRAPHS")
    else:
        monkeypatch.setattr(graphs, "on_gpu", lambda device: False)
    for _ in range(3):
        named = bundle()
        graphs.replay("add", named, WRITTEN, add)
        assert torch.equal(named.whole, added())
    assert played == []


def test_graphs_of_inference_mode_serve_others(played):
    with torch.inference_mode():
        for _ in range(2):
            graphs.replay("add", bundle(), WRITTEN, add)
    named = bundle()
    graphs.replay("add", named, WRITTEN, add)
    assert torch.equal(named.whole, added()) and played.count("capture") == 1


def test_threads_do_not_mix_their_copies(played):
    """Autograd's threads replay, too: a call's copies and its replay stay together."""
    graphs.replay("add", bundle(), WRITTEN, add)
    wrong = []

    def work(factor):
        for _ in range(100):
            named = bundle()
            named.read.mul_(factor)
            expected = bundle()
            expected.read.mul_(factor)
            add(expected)
            graphs.replay("add", named, WRITTEN, add)
            if not torch.equal(named.whole, expected.whole):
                wrong.append(factor)

    threads = [threading.Thread(target=work, args=(factor,)) for factor in (1.0, 3.0, 7.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and played.count("capture") == 1


def test_a_capture_uses_a_stream_of_its_own_and_leaves_other_threads_alone(monkeypatch):
    asked = {}

    class Graph:
        def replay(self):
            asked["replayed"] = True

    @contextlib.contextmanager
    def graph(graph, **options):
        asked.update(options)
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: ("stream of", device))
    monkeypatch.setattr(torch.cuda, "graph", graph)
    ran = []
    replay = graphs.capture(lambda: ran.append(1), torch.device("cuda", 1))
    assert ran == [1] and "replayed" not in asked
    replay()
    assert asked == {
        "stream": ("stream of", torch.device("cuda", 1)),
        "capture_error_mode": "thread_local",
        "replayed": True,
    }


def test_fields_that_kernels_write_are_known_by_name():
    """A name that no bundle has would be a field that is never copied out."""
    for module in (recurrent_loops, decoder_launch):
        fields = {*module.ForwardPointers._fields, *module.BackwardPointers._fields}
        assert fields >= module._WRITTEN
