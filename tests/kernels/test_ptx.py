"""The order of reads and writes in the compiled kernels, which no interpreter shows: every kernel
whose programs wait for each other is compiled for sm_90, without a GPU, and its code is read.

Rows of 130 and 500 numbers are no multiple of 16 bytes: only those made the compiler copy them
through L1 (``cp.async.ca``).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.compile import in_place, ordering, ptx

SHARED = Path(__file__).parent / "ptx_kernels.py"


@pytest.fixture(scope="module")
def compiled():
    """In a process of its own, where kernels are compiled and not interpreted."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = os.pathsep.join([str(root), environment.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, SHARED], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


CASES = [
    "recurrence forward", "recurrence backward", "decoder forward", "decoder forward, options",
    "decoder backward", "decoder backward, options", "decoder backward, few gates", "step",
    "step, options", "step of one row",
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_programs_wait_with_an_acquire_and_read_past_L1(compiled, name):
    one = compiled[name]
    assert not ordering.faults(one["ptx"], one["names"])


@pytest.mark.parametrize("name", CASES)
def test_no_thread_stores_what_another_still_reads(compiled, name):
    one = compiled[name]
    assert not in_place.faults(one["ttgir"], one["ptx"])


def test_weights_stay_in_the_pipeline(compiled):
    """What leaves it for its rows' sake: the rows alone."""
    for name in ("decoder forward", "decoder backward", "step"):
        assert "cp.async.ca" in compiled[name]["ptx"], name


def faults_after(one, old, new):
    """How the code of a kernel is judged after a change that a compiler might make."""
    assert old in one["ptx"]
    return ordering.faults(one["ptx"].replace(old, new), one["names"])


def test_faults_are_found(compiled):
    one = compiled["decoder forward"]
    without = faults_after(one, "ld.global.gpu.acquire.b32", "ld.volatile.global.b32")
    assert any("no acquire" in fault for fault in without)
    cached = faults_after(one, "ld.global.cg", "ld.global")
    assert any("from L1" in fault and "states" in fault for fault in cached)
    unordered = faults_after(one, "bar.sync", "bar.arrive")
    assert any("stores are ordered" in fault for fault in unordered)
    assert any("no bar.sync since" in fault for fault in unordered)
    # A warp's maximum on sm_100 is no access to memory, though its name begins as red's does.
    assert not faults_after(one, "ret;", "redux.sync.max.f32 %r1, %r1, %r1;\n\tret;")
    assert in_place.faults(one["ttgir"], one["ptx"].replace("bar.sync", "bar.arrive"))
    copied = compiled["decoder forward, aligned"]
    assert not ordering.faults(copied["ptx"], copied["names"])
    assert "cp.async.cg" in copied["ptx"] and "cp.async.ca" not in copied["ptx"]
    assert any("cp.async.ca" in f for f in faults_after(copied, "cp.async.cg", "cp.async.ca"))


@pytest.mark.parametrize(
    ("chain", "inner"),
    [
        (" @[ b.py:3:4 @[ a.py:1:2 ] ]", ".loc 3 5 6, function_name $L0, inlined_at 2 3 4"),
        ("", ".loc 3 5 6, function_name $L0, inlined_at 2 3 4"),  # Triton 3.9
    ],
)
def test_a_place_names_the_calls_that_led_there(chain, inner):
    text = (
        ".visible .entry k(\n)\n{\n"
        ".loc 1 1 2 prologue_end // a.py:1:2\n"
        ".loc 2 3 4, function_name $L0, inlined_at 1 1 2 // b.py:3:4\n"
        f"{inner} // c.py:5:6{chain}\n"
        "// begin inline asm\n.loc 3 9 9 // c.py:9:9\n"
        "st.global.b32 [ %rd1 + 0 ], { %r1 };\n// end inline asm\nret;\n}\n"
    )
    store = ptx.read(text)["entry"].instructions[0]
    assert store.place == ("c.py:5:6", "b.py:3:4", "a.py:1:2")
