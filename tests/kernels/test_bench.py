"""python -m kernels.bench"""

import json

import pytest
import torch

from kernels import bench


def test_the_quick_run_writes_its_table_and_json(tmp_path, capsys):
    threads = torch.get_num_threads()
    path = tmp_path / "bench.json"
    try:
        assert bench.main(["recurrent", "--quick", "--rounds", "1", "--output", str(path)]) == 0
    finally:
        torch.set_num_threads(threads)
    written = json.loads(path.read_text())
    assert written["machine"]["torch"] == torch.__version__
    assert written["machine"]["threads"] == 1
    assert len(written["recurrent"]) == len(bench.recurrent_cases(quick=True))
    assert all(result[name] > 0 for result in written["recurrent"] for name in bench.CONTENDERS)
    printed = capsys.readouterr().out
    assert ("No GPU was found" in printed) == (not torch.cuda.is_available())


def test_a_wrong_result_is_not_timed(monkeypatch):
    run = bench._contenders

    def broken(*arguments):
        runs = run(*arguments)
        right = runs["kernels"]
        return {**runs, "kernels": lambda inputs: right(inputs) * 1.1}

    monkeypatch.setattr(bench, "_contenders", broken)
    with pytest.raises(RuntimeError, match="kernels on Case"):
        bench.measure(bench.recurrent_cases(quick=True)[0], rounds=1)
