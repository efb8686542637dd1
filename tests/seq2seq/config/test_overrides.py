"""A key of the configuration is read by its type, in YAML files, options and Python alike: text is
what was typed, a path may begin with ``~``. Over all keys of all tasks."""

from __future__ import annotations

import json
import math
import os
import typing

import pytest

from seq2seq import registry
from seq2seq.command_line.overrides import dotted, split_overrides
from seq2seq.config import config_from_dict, config_to_dict, load_config
from seq2seq.config.paths import PATH
from seq2seq.config.reading import kind_of
from seq2seq.errors import UsageError

TEXTS = ["diary #2.txt", "part 1: arrival.txt", "010", "12:30:45", "1e3", "1_000", "2024-05-06",
         "on", "no", "@i", "True", "~x#", "[a", "{b}", "- c",
         "'d'", "&e", "*f", "!g", "%h", "0x1F"]  # fmt: skip


def keys_of(task):
    cls = registry.load(registry.TASKS[task].config)
    return {key: kind_of(cls, key) for key, _ in dotted(config_to_dict(cls()))}


def given(kind):
    options = [one for one in typing.get_args(kind) if one is not type(None)]
    optional = type(None) in typing.get_args(kind)
    return options[0] if optional else kind


def is_path(kind):
    return PATH in getattr(kind, "__metadata__", ())


def found(config, key):
    return dict(dotted(config_to_dict(config)))[key]


ALL = [(task, key, given(kind)) for task in registry.TASKS for key, kind in keys_of(task).items()]
TEXT_KEYS = [(task, key) for task, key, kind in ALL if kind is str or is_path(kind)]
PATH_KEYS = [(task, key) for task, key, kind in ALL if is_path(kind)]


@pytest.fixture
def yaml_of(tmp_path):
    """A YAML file with one key of a task as it is written."""

    def write(task, key="", text=""):
        lines = [f"task: {task}"]
        for depth, name in enumerate(key.split(".") if key else []):
            lines.append("  " * depth + name + ":")
        path = tmp_path / "c.yaml"
        path.write_text("\n".join(lines) + f" {text}\n", encoding="utf-8")
        return path

    return write


@pytest.fixture(autouse=True)
def checks_aside(monkeypatch):
    """One key alone makes no sense in places; here only its value is looked at."""
    monkeypatch.setattr("seq2seq.config.registry.load", _load_without_check(registry.load))


def _load_without_check(load):
    return lambda name: (lambda *_: None) if name.endswith(":check") else load(name)


@pytest.mark.parametrize(("task", "key"), TEXT_KEYS)
def test_text_is_what_was_typed(yaml_of, task, key):
    path = yaml_of(task)
    for text in TEXTS:
        _, overrides = split_overrides([str(path), f"--{key}", text])
        assert found(load_config(path, overrides), key) == text
        assert found(load_config(path, {key: text}), key) == text
    for text in ("010", "12:30:45", "1e3", "1_000", "2024-05-06", "on", "no", "True", "0x1F"):
        assert found(load_config(yaml_of(task, key, text)), key) == text
        assert found(load_config(yaml_of(task, key, json.dumps(text))), key) == text


@pytest.mark.parametrize(
    ("task", "key", "kind"), [one for one in ALL if one[2] in (int, float, bool)]
)
def test_numbers_and_truth_values(yaml_of, task, key, kind):
    path = yaml_of(task)
    good = {
        int: {"7": 7, "-3": -3, "010": 10, "1_000": 1000},
        float: {"7": 7.0, "1e-3": 1e-3, ".5": 0.5, "-2.": -2.0},
        bool: {"true": True, "no": False, "ON": True},
    }[kind]
    for text, value in good.items():
        read = found(load_config(path, {key: text}), key)
        assert read == value and type(read) is kind
    for text in ("12:30:45", "1 #", "x", "[1]", "~"):
        with pytest.raises(UsageError, match=f"'{key}' is "):
            load_config(path, {key: text})


def nested(task, key, value):
    """The values of a configuration with one key."""
    values = {"task": task}
    inner = values
    *parents, leaf = key.split(".")
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[leaf] = value
    return values


FLOATS = [(task, key, kind) for task, key, kind in ALL if kind in (float, list[float])]


