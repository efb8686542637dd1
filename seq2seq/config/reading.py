"""From YAML to dataclasses: unknown keys, wrong types and keys given twice are errors that name
the key, what was found and what was expected."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard

import yaml

from seq2seq.config.paths import normal_path
from seq2seq.errors import UsageError, shown

MAX_WHOLE = 2**63 - 1  # what tensors and indices hold


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys of a YAML file, and the same with every value as it is written there (see
    ``as_written``). Raises UsageError for a missing or malformed file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"config {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"config {path}: not UTF-8 text (byte {error.start})") from None
    try:
        values, written = yaml.load(text, Loader=_Loader), yaml.load(text, Loader=yaml.BaseLoader)
    except Exception as error:  # also what tags such as "!!int ''" and 0x_ raise, of any kind
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or (str(error) or repr(error)).splitlines()[0]
        raise UsageError(f"config {path}{where}: not valid YAML: {problem}") from None
    if values is None:  # nothing but comments
        return {}, {}
    if not isinstance(values, dict):
        raise UsageError(f"config {path}: expected 'key: value' lines, found {shown(values)}")
    return values, written


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as a string; this loader reads it as the number it is. And a key that
    stands twice is an error, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is no plain name (quote a value with braces)", key.start_mark
                )
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


# No key holds a date, and what looks like one need not be: 2024-13-45.
_Loader.yaml_implicit_resolvers = {
    start: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"]
    for start, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def set_dotted(cls: type, values: dict[str, Any], key: str, text: str) -> None:
    """Set a key of ``cls`` by its dotted name to what ``text`` is for its type."""
    *parents, leaf = key.split(".")
    for parent in parents:
        if values.get(parent) is None:  # left out, or without keys
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise UsageError(f"--{key}: '{parent}' holds a value, not a section")
    values[leaf] = _parse(kind_of(cls, key), text)


def kind_of(cls: type, key: str) -> Any:
    """The type of a dotted key; None for a key that there is not."""
    kind: Any = cls
    for name in key.split("."):
        kind = _hints(kind).get(name) if _is_section(kind) else None
    return kind


def _parse(kind: Any, text: str) -> Any:
    """The value that ``text`` is for a key of this type; where it is none, ``text`` itself, which
    ``build`` refuses by name. Text stays text."""
    if not text or (text == "null" and type(None) in typing.get_args(kind)):
        return None
    kind = _given(kind)
    if kind is int and re.fullmatch(r"[-+]?[0-9]+(_[0-9]+)*", text) and len(text) < 1000:
        return int(text)
    if kind is float and re.fullmatch(_NUMBER, text):
        return float(text.replace(".inf", "inf"))
    if kind is bool:
        return _TRUTH.get(text.lower(), text)
    if typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind)
        try:
            items = yaml.load(text, Loader=yaml.BaseLoader)
        except yaml.YAMLError:
            return text
        if isinstance(items, list):
            return [_parse(item, one) if isinstance(one, str) else one for one in items]
    return text


_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.?inf"
_TRUTH = dict.fromkeys(("true", "yes", "on"), True) | dict.fromkeys(("false", "no", "off"), False)


def as_written(cls: type, values: Any, written: Any) -> Any:
    """``values`` of a YAML file, where keys that hold text are what is ``written`` there: 010 is
    no 8, 12:30:45 no 45045, and the language code no is no truth value."""
    if not isinstance(values, dict) or not isinstance(written, dict):
        return values
    hints, restored = _hints(cls), dict(values)
    for key, value in values.items():
        kind, text = _given(hints.get(key)), written.get(key)
        if _is_section(kind):
            restored[key] = as_written(kind, value, text)
        elif (_holds_text(kind) and isinstance(text, str) and value is not None) or (
            typing.get_origin(kind) is list
            and _holds_text(typing.get_args(kind)[0])
            and isinstance(value, list)
            and isinstance(text, list)
            and all(isinstance(one, str) for one in text)
        ):
            restored[key] = text
    return restored


def _holds_text(kind: Any) -> bool:
    return kind is str or _is_path(kind) or typing.get_origin(kind) is Literal


def _is_path(kind: Any) -> bool:
    return typing.get_origin(kind) is Annotated


def _given(kind: Any) -> Any:
    """The type without None."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(one for one in typing.get_args(kind) if one is not type(None))
    return kind


