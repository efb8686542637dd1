"""The longest chain of tensor-core instructions, counted in kernels where it is known."""

import os
import subprocess
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.common.split_product import add_splits, split_inner
from kernels.compile.chain import longest_chain

MMA = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"


def ptx(*body: str) -> str:
    return "\n".join([".visible .entry kernel(\n .param .u64 x\n)\n{", *body, "ret;", "}"])


def mma(result: str, added: str) -> str:
    group = "{ %rX0, %rX1, %rX2, %rX3 }"
    return (
        f"{MMA} {group.replace('X', result)}, {{ %r1, %r2, %r3, %r4 }}, {{ %r5, %r6 }}, "
        f"{group.replace('X', added)};"
    )


def test_sums_side_by_side_are_no_chain():
    assert longest_chain(ptx()) == 0
    assert longest_chain(ptx(mma("1", "1"), mma("2", "2"), mma("3", "3"))) == 1
    assert longest_chain(ptx(mma("1", "1"), mma("2", "1"), mma("3", "2"))) == 3


def test_a_sum_that_begins_again_ends_the_chain():
    again = [f"mov.b32 %r1{k}, 0;" for k in range(4)]
    assert longest_chain(ptx(mma("1", "1"), mma("1", "1"), *again, mma("1", "1"))) == 2


def test_depth_goes_through_memory():
    through = ("st.shared.b32 [%r9], %r10;", "ld.shared.b32 %r20, [%r9];")
    assert longest_chain(ptx(mma("1", "1"), *through, mma("2", "2"))) == 2
    assert longest_chain(ptx(mma("1", "1"), *through[:1], mma("2", "2"))) == 1


def test_where_paths_meet_the_deeper_counts():
    branch = ("@%p1 bra $L1;", mma("1", "1"), mma("1", "1"), "$L1:")
    assert longest_chain(ptx(*branch, mma("1", "1"))) == 3


def test_constant_loops_count_each_round_and_others_one():
    def loop(bound):
        return ptx(
            "mov.b32 %r7, 0;", "$L1:", mma("1", "1"), "add.s32 %r7, %r7, 64;",
            f"setp.lt.u32 %p1, %r7, {bound};", "@%p1 bra $L1;",
        )  # fmt: skip

    assert longest_chain(loop("512")) == 8
    assert longest_chain(loop("%r8")) == 1


def test_what_is_constant_in_the_first_round_only_hides_nothing():
    body = ptx(
        "mov.b32 %r7, 0;", "$L1:", "setp.eq.s32 %p2, %r7, 0;", "@%p2 bra $L2;", mma("1", "1"),
        "$L2:", "add.s32 %r7, %r7, 1;", "setp.lt.s32 %p1, %r7, %r8;", "@%p1 bra $L1;",
    )  # fmt: skip
    assert longest_chain(body) == 1


@triton.jit
def _multiply(x, w, y, K: tl.constexpr, SPLITS: tl.constexpr):
    b, n = tl.arange(0, 16), tl.arange(0, 16)
    if SPLITS == 1:
        k = tl.arange(0, K)
        rows = tl.load(x + b[:, None] * K + k[None, :])
        product = tl.dot(rows, tl.load(w + n[None, :] * K + k[:, None]))
    else:
        parts = split_inner(0, K, SPLITS)
        rows = tl.load(x + b[None, :, None] * K + parts[:, None, :])
        columns = tl.load(w + n[None, None, :] * K + parts[:, :, None])
        product = add_splits(tl.dot(rows, columns), SPLITS, 16, 16)
    tl.store(y + b[:, None] * 16 + n[None, :], product)


def compiled(splits: int) -> str:
    types = {"x": "*bf16", "w": "*bf16", "y": "*fp32", "K": "constexpr", "SPLITS": "constexpr"}
    source = ASTSource(_multiply, types, {"K": 512, "SPLITS": splits})
    target = GPUTarget("cuda", 90, 32)
    return triton.compile(source, target=target, options={"num_warps": 4}).asm["ptx"]


def test_splitting_k_over_four_warps_leaves_a_quarter_of_the_chain():
    """In a process of its own, where kernels are not interpreted."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == [str(512 // 16), str(512 // 16 // 4)], done.stderr[-2000:]


if __name__ == "__main__":
    print(longest_chain(compiled(1)), longest_chain(compiled(4)))