@pytest.mark.parametrize(("task", "key", "kind"), FLOATS)
def test_a_number_without_end_is_refused(yaml_of, task, key, kind):
    """It would pass for a number above 0, and end in a loss of NaN hours later."""
    for text in (".inf", "-.inf", ".nan", "1e999", "9" * 400):
        if kind is not float:
            text = f"[0.5, {text}]"
        with pytest.raises(UsageError, match=f"'{key}' is .*; expected a finite number"):
            load_config(yaml_of(task, key, text))
    for text in ("inf", "-inf", ".inf", "nan", "1e999"):
        with pytest.raises(UsageError, match=f"'{key}' is .*; expected a (finite )?number"):
            load_config(yaml_of(task), {key: text if kind is float else f"[0.5, {text}]"})
    for value in (math.inf, -math.inf, math.nan, 10**400):
        with pytest.raises(UsageError, match=f"'{key}' is .*; expected a finite number"):
            config_from_dict(nested(task, key, value if kind is float else [0.5, value]))


@pytest.mark.parametrize(("task", "key", "kind"), [one for one in ALL if "list" in str(one[2])])
def test_lists(yaml_of, task, key, kind):
    (item,) = typing.get_args(kind)
    if is_path(item):
        text, value = "[~/no, 010]", [os.path.expanduser("~/no"), "010"]
    elif choices := typing.get_args(item):  # a list of Literal
        text, value = f"[{', '.join(choices[:2])}]", list(choices[:2])
    elif item is str:
        text, value = "[no, 010]", ["no", "010"]
    else:
        text, value = "[1, 2]", [item(1), item(2)]
    assert found(load_config(yaml_of(task), {key: text}), key) == value
    assert found(load_config(yaml_of(task, key, text)), key) == value


@pytest.mark.parametrize(("task", "key"), PATH_KEYS)
def test_a_path_may_begin_with_the_home_folder(yaml_of, monkeypatch, task, key):
    monkeypatch.setenv("HOME", "/the/home")
    path = yaml_of(task)
    _, overrides = split_overrides([str(path), f"--{key}=~/a b/{{lang}}"])
    for config in (
        load_config(path, overrides),
        load_config(yaml_of(task, key, "~/a b/{lang}")),
        config_from_dict(nested(task, key, "~/a b/{lang}")),
    ):
        assert found(config, key) == "/the/home/a b/{lang}"
    assert found(load_config(path, {key: "a/~/b"}), key) == "a/~/b"


@pytest.mark.parametrize(("task", "key"), TEXT_KEYS)
def test_a_name_that_is_not_utf8_is_refused_before_anything_runs(yaml_of, task, key):
    with pytest.raises(UsageError, match=f"'{key}' is .*not UTF-8.*rename"):
        load_config(yaml_of(task), {key: os.fsdecode(b"b\xe4r.txt")})


def test_null_unsets_what_may_be_unset(yaml_of):
    path = yaml_of("generation", "data.train", "x.txt")
    assert load_config(path, {"data.train": "null"}).data.train is None
    assert load_config(path, {"output": "null"}).output == "null"
    with pytest.raises(UsageError, match="'output' is None"):
        load_config(path, {"output": ""})


def test_a_section_left_empty_takes_overrides(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("task: generation\ntraining:\ndata:\n")
    config = load_config(path, {"training.max_steps": "3", "data.train": "a"})
    assert (config.training.max_steps, config.data.train) == (3, "a")


@pytest.mark.parametrize("text", ["output: {{x}}", "{a: b}: c", "? [x]\n: y"])
def test_keys_that_are_no_names(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"c.yaml, line 1: not valid YAML: a key is no plain name"):
        load_config(path)


def test_values_that_yaml_cannot_make(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("output: 2024-13-45\n")
    assert load_config(path).output == "2024-13-45"
    for text in ("seed: 0x_\n", "output: " + "[" * 3000):
        path.write_text(text)
        with pytest.raises(UsageError, match="not valid YAML"):
            load_config(path)
    path.write_text("data: {<<: {train: a.txt, columns: [a, b]}, source: no}\n")
    data = load_config(path).data
    assert (data.train, data.columns, data.source) == ("a.txt", ["a", "b"], "no")
    with pytest.raises(UsageError, match="'seed' is "):
        load_config(path, {"seed": "9" * 5000})
