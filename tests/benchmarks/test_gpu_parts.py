"""What the parts of the kit's runs do besides calling kernels."""

import json

import pytest
import torch

from benchmarks.gpu_kit.parts import (
    decisions,
    failed_tests,
    gpu_tests,
    smoke,
    training,
    winner,
)

LOG = """
[gw0] [ 10%] PASSED tests/kernels/test_gpu.py::test_a[1]
[gw1] [ 20%] FAILED tests/kernels/test_gpu.py::test_b[lstm-step]
tests/kernels/test_gpu_step.py::test_c[x] FAILED      [ 30%]
FAILED tests/kernels/test_gpu.py::test_b[lstm-step] - AssertionError: no
ERROR tests/kernels/test_gpu.py::test_d
"""


def test_failed_tests_are_found_once_each():
    assert failed_tests.failed(LOG) == [
        "tests/kernels/test_gpu.py::test_b[lstm-step]",
        "tests/kernels/test_gpu_step.py::test_c[x]",
        "tests/kernels/test_gpu.py::test_d",
    ]


def test_without_an_earlier_run_nothing_is_tested_and_it_says_so(tmp_path, capsys):
    assert failed_tests.main(tmp_path / "log.txt", "tests.xml") == 0
    assert "run 'first' before" in capsys.readouterr().out
    (tmp_path / "log.txt").write_text("all passed")
    assert failed_tests.main(tmp_path / "log.txt", "tests.xml") == 0
    assert json.loads(capsys.readouterr().out)["count"] == 0


def test_pytest_is_called_with_what_is_installed(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    full = gpu_tests.options("x.xml", ["tests/a.py", "tests/b.py"])
    assert full[-2:] == ["tests/a.py", "tests/b.py"] and "not inductor" in full
    assert full[full.index("-n") + 1] == "12" and full[full.index("--timeout") + 1] == "20"
    assert full[full.index("--timeout-method") + 1] == "thread"
    assert full[full.index("--dist") + 1] == "worksteal"
    few = gpu_tests.options("x.xml", ["tests/a.py::test_b"])
    assert few[few.index("-n") + 1] == "1"  # a process of its own, which may hang
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not {"-n", "--timeout"} & set(gpu_tests.options("x.xml", ["tests/a.py", "tests/b.py"]))


def test_a_bound_follows_from_what_another_backend_errs_by():
    exact = [torch.ones(8, dtype=torch.float64), torch.ones(8, dtype=torch.float64)]
    peer = [exact[0], exact[1] * 1.05]
    assert "problem" not in smoke.compare(exact, peer, peer)
    found = smoke.compare(exact, peer, [exact[0] * 1.1, exact[1]])
    assert found["problem"] == "WRONG" and found["bound"] == pytest.approx(4 * smoke.EPS)
    for wrong in (torch.zeros(8), torch.full((8,), float("nan"))):  # whichever result it is
        assert smoke.compare(exact, peer, [exact[0], wrong])["problem"] == "WRONG"
        assert smoke.compare(exact, peer, [wrong, exact[1]])["problem"] == "WRONG"


def rows(size, kernels, cudnn):
    case = winner.DEFAULT._replace(size=size)._asdict()
    times = (("kernels", kernels), ("torch.nn", cudnn))
    return [case | {"contender": name, "forward_backward": [ms, ms, ms]} for name, ms in times]


def test_the_winner_is_the_case_that_beats_cudnn_by_most():
    found = winner.best(rows(512, 2.0, 3.0) + rows(768, 1.0, 5.0) + rows(1024, 1.0, 2.0))
    assert found.size == 768
    lost = rows(768, 1.0, 9.0)
    del lost[0]["forward_backward"]  # it was wrong
    assert winner.best(lost) == winner.best([]) == winner.DEFAULT


def test_training_is_summed_up_by_its_steady_rate_and_last_validation():
    log = [
        {"step": 10, "loss": 8.0, "tokens_per_second": 50},
        {"step": 20, "loss": 7.0, "tokens_per_second": 1000},
        {"step": 30, "loss": 6.0, "tokens_per_second": 1100},
        {"step": 30, "validation_loss": 5.5, "bleu": 3.2, "note": "text", "seconds": 2.0},
    ]
    found = training.summary(log)
    assert found["target_tokens_per_second"] == 1050 and found["training_loss"] == 6.0
    assert (
        found["validation_loss"] == 5.5
        and found["bleu"] == 3.2
        and not {"note", "seconds"} & set(found)
    )
    assert training.summary([])["target_tokens_per_second"] is None


def test_training_options_are_known_to_seq2seq(tmp_path):
    """The run's options must be keys of the configuration: it starts and misses its data alone."""
    from seq2seq.cli import main

    arguments = training.arguments(tmp_path / "run", tmp_path / "nothing", 4)
    arguments = [a for a in arguments if "training.device" not in a and "tokenizer.model" not in a]
    assert main([*arguments, "--training.device=cpu"]) == 2


def test_decisions_are_written_and_reported(tmp_path, capsys):
    machine = {"gpu": "a card", "capability": "9.0", "triton": "3.6.0"}
    shape = {"dtype": "bfloat16", "size": 512, "rows": 4096, "words": 8000, "error": 0.0}
    times = (("kernels triton", 1.0), ("kernels torch", 2.0))
    loss = [shape | {"contender": name, "forward_backward": [ms] * 3} for name, ms in times]
    (tmp_path / "loss.json").write_text(json.dumps({"machine": machine, "loss": loss}))
    decisions.main(tmp_path / "auto.json", [tmp_path / "loss.json", tmp_path / "absent.json"])
    table = json.loads((tmp_path / "auto.json").read_text())
    assert table["entries"][0]["operation"] == "linear_cross_entropy"
    assert json.loads(capsys.readouterr().out)["backend"] == "triton"
    (tmp_path / "step.json").write_text('{"machine": {"gpu": "a ca')
    measured = [tmp_path / "step.json", tmp_path / "loss.json"]
    decisions.main(tmp_path / "auto.json", measured)  # the benchmark was stopped while it wrote
    assert json.loads((tmp_path / "auto.json").read_text()) == table
    broken, kept = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert broken["name"] == "step.json" and "cannot be read" in broken["problem"]
    assert kept["backend"] == "triton"
    decisions.main(tmp_path / "auto.json", [])
    assert json.loads(capsys.readouterr().out)["name"] == "nothing"
