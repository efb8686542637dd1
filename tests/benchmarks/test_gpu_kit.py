"""The kit for a GPU: what surrounds the measurements, with programs made up for it."""

import base64
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from benchmarks.gpu_kit import __main__ as kit
from benchmarks.gpu_kit import carried, filling, running
from benchmarks.gpu_kit.places import ROOT
from benchmarks.gpu_kit.plan import CALLS, SECONDS, Part, plan
from benchmarks.gpu_kit.records import attempt, checked, read
from benchmarks.gpu_kit.report import failures, tables
from benchmarks.gpu_kit.running import run_parts
from benchmarks.gpu_kit.summaries import ratios, read_bench

PROGRAMS = {
    "good": """import sys
from benchmarks.gpu_kit.records import attempt, say
say("numbers", name="one", value=1.5, given=sys.argv[1:])
attempt("numbers", "two", lambda: {"value": 1 / 0})
attempt("numbers", "three", lambda: {"value": 3})""",
    "fails": "import sys; print('before'); sys.exit(1)",
    "crashes": "raise RuntimeError('planted')",
    "hangs": "import time; print('begun', flush=True); time.sleep(600)",
    "deaf": """import signal, subprocess, sys, time
for name in (signal.SIGINT, signal.SIGTERM): signal.signal(name, signal.SIG_IGN)
print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)
time.sleep(600)""",
    "writes": """import time
try:
    time.sleep(600)
except KeyboardInterrupt:
    print('{"table": "late", "name": "kept"}', flush=True)""",
    "where": """import os, time
from benchmarks.gpu_kit.records import say
left = float(os.environ["GPU_KIT_END"]) - time.monotonic()
own = os.getpgid(0) == os.getpid()
patience = os.environ["GPU_KIT_PATIENCE"]
say("where", session=os.getsid(0), own_group=own, left=left, patience=patience)""",
    "loses": """import os, torch
from functools import partial
from benchmarks.gpu_kit.parts.card import attempt_all
lost = False
def raises():
    if lost: raise RuntimeError("an illegal memory access")
torch.cuda.is_available, torch.cuda.synchronize = lambda: True, raises
def case(number):
    global lost
    raises()
    lost = number == 1
    return {"process": os.getpid()} | ({"problem": "WRONG"} if number else {})
good = attempt_all([("cases", str(number), partial(case, number)) for number in range(4)])
raise SystemExit(0 if good else 1)""",
    "floods": "for _ in range(2000): print('x' * 100)",
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the named programs as parts; -> (records, endings, what was shown)."""
    for name, text in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(running, "GRACE", 0.5)
    monkeypatch.setattr(running, "SHORTEST", 0.5)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}

    def parts(*chosen, seconds=None):
        shown = io.StringIO()
        if seconds is None:  # no more than the parts may take
            kept = running.RESERVE + running.GRACE
            seconds = sum(part.seconds for part in chosen) + kept
        found = run_parts(list(chosen), tmp_path / "out", seconds, environment, echo=shown)
        return (*found, shown.getvalue())

    return parts


def test_parts_report_and_a_failing_one_stops_no_other(run, tmp_path):
    records, endings, shown = run(
        Part("a", 30, "fails"), Part("b", 30, "crashes"), Part("c", 30, "good", ("x", "y"))
    )
    assert [ending["outcome"] for ending in endings] == [
        "failed: exit status 1", "failed: exit status 70", "done",
    ]  # fmt: skip
    assert [record["name"] for record in records] == ["one", "two", "three"]
    assert records[0]["given"] == ["x", "y"]
    assert records[1]["problem"].startswith("ZeroDivisionError")
    log = (tmp_path / "out" / "log.txt").read_text()
    assert log == shown and "before" in log and "RuntimeError: planted" in log
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records
    assert failures(records, endings) == 3  # a, b and the division


def test_a_part_that_hangs_is_stopped_and_the_next_one_runs(run):
    start = time.monotonic()
    _, endings, shown = run(Part("a", 6, "hangs"), Part("b", 30, "good"))
    assert endings[0]["outcome"] == "STOPPED after 6 s" and endings[1]["outcome"] == "done"
    assert "begun" in shown and time.monotonic() - start < 60


def test_a_part_may_take_what_others_did_not_need(run):
    _, endings, shown = run(Part("a", 40, "good"), Part("b", 1, "good"), seconds=60)
    assert [ending["outcome"] for ending in endings] == ["done", "done"]
    assert "== a: at most 5" in shown and "== b: at most 1 s" not in shown


def test_a_part_may_still_write_what_it_has(run, monkeypatch):
    monkeypatch.setattr(running, "GRACE", 30)  # it ends as soon as it has written
    records, endings, _ = run(Part("a", 6, "writes"))  # seconds: Python starts slowly under load
    assert endings[0]["outcome"].startswith("STOPPED")
    assert records == [{"table": "late", "name": "kept"}]


def test_a_part_that_ignores_signals_is_killed_with_its_children(run):
    _, endings, shown = run(Part("a", 6, "deaf"))
    assert endings[0]["outcome"].startswith("STOPPED")
    child = next(int(line) for line in shown.splitlines() if line.isdigit())
    for _ in range(50):
        if not alive(child):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {child} outlived its part")


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_the_whole_run_keeps_to_its_seconds(run):
    start = time.monotonic()
    _, endings, _ = run(*(Part(str(i), 60, "hangs") for i in range(4)), seconds=5.0)
    assert time.monotonic() - start < 60
    assert endings[0]["outcome"].startswith("STOPPED")
    assert endings[-1]["outcome"] == "not started: no time left"
    assert failures([], endings) == 4


def test_files_stay_below_their_limit(run, monkeypatch, tmp_path):
    monkeypatch.setattr(running, "LARGEST_FILE", 10_000)
    _, endings, shown = run(Part("a", 30, "floods"), Part("b", 30, "good"))
    assert [ending["outcome"] for ending in endings] == ["done", "done"]
    log = (tmp_path / "out" / "log.txt").read_text()
    assert len(log) < 10_100 and log.endswith(
        "[the rest is left out: this file may not grow further]\n"
    )
    assert len(shown) > 200_000
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 3


def test_a_tool_that_is_not_there_leaves_its_part_out(run):
    _, endings, _ = run(Part("a", 30, "good", under=("no-such-tool", "--option")))
    assert endings[0]["outcome"] == "left out: no-such-tool is not installed"
    assert failures([], endings) == 0


def test_a_tool_is_found_beside_the_path(run, monkeypatch, tmp_path):
    """Its options are given where its help names the first of them."""
    places = tmp_path / "cuda"
    places.mkdir()
    tool = places / "a-tool"
    tool.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setattr(running, "PLACES", (str(places),))
    assert running.found_tool("a-tool") == str(tool) and running.found_tool("no-such-tool") is None
    _, endings, shown = run(Part("a", 30, "good", (), (), ("a-tool", "--option")))
    assert endings[0]["outcome"] == "done" and '"value": 3' in shown
    options = ("--some", "value")
    assert running.options_known(str(tool), options) == ()
    tool.write_text("#!/bin/sh\necho '  --some arg'\n")
    assert running.options_known(str(tool), options) == options
    assert running.options_known(str(tool), ()) == ()


def test_a_part_stays_in_the_session_and_knows_its_end(run):
    records, _, _ = run(Part("a", 30, "where"))
    assert records[0]["session"] == os.getsid(0) and records[0]["own_group"]
    assert 0 < records[0]["left"] <= 30 and records[0]["patience"] == "1"


def test_a_case_that_loses_the_card_is_followed_by_a_fresh_process(run):
    records, endings, _ = run(Part("a", 60, "loses"))
    cases = [record for record in records if record["table"] == "cases"]
    assert [case["name"] for case in cases] == ["0", "1", "2", "3"]
    assert [case.get("problem") for case in cases] == [None, "WRONG", "WRONG", "WRONG"]
    (lost,) = [record for record in records if record["table"] == "card unusable"]
    assert lost["name"] == "1" and lost["why"] == "an illegal memory access"
    assert endings[0]["outcome"] == "failed: exit status 1"


def test_a_process_that_outlives_being_killed_is_left_behind(run, monkeypatch):
    class Stuck(subprocess.Popen):
        def wait(self, timeout=None):
            if timeout is None:
                raise AssertionError("without a limit")
            raise subprocess.TimeoutExpired("a", timeout)

    monkeypatch.setattr(running.subprocess, "Popen", Stuck)
    _, endings, _ = run(Part("a", 1, "hangs"), Part("b", 1, "hangs"))
    for ending in endings:
        assert ending["outcome"].endswith(" s, and outlives being killed")


def test_a_run_that_is_told_to_end_kills_its_part_and_keeps_what_there_is(tmp_path):
    program = f"""import signal, sys
from pathlib import Path
from benchmarks.gpu_kit import __main__ as kit
from benchmarks.gpu_kit.plan import Part
from benchmarks.gpu_kit.running import run_parts
signal.signal(signal.SIGTERM, kit._end)
folder = Path({str(tmp_path)!r})
environment = kit.environment() | {{"PYTHONPATH": {os.pathsep.join([str(ROOT), str(tmp_path)])!r}}}
parts = [Part("a", 200, "good"), Part("b", 200, "deaf"), Part("c", 200, "good")]
sys.exit(kit.finish("first", folder, *run_parts(parts, folder, 500, environment), 0))"""
    for name in ("good", "deaf"):
        (tmp_path / f"{name}.py").write_text(PROGRAMS[name])
    command = [sys.executable, "-c", program]
    paths = {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | paths
    ) as kit:
        child = next(int(line) for line in kit.stdout if line.strip().isdigit())
        kit.terminate()
        rest = kit.stdout.read()
    assert kit.returncode == 1
    assert "== b: STOPPED: the run was told to end" in rest
    assert "== c: not started: the run was told to end" in rest
    tables = rest[rest.index("parts of this run") :]
    assert "numbers" in tables and "first: 3 problem(s)" in tables
    for _ in range(50):
        if not alive(child):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {child} outlived the run")


def test_patience_stretches_parts_and_not_the_run(tmp_path, monkeypatch):
    given = []

    def runs(parts, folder, seconds, environment, patience):
        given.append((seconds, patience))
        return [], []

    monkeypatch.setattr(kit, "run_parts", runs)
    monkeypatch.setattr(carried, "unpack", lambda: 0)
    monkeypatch.setattr(carried, "install", lambda: [])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert kit.main(["first", str(tmp_path)]) == 0
    assert kit.main(["first", str(tmp_path), "--seconds", "2000", "--patience", "3"]) == 0
    (first, without), (second, asked) = given
    assert (without, asked) == (kit.WITHOUT_CACHE, 3)
    assert 180 < first <= 195 and 1980 < second <= 2000


@pytest.mark.parametrize("name", SECONDS)
def test_plans_fit(name, tmp_path):
    """Every part exists and has its time, and a run writes at most 8 files."""
    parts = plan(name, str(tmp_path / name), rounds=5, steps=200)
    assert len({part.name for part in parts}) == len(parts)
    for part in parts:
        assert importlib.util.find_spec(part.module) is not None, part.module
        assert 5 <= part.seconds <= SECONDS[name]
    written = {
        argument
        for part in parts
        for argument in part.arguments
        if argument.startswith(str(tmp_path / name) + "/")
    }
    assert len(written) + 2 <= 8  # log.txt and results.jsonl
    assert CALLS == {"first": 210, "bench": 210, "train": 120}
    assert SECONDS[name] + running.UNKILLED + 2 < CALLS[name]
    limits = sum(part.seconds for part in parts)
    assert limits <= SECONDS[name] - running.RESERVE - running.GRACE


def test_a_memory_checker_sees_each_tensor_and_our_kernels_alone(tmp_path):
    (part,) = [p for p in plan("bench", str(tmp_path), 5, 200) if p.name == "memcheck"]
    assert dict(part.environment)["PYTORCH_NO_CUDA_MEMORY_CACHING"] == "1"
    assert part.where_known == ("--kernel-regex", "kns=_kernel")


def test_what_travels_is_the_tree_and_what_is_carried(tmp_path):
    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    for name in (".gitignore", "new", "ignored/a", ".kit/sub/a", "shared/a", "link"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ignored\n.kit\nshared\n" if name == ".gitignore" else "x")
    git("add", "link")
    (tmp_path / "link").unlink()  # tracked, and not there
    found = filling.travelling(tmp_path, tmp_path / ".kit")
    names = sorted(str(path.relative_to(tmp_path)) for path in found)
    assert names == [".gitignore", ".kit/sub/a", "new", "shared/a"]


def test_training_finds_results_beside_it_or_in_the_tree(tmp_path):
    def earlier():
        parts = {part.name: part for part in plan("train", str(tmp_path / "train"), 5, 200)}
        return parts["failed tests"].arguments[0]

    assert earlier() == str(ROOT / "benchmarks" / "gpu" / "first" / "log.txt")
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "log.txt").write_text("")
    assert earlier() == str(tmp_path / "first" / "log.txt")


def test_the_most_important_table_comes_last():
    records = [
        {"table": "smoke", "name": "LSTM", "error": 0.5, "bound": 0.1, "problem": "WRONG"},
        {"table": "versions", "name": "card", "gpu": "a card"},
        {"table": "smoke", "name": "GRU", "error": 0.00123456, "bound": 0.1, "seconds": 3},
        {"table": "barriers", "name": "or", "ns": 1234.5},
    ]
    text = tables("first", records, [{"part": "smoke", "outcome": "done", "seconds": 1.0}])
    order = [
        text.index(f"\n{name}\n") for name in ("parts of this run", "versions", "barriers", "smoke")
    ]
    assert order == sorted(order)
    *_, lstm, gru = text.splitlines()
    assert lstm.split() == ["LSTM", "0.5", "0.1", "WRONG"]
    assert gru.split() == ["GRU", "0.001235", "0.1"]


def test_an_error_that_is_no_number_is_a_failure():
    assert "problem" not in checked(0.1, 0.1)
    assert checked(0.2, 0.1)["problem"] == checked(float("nan"), 0.1)["problem"] == "WRONG"
    assert json.dumps(checked(float("nan"), 0.1), allow_nan=False)


def test_a_measurement_may_have_seconds_of_its_own(capsys):
    assert attempt("a", "b", lambda: {"seconds": 12345, "value": 1})
    row = read(capsys.readouterr().out)
    assert row["value"] == 1 and row["seconds"] < 12345


def test_lines_that_are_no_records_are_text():
    assert read('{"table": "a"}') == {"table": "a"}
    assert read('{"table": "a"') is None and read("[1]") is None and read("table") is None


def kernel(cache, digest, place):
    """A folder of the cache as Triton writes it, whose group names files in ``place``."""
    folder = cache / base64.b32encode(bytes.fromhex(digest)).decode().rstrip("=")
    folder.mkdir(parents=True)
    names = ("k.cubin", "k.ptx", "k.json")
    for name in names:
        (folder / name).write_text(f"{digest} {name}")
    group = {"child_paths": {name: f"{place}/{folder.name}/{name}" for name in names}}
    (folder / "__grp__k.json").write_text(json.dumps(group))
    return folder


def test_a_cache_moves_to_another_folder(tmp_path):
    cache, archive = tmp_path / "here", tmp_path / "cache.tar.xz"
    kept = kernel(cache, "00ff" * 16, "/somewhere/else")
    kernel(cache, "11ee" * 16, "/somewhere/else")
    carried.keep_only({"00ff" * 16}, cache)
    assert carried.pack(cache, archive) == 1
    there = tmp_path / "there"
    assert carried.unpack(archive, there) == 1
    folder = there / kept.name
    group = json.loads((folder / "__grp__k.json").read_text())["child_paths"]
    assert group == {name: str(folder / name) for name in ("k.cubin", "k.json")}
    assert carried.unpack(archive, there) == 1  # again: nothing changes
    assert carried.unpack(tmp_path / "none.tar.xz", tmp_path / "empty") == 0


def test_triton_reads_a_cache_that_was_moved(tmp_path, monkeypatch):
    cache = pytest.importorskip("triton.runtime.cache")
    kernel(tmp_path / "here", "00ff" * 16, "/somewhere/else")
    carried.pack(tmp_path / "here", tmp_path / "cache.tar.xz")
    carried.unpack(tmp_path / "cache.tar.xz", tmp_path / "there")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "there"))
    group = cache.get_cache_manager("00ff" * 16).get_group("k.json")
    assert {name: Path(path).read_text() for name, path in group.items()} == {
        name: f"{'00ff' * 16} {name}" for name in ("k.cubin", "k.json")
    }


@pytest.mark.parametrize(
    ("card", "triton", "fits"),
    [
        ("9.0", "3.6.0", True),
        (None, "3.6.0", True),
        ("8.0", "3.6.0", False),
        ("9.0", "3.7.1", False),
    ],
)
def test_a_cache_fits_one_card_and_one_triton(card, triton, fits, tmp_path, monkeypatch):
    about = tmp_path / "about.json"
    monkeypatch.setattr(carried, "capability", lambda: card)
    monkeypatch.setattr("importlib.metadata.version", lambda name: triton)
    assert not carried.fits(about)
    about.write_text(json.dumps({"triton": "3.6.0", "capability": "9.0"}))
    assert carried.fits(about) == fits


def test_the_card_is_asked_for_its_capability(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert carried.capability() is None
    tool.write_text("#!/bin/sh\necho 9.0\necho 8.0\n")
    tool.chmod(0o755)
    assert carried.capability() == "9.0"
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert carried.capability() is None


def test_packages_that_are_missing_are_unpacked(tmp_path):
    for name in ("not_installed_here", "json"):
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "value = 1")
    assert carried.install(tmp_path, tmp_path / "packages") == ["not_installed_here"]
    assert (tmp_path / "packages" / "not_installed_here" / "__init__.py").exists()
    assert not (tmp_path / "packages" / "json").exists()


def test_ratios_from_the_results_of_a_benchmark(tmp_path):
    case = {"kind": "LSTM", "batch": 64, "size": 512, "precision": "bf16", "ragged": False}
    rows = [
        case | {"contender": name, "forward": [1, ms, 9], "forward_backward": [1, 2 * ms, 9]}
        for name, ms in (("kernels", 2.0), ("torch.nn", 3.0), ("torch backend", 20.0))
    ]
    (tmp_path / "a.json").write_text(json.dumps({"machine": {}, "unit": "ms", "recurrent": rows}))
    (tmp_path / "b.json").write_text("{ cut short")
    found = list(ratios(read_bench(tmp_path)))
    assert [(row["table"], row["forward_backward ratio"]) for row in found] == [
        ("against cuDNN", 1.5), ("against the torch backend", 10.0),
    ]  # fmt: skip
    assert found[0]["name"] == "recurrent LSTM b64 s512 bf16"
    rows[0]["problem"] = "WRONG, not timed"
    (tmp_path / "a.json").write_text(json.dumps({"machine": {}, "recurrent": rows}))
    assert all(row["problem"] == "WRONG, not timed" for row in ratios(read_bench(tmp_path)))


def test_a_dry_run_tells_wrong_results_from_programs_that_fail(tmp_path):
    good = (
        "== smoke: at most 50 s\n"
        '{"table": "smoke", "name": "a", "problem": "WRONG"}\n'
        "== smoke: failed: exit status 1, 3.0 s\n== tests: done, 1.0 s\n"
    )
    (tmp_path / "log.txt").write_text(good)
    assert filling.unexpected(tmp_path) == []
    for line in (
        "== steps: failed: exit status 70, 1.0 s\n",
        "== steps: STOPPED after 3 s, 3.0 s\n",
        "== steps: not started: no time left, 0.0 s\n",
        "== ncu: left out: ncu is not installed, 0.0 s\n",
        '{"table": "costs", "name": "a", "problem": "TypeError: planted"}\n',
    ):
        (tmp_path / "log.txt").write_text(good + line)
        assert len(filling.unexpected(tmp_path)) == 1, line
    assert filling.unexpected(tmp_path / "nothing") != []


def test_tools_that_stand_in_run_the_program_behind_their_options(tmp_path, monkeypatch):
    monkeypatch.setenv("GPU_KIT_PYTHON", "")
    tool = filling._stand_ins(tmp_path) / "ncu"
    command = [tool, "--set", "full", sys.executable, "-c", "print('ran')"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == "ran\n"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize("compiling", ["0", "1"])
def test_a_part_runs_with_a_card_that_is_not_there(compiling, tmp_path):
    """The real call is made; its kernel is compiled for sm_90, and nothing is launched."""
    names = tmp_path / "compiled.jsonl"
    environment = os.environ | {
        "GPU_KIT_PRETEND": "1",
        "GPU_KIT_COMPILE": compiling,
        "GPU_KIT_COMPILED": str(names),
        "TRITON_CACHE_DIR": str(tmp_path / "cache"),
        "TRITON_INTERPRET": "0",
    }
    program = [
        sys.executable,
        "-m",
        "benchmarks.gpu_kit.start",
        "benchmarks.gpu_kit.parts.one_kernel",
    ]
    found = subprocess.run(program, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert names.exists() == (compiling == "1")
    assert carried.compiled(tmp_path / "cache") == int(compiling)
    if compiling == "1":
        kernel = json.loads(names.read_text())
        assert kernel["kernel"] == "forward_kernel" and not kernel["hit"]
        carried.keep_only({kernel["hash"]}, tmp_path / "cache")
        assert carried.compiled(tmp_path / "cache") == 1
