"""python -m kernels.bench"""

import json

import pytest
import torch

from kernels import bench
from kernels.bench import attention, decoder, decoder_step, loss
from kernels.bench import recurrent_cpu as cpu
from kernels.bench import recurrent_gpu as gpu


def test_the_quick_run_writes_its_table_and_json(tmp_path, capsys):
    threads = torch.get_num_threads()
    path = tmp_path / "bench.json"
    try:
        assert (
            bench.main(
                ["recurrent", "--device", "cpu", "--quick", "--rounds", "1", "--output", str(path)]
            )
            == 0
        )
    finally:
        torch.set_num_threads(threads)
    written = json.loads(path.read_text())
    assert written["machine"]["torch"] == torch.__version__
    assert written["machine"]["threads"] == 1
    assert len(written["recurrent"]) == len(cpu.recurrent_cases(quick=True))
    assert all(result[name] > 0 for result in written["recurrent"] for name in cpu.CONTENDERS)
    printed = capsys.readouterr().out
    assert ("No GPU was found" in printed) == (not torch.cuda.is_available())


def test_a_wrong_result_is_not_timed(monkeypatch):
    run = cpu._contenders

    def broken(*arguments):
        runs = run(*arguments)
        right = runs["kernels"]
        return {**runs, "kernels": lambda inputs: right(inputs) * 1.1}

    monkeypatch.setattr(cpu, "_contenders", broken)
    with pytest.raises(RuntimeError, match="kernels on Case"):
        cpu.measure(cpu.recurrent_cases(quick=True)[0], rounds=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="make gpu runs the real thing")
def test_the_gpu_benchmark_runs_through_in_the_interpreter(tmp_path, monkeypatch, capsys):
    """Times mean nothing here; that each contender is checked, timed and reported does."""
    monkeypatch.setattr(gpu, "LONGEST_COMPILED", 0)  # inductor is not what is tested
    rows = gpu.run(quick=True, rounds=2, device=torch.device("cpu"))
    names = {row["contender"] for row in rows}
    assert names == {"kernels", "torch.nn", "torch backend", "eager loop"}
    assert not [row for row in rows if "problem" in row]
    assert all(row["forward"][0] <= row["forward"][1] <= row["forward"][2] for row in rows)
    assert all("schedules" in row for row in rows if row["contender"] == "kernels")
    assert "LSTM fp32, B 3, T 4, H 24, whole" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    gpu.plot(rows, tmp_path / "plots")
    assert len(list((tmp_path / "plots").glob("*.png"))) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="make gpu runs the real thing")
def test_the_gpu_benchmark_times_nothing_that_is_wrong(monkeypatch):
    contenders = gpu._contenders

    def broken(*arguments):
        return [
            c._replace(run=lambda x, run=c.run: run(x) * 1.01) if c.name == "kernels" else c
            for c in contenders(*arguments)
        ]

    monkeypatch.setattr(gpu, "LONGEST_COMPILED", 0)
    monkeypatch.setattr(gpu, "_contenders", broken)
    first, *others = gpu.measure(gpu.cases(quick=True)[0], 1, torch.device("cpu"))
    assert first["problem"].startswith("WRONG") and "forward" not in first
    assert all("forward" in row for row in others)


def test_attention_is_timed_on_the_cpu_and_in_the_interpreter(monkeypatch, tmp_path):
    if not torch.cuda.is_available():
        # In the interpreter, and without inductor, which is not what is tested.
        monkeypatch.setattr(torch, "compile", lambda function: function)
        kept = []
        rows = attention.on_gpu(True, 1, torch.device("cpu"), kept.append)
        assert [row["contender"] for row in rows] == [
            "kernels", "eager", "torch.compile", "torch backend",
            "kernels", "eager", "torch.compile", "torch backend", "sdpa",
        ]  # fmt: skip
        assert not [row for row in rows if "problem" in row]
        assert rows[0]["predicted"][0] > 0 and kept[-1] == rows
    rows = attention.on_cpu(True, 1)
    assert all(row["forward"][1] > 0 and row["forward_backward"][1] > 0 for row in rows)
    pytest.importorskip("matplotlib")
    attention.plot(rows, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_attention_that_is_wrong_is_not_timed(monkeypatch):
    contenders = attention.contenders

    def broken(*arguments):
        found = contenders(*arguments)
        right = found["kernels"]
        return {**found, "kernels": lambda *tensors: right(*tensors) * 1.01}

    monkeypatch.setattr(attention, "contenders", broken)
    case = attention.cases(quick=True, on_gpu=False)[0]
    first, *others = attention.measure(case, 1, torch.device("cpu"), "torch")
    assert first["problem"].startswith("WRONG") and "forward" not in first
    assert all("forward" in row for row in others)


@pytest.mark.skipif(torch.cuda.is_available(), reason="make gpu runs the real thing")
@pytest.mark.parametrize("operation", [decoder, loss])
def test_decoder_and_loss_are_timed_on_the_cpu_and_in_the_interpreter(
    operation, monkeypatch, tmp_path
):
    monkeypatch.setattr(decoder, "LONGEST_COMPILED", 0)  # inductor is not what is tested
    if operation is decoder:  # as --quick, with and without feeding, but one block: fewer programs
        few = [decoder.Case(3, 2, 4, 8), decoder.Case(2, 2, 4, 8, False)]
        monkeypatch.setattr(decoder, "cases", lambda *arguments, **options: few)
    kept = []
    rows = operation.run_gpu(True, 1, torch.device("cpu"), kept.append)
    assert kept[-1] == rows and not [row for row in rows if "problem" in row]
    assert all(row["forward_backward"][1] > 0 for row in rows)
    cpu_row = operation.run_cpu(True, 1)[0]
    assert cpu_row["kernels fp32"] > 0 and cpu_row["kernels bf16 error"] > 0
    pytest.importorskip("matplotlib")
    operation.plot(rows, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 1


@pytest.mark.parametrize("operation", [decoder, loss])
def test_a_wrong_decoder_or_loss_is_not_timed(operation, monkeypatch):
    right = operation.Setting.fused
    monkeypatch.setattr(operation.Setting, "fused", lambda self: right(self) * 1.1)
    with pytest.raises(RuntimeError, match="kernels fp32 on Case"):
        operation.run_cpu(True, 1)


def test_a_step_is_timed_on_the_cpu_and_in_the_interpreter(tmp_path):
    rows = decoder_step.run_cpu(True, 1)
    if not torch.cuda.is_available():  # make gpu runs the real thing
        kept = []
        rows += decoder_step.run_gpu(True, 1, torch.device("cpu"), kept.append)
        assert len(kept[-1]) == 5
    assert not [row for row in rows if "problem" in row]
    assert all(row["step"][1] > 0 for row in rows)
    pytest.importorskip("matplotlib")
    decoder_step.plot(rows, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_a_step_that_is_wrong_is_not_timed(monkeypatch):
    right = decoder_step.prepared_step

    def broken(*arguments, **options):
        vectors, state, weights = right(*arguments, **options)
        return vectors * 1.01, state, weights

    monkeypatch.setattr(decoder_step, "prepared_step", broken)
    *prepared, plain = decoder_step.run_cpu(True, 1)
    assert all(row["problem"].startswith("WRONG") and "step" not in row for row in prepared)
    assert "step" in plain
