"""python -m kernels.compile, and the rule whose choices it compiles."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.common.chip import CHIPS, Chip
from kernels.compile import main
from kernels.compile.kernel import Report, faults
from kernels.compile.recurrence import Configuration, configurations, kernel
from kernels.recurrence.schedule import (
    NEAR,
    Problem,
    Schedule,
    asked_schedule,
    by_rows,
    candidates,
    chain,
    groups_at_once,
    pick,
    price,
    shared_bytes,
    use_schedule,
)


def report(path, *arguments):
    """The report of a run in a process of its own, where kernels are not interpreted."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "kernels.compile", *arguments, "--output", str(path)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(path.read_text())["kernels"]


def reports(path, *arguments):
    """The report of each chip, by a process for all of them."""
    kernels = report(path, *arguments, "--arch", *map(str, sorted(CHIPS)))
    found = {arch: [k for k in kernels if k["arch"] == arch] for arch in sorted(CHIPS)}
    assert sum(map(len, found.values())) == len(kernels)
    return found


def test_kernels_compile_without_spills_and_within_shared_memory(tmp_path):
    found = reports(
        tmp_path / "report.json", "recurrent", "--shapes", "quick", "--dtype", "bf16"
    )  # fmt: skip
    for kernels in found.values():
        check_recurrences(kernels)


def check_recurrences(kernels):
    """One H 128 (resident) and one H 512 (persistent), all cells, both passes, bfloat16."""
    assert {k["schedule"]["name"] for k in kernels} >= {"resident", "persistent"}
    assert {(k["kind"], k["backward"]) for k in kernels} == {
        (kind, backward) for kind in ("lstm", "gru", "tanh") for backward in (False, True)
    }
    odd = [k for k in kernels if not k["aligned"]]
    assert {(k["kind"], k["backward"]) for k in odd} == {("lstm", False), ("lstm", True)}
    rows = [k for k in kernels if k["norm"] and k["schedule"]["name"] == "step"]
    assert {(k["kind"], k["backward"]) for k in rows} >= {("lstm", False), ("lstm", True)}
    # Products on tensor cores, but for the kernels that leave them to torch.
    assert all(k["mma"] + k["wgmma"] > 0 for k in kernels if k not in rows)
    for one in kernels:  # the chain that the price counts with is that of the code
        problem = Problem(**{name: one[name] for name in Problem._fields})
        assert one["chain"] == chain(Schedule(**one["schedule"]), problem), one
    assert max(k["chain"] for k in kernels if k["size"] == 512) <= 32


def test_other_kernels_compile(tmp_path):
    found = "decoder loss projected --shapes quick --dtype bf16".split()
    for kernels in reports(tmp_path / "report.json", *found).values():
        check_others(kernels)


