"""From YAML to dataclasses: unknown keys, wrong types and keys given twice are errors that name
the key, what was found and what was expected."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, Literal

import yaml

from seq2seq.errors import UsageError


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of a YAML file. Raises UsageError for a missing or malformed one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"config {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"config {path}: not UTF-8 text (byte {error.start})") from None
    try:
        values = yaml.load(text, Loader=_Loader) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"config {path}{where}: not valid YAML: {problem}") from None
    if not isinstance(values, dict):
        raise UsageError(f"config {path}: expected 'key: value' lines, found {values!r}")
    return values


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as a string; this loader reads it as the number it is. And a key that
    stands twice is an error, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    __import__("re").compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def set_dotted(values: dict[str, Any], key: str, text: str) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UsageError(f"--{key}: '{parent}' holds a value, not a section")
    try:
        values[leaf] = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        values[leaf] = text


def build(cls: type, values: Any, where: str, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise UsageError(
            f"{where}: '{prefix.rstrip('.')}' must be a section of keys, found {values!r}"
        )
    hints = typing.get_type_hints(cls)
    known = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    arguments = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise UsageError(f"{where}: unknown key '{prefix}{key}'; {hint}")
        kind = known[key]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            arguments[key] = build(kind, value or {}, where, f"{prefix}{key}.")
        else:
            arguments[key] = _convert(kind, value, where, prefix + str(key))
    return cls(**arguments)


def _convert(kind: Any, value: Any, where: str, key: str) -> Any:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        return _convert(next(o for o in options if o is not type(None)), value, where, key)
    if origin is Literal:
        if value in options:
            return value
        raise UsageError(
            f"{where}: '{key}' is {value!r}; expected one of: {', '.join(map(str, options))}"
        )
    if origin is list:
        if isinstance(value, list):
            return [_convert(options[0], item, where, key) for item in value]
        raise UsageError(f"{where}: '{key}' is {value!r}; expected a list")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if kind is str and value is False:
        return "no"  # YAML 1.1 reads the language code no (Norwegian) as a truth value
    if type(value) is kind:
        return value
    name = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    raise UsageError(f"{where}: '{key}' is {value!r}; expected {name}")
