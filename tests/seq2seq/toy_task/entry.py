"""The toy task in the registry, and a configuration of it."""

from __future__ import annotations

from seq2seq.registry import Entry, Figure

HOME = "tests.seq2seq.toy_task"

ENTRY = Entry(
    config=f"{HOME}.config:ToyConfig",
    check=f"{HOME}.config:check",
    training=f"{HOME}.training:ToyTask",
    user=f"{HOME}.user:Foreteller",
    commands=f"{HOME}.commands:COMMANDS",
    command="foretell",
    figures=(Figure("worst_error", "worst error", higher=False, digits=3),),
    recipe="toy",
    public={"Foreteller": f"{HOME}.user:Foreteller"},
)

YAML = """\
task: toy
data: {train: numbers.txt}
training: {max_epochs: 40, learning_rate: 0.05, schedule: constant, keep_best: 2, average: true,
           device: cpu, threads: 1, precision: fp32, validate_every: 20, log_every: 5}
"""
