"""JSON for users: what any reader reads."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

import seq2seq
from seq2seq.json_files import to_json

NAN, INFINITY = float("nan"), float("inf")
PACKAGE = Path(seq2seq.__file__).parent
# Files that the package writes for itself: vocabularies, states, settings, digests.
OWN = {
    *("json_files.py", "text/vocabulary.py", "saved/directory.py"),
    *(f"training/{name}.py" for name in ("inputs", "processes", "resuming", "checkpoints")),
    *("tasks/generation/mapped.py", "tasks/forecasting/encoding.py"),
    *("tasks/captioning/image_cache.py", "tasks/tagging/vocabulary.py"),
    "tasks/tagging/json_lines.py",
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (INFINITY, None),
        ({"a": -INFINITY, "b": [NAN, 1.5, (2, NAN)]}, {"a": None, "b": [None, 1.5, [2, None]]}),
        ({"a": np.float64("nan"), "b": np.float64(2)}, {"a": None, "b": 2.0}),
        ({"a": {"b": 10**400, "c": "NaN", "d": True}, "e": NAN}, None),
        ([], []),
    ],
)
def test_numbers_that_are_none_are_null(value, expected):
    def refuse(name):
        raise AssertionError(name)

    found = json.loads(to_json(value), parse_constant=refuse)
    if isinstance(value, dict) and "e" in value:
        expected = {**value, "e": None}
    assert found == expected


def test_finite_values_are_written_as_ever():
    value = {"ä": [1, 2.5, None, True, "x"], "b": {}}
    assert to_json(value) == json.dumps(value, ensure_ascii=False)
    assert to_json(value, indent=1, ascii_only=True) == json.dumps(value, indent=1)


def test_all_commands_write_their_results_so():
    calls = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("json.dumps", "json.dump"):
                calls.add(path.relative_to(PACKAGE).as_posix())
    assert calls == OWN, "results for users are written by seq2seq.json_files.to_json"
