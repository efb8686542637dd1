"""YAML that no key expects: an error in a sentence, and soon."""

from __future__ import annotations

import pytest

from seq2seq import UsageError, load_config
from seq2seq.saved.hub import model_folder

_BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: !!bool abc", "not valid YAML"),
        ("seed: !!int ''", "not valid YAML"),
        ("seed: !!float ''", "not valid YAML"),
        ("seed: !!timestamp abc", "not valid YAML"),
        ('output: "a\\0b"', "holds a NUL"),
        (f"{_BOMB}\nseed: *a11", "unknown key 'a0'"),
        (f"seed: {_BOMB.splitlines()[0][4:]}", "'seed' is "),
    ],
)
def test_odd_values_are_told(tmp_path, text, expected):
    path = tmp_path / "run.yaml"
    path.write_text(f"task: translation\n{text}\n")
    with pytest.raises(UsageError, match=expected) as found:
        load_config(path)
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize("key", ["seed", "output", "data", "task"])
def test_a_value_of_billions_of_items_is_shown_in_short(tmp_path, key):
    """Aliases make it; whatever the type of the key, it is refused at once."""
    nested = "&a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"
    for n in range(1, 12):
        nested = f"&a{n} [{nested}, {', '.join([f'*a{n - 1}'] * 8)}]"
    path = tmp_path / "run.yaml"
    task = "" if key == "task" else "task: translation\n"
    path.write_text(f"{task}{key}: {nested}\n")
    with pytest.raises(UsageError) as found:
        load_config(path)
    assert len(str(found.value)) < 1500


def test_a_model_in_the_home_of_nobody():
    with pytest.raises(UsageError, match="no such directory"):
        model_folder("~nosuchuser/model", ["config.json"])


@pytest.mark.parametrize("name", ["rot13", "base64", "nonsense"])
def test_encodings_of_text_alone(tmp_path, name):
    path = tmp_path / "run.yaml"
    path.write_text(f"task: classification\ndata: {{train: x, encoding: {name}}}\n")
    with pytest.raises(UsageError, match=f"'data.encoding' is '{name}'"):
        load_config(path)
