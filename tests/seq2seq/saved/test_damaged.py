"""A saved model whose files ask for what nobody has is refused before any memory is taken."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys

import pytest

from seq2seq.errors import RunError
from seq2seq.saved.directory import CONFIG_FILE
from seq2seq.text.vocabulary import UNITS_FILE
from tests.seq2seq.saved.test_digest import model

__all__ = ["model"]  # the fixture: (user class, directory of a saved model) of every task

HUGE = (10**5, 10**9, 2**63, 10**30)


def sizes(values, path=()):
    """Paths of all whole numbers in the section of the model."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from sizes(value, (*path, key))
        elif type(value) is int:
            yield (*path, key)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_sizes_that_the_weights_do_not_have(model):
    user, directory = model
    text = (directory / CONFIG_FILE).read_text("utf-8")
    before = peak_mb()
    for path in sizes(json.loads(text)["config"]["model"]):
        for huge in HUGE:
            values = json.loads(text)
            inner = values["config"]["model"]
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = huge
            (directory / CONFIG_FILE).write_text(json.dumps(values))
            try:
                user.from_pretrained(directory, device="cpu")
            except RunError as error:
                assert str(directory) in str(error)  # a size of a part that this model lacks loads
    assert peak_mb() - before < 200


def test_more_layers_than_there_are_weights(model):
    user, directory = model
    values = json.loads((directory / CONFIG_FILE).read_text("utf-8"))
    section = values["config"]["model"]
    section = section if "layers" in section else section["decoder"]
    section["layers"] = 900
    (directory / CONFIG_FILE).write_text(json.dumps(values))
    with pytest.raises(RunError, match="weights do not belong to the model"):
        user.from_pretrained(directory, device="cpu")
    section["layers"] = 1001
    (directory / CONFIG_FILE).write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"layers' is 1001; expected at most 1,000"):
        user.from_pretrained(directory, device="cpu")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_json_that_python_cannot_read(model, content):
    user, directory = model
    for name in (CONFIG_FILE, UNITS_FILE):
        path = directory / name
        if path.exists():
            whole = path.read_bytes()
            path.write_text(content)
            with pytest.raises(RunError, match=rf"{re.escape(str(path))}.*damaged"):
                user.from_pretrained(directory, device="cpu")
            path.write_bytes(whole)


def test_loading_does_not_import_the_compiler(model):
    """Models are built once without memory; random numbers there would import torch._dynamo."""
    user, folder = model
    code = (
        f"import sys; from {user.__module__} import {user.__name__} as User; "
        f"User.from_pretrained({str(folder)!r}, device='cpu'); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