def _is_section(kind: Any) -> TypeGuard[type]:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def paths_of(
    config: Any, prefix: str = ""
) -> typing.Iterator[tuple[str, str, tuple[str, ...] | None]]:
    """(dotted key, value, endings) of every key that names a file or folder and is set; endings
    where it stands for files that are listed (see ``seq2seq.config.paths``). Items of a list have
    keys such as training.teachers[0]."""
    for name, kind in _hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from paths_of(value, f"{prefix}{name}.")
        elif _is_path(_given(kind)) and value is not None:
            yield prefix + name, value, next(iter(_given(kind).__metadata__[1:]), None)
        elif typing.get_origin(kind) is list and _is_path(typing.get_args(kind)[0]):
            for number, item in enumerate(value):
                yield f"{prefix}{name}[{number}]", item, None


def build(cls: type, values: Any, where: str, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise UsageError(
            f"{where}: '{prefix.rstrip('.')}' must be a section of keys, found {shown(values)}"
        )
    hints = _hints(cls)
    known = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    arguments = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise UsageError(f"{where}: unknown key '{prefix}{key}'; {hint}")
        kind = known[key]
        if _is_section(kind):
            arguments[key] = build(kind, {} if value is None else value, where, f"{prefix}{key}.")
        else:
            arguments[key] = _convert(kind, value, where, prefix + str(key))
    return cls(**arguments)


def _convert(kind: Any, value: Any, where: str, key: str) -> Any:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        return _convert(_given(kind), value, where, key)
    if origin is Annotated:
        return normal_path(_convert(options[0], value, where, key))
    if origin is Literal:
        if value in options:
            return value
        raise UsageError(
            f"{where}: '{key}' is {shown(value)}; expected one of: {', '.join(map(str, options))}"
        )
    if origin is list:
        if isinstance(value, list):
            return [_convert(options[0], item, where, key) for item in value]
        raise UsageError(f"{where}: '{key}' is {shown(value)}; expected a list")
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value, where, key)
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if kind is str and value is False:
        return "no"  # YAML 1.1 reads the language code no (Norwegian) as a truth value
    if type(value) is kind:
        if kind is str:
            _check_text(value, where, key)
        if kind is int and abs(value) > MAX_WHOLE:
            raise UsageError(
                f"{where}: '{key}' is {_short(value)}; expected a whole number below 2^63"
            )
        return value
    name = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    raise UsageError(f"{where}: '{key}' is {shown(value)}; expected {name}")


def _finite(value: float, where: str, key: str) -> float:
    """No key means anything by a number without end, or by what is no number (NaN)."""
    try:
        found = float(value)
    except OverflowError:  # a whole number that no float can hold
        found = math.inf
    if math.isfinite(found):
        return found
    told = value if isinstance(value, float) else _short(value)
    raise UsageError(f"{where}: '{key}' is {told}; expected a finite number")


def _short(value: int) -> str:
    """A number of any length; Python itself refuses to write one of more than 4,300 digits."""
    digits = abs(value).bit_length() * 0.30103
    return str(value) if digits < 40 else f"a number of {digits:,.0f} digits"


def _check_text(value: str, where: str, key: str) -> None:
    """Every file that a run or a model keeps is UTF-8, and holds its configuration."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"{where}: '{key}' is {value!r}: a name that is not UTF-8, which the saved model could "
            "not hold; rename the file or folder"
        ) from None
    if "\0" in value:
        raise UsageError(f"{where}: '{key}' is {value!r}, which holds a NUL; expected text")