def check_others(kernels):
    """The persistent loop at H 512, the phases of a single step at H 1024, the loss, the cell of a
    projected LSTM; bfloat16."""
    phases = {(k["phase"], k["backward"]) for k in kernels if k["operation"] == "decoder"}
    assert phases >= {("all", False), ("all", True), ("layer", False), ("attend", False)}
    cells = {(k["backward"], k["norm"]) for k in kernels if k["operation"] == "projected"}
    assert cells == {(False, False), (False, True), (True, False), (True, True)}
    assert {k["rows"] for k in kernels if k.get("step")} == {1, 160}  # of search
    assert all(k["mma"] + k["wgmma"] > 0 for k in kernels if k.get("phase") in ("all", "layer"))


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--options"]])
def test_all_configurations_compile(options, tmp_path):
    """Takes hours on two cores. benchmarks/compile.md lists what has been compiled."""
    report(tmp_path / "report.json", *options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_widest_sentinel_does_not_spill(kind, tmp_path):
    """Under Triton 3.6.0 the GRU's spilled; a test of the version that is installed."""
    code = (
        "import sys; from tests.kernels.ptx_kernels import *; "
        "from kernels.compile.kernel import compile_kernel, faults; "
        f"k = of_decoder('{kind}', 1024, True, gates=1024, sentinel=True, batch=32); "
        "sys.exit('; '.join(faults(k, compile_kernel(k, ARCH), ARCH)) or 0)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


def test_reports_become_one_table(tmp_path):
    def kernel(registers, **more):
        return {
            "operation": "recurrent", "kind": "lstm", "norm": False, "size": 512, "dtype": "bf16",
            "arch": 90, "backward": True, "registers": registers, "shared": 2048, "stack": 0,
            "chain": 16, "faults": [],
        } | more  # fmt: skip

    failed = {k: v for k, v in kernel(0).items() if k not in ("registers", "shared", "stack")}
    kernels = [kernel(90), kernel(106, chain=12), failed | {"arch": 80, "faults": ["no"]}]
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    paths[0].write_text(json.dumps({"triton": "3.6.0", "kernels": kernels}))
    paths[1].write_text(json.dumps({"triton": "3.7.1", "kernels": [kernel(80, backward=False)]}))
    table = tmp_path / "table.md"
    assert main(["--reports", *map(str, paths), "--summary", str(table)]) == 0
    assert table.read_text().splitlines()[2:] == [
        "| LSTM | backward | 512 | bf16 | 80 | 3.6.0 | 1 | - | - | - | 1 | 16 |",
        "| LSTM | backward | 512 | bf16 | 90 | 3.6.0 | 2 | 106 | 2 | 0 | 0 | 16 |",
        "| LSTM | forward | 512 | bf16 | 90 | 3.7.1 | 1 | 80 | 2 | 0 | 0 | 16 |",
    ]


def test_faults_are_seen():
    problem = Problem("lstm", 64, 512, 1, 2, False)
    one = kernel(Configuration(problem, pick(problem, CHIPS[90]), "bf16"), 90)
    fine = Report(100, 0, one.shared, 0, 64, 8, 1.0)
    assert not list(faults(one, fine, 90))
    assert "spilled" in next(faults(one, fine._replace(stack=64), 90))
    assert "the chip has" in next(faults(one, fine._replace(shared=300_000), 90))


def test_each_kernel_is_compiled_once():
    found = configurations(90, [(64, 2, 512), (63, 9, 512)], ["bf16"], options=False)
    assert len({one.key for one in found}) == len(found)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["lstm", "gru", "tanh"]),
    batch=st.integers(1, 5000),
    size=st.integers(1, 5000),
    directions=st.sampled_from([1, 2]),
    width=st.sampled_from([2, 4]),
    backward=st.booleans(),
    chip=st.sampled_from([*CHIPS.values(), Chip(128, 99 * 1024)]),  # the last: sm_86, sm_89
    steps=st.integers(1, 2),
    norm=st.booleans(),
)
def test_the_rule_always_finds_a_schedule_that_fits(
    kind, batch, size, directions, width, backward, chip, steps, norm
):
    problem = Problem(kind, batch, size, directions, width, backward, steps, norm)
    chosen = pick(problem, chip)
    assert by_rows(chosen, problem) or shared_bytes(chosen, problem) <= chip.shared_memory
    assert not norm or chosen.units >= size
    assert chosen.name != "persistent" or groups_at_once(chosen, size, chip) > 0
    assert chosen.name != "resident" or chosen.units >= size
    assert all(n & (n - 1) == 0 for n in (chosen.sequences, chosen.units, chosen.inner))
    found = [s for s in candidates(problem, chip) if steps > 1 or s.name == "step"]
    cheapest = min(price(s, problem, chip) for s in found)
    assert any(s.name == "step" for s in candidates(problem, chip))
    assert price(chosen, problem, chip) <= NEAR * cheapest


@pytest.mark.parametrize(
    ("batch", "steps", "size", "name"),
    [
        (64, 9, 128, "resident"),
        (64, 9, 512, "persistent"),
        (1, 9, 4096, "step"),
        (1, 1, 512, "step"),  # decoding
    ],
)
def test_the_schedule_follows_from_the_size(batch, steps, size, name):
    assert pick(Problem("lstm", batch, size, 1, 2, False, steps), CHIPS[90]).name == name


def test_the_rule_can_be_overridden():
    problem = Problem("lstm", 64, 128, 1, 2, False)
    assert asked_schedule() == ""
    with use_schedule("step"):
        assert pick(problem, CHIPS[90], asked_schedule()).name == "step"
    fixed = Schedule("persistent", 16, 8, 64, 4)
    with use_schedule(fixed):
        assert pick(problem, CHIPS[90], asked_schedule()) == fixed
