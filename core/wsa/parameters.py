"""Parameters: what a representation can be told, as the typed fields of its frozen dataclass."""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from wsa.errors import PluginFailure, WsaError, cause, need, unknown
from wsa.representation import Composite

Told = TypeVar("Told")

# a comma between parentheses parts parameters, not plugins
_WORD = re.compile(r"(?:[^,(]|\([^)]*\)?)+")
_SHAPE = re.compile(r"([^()]+?)\s*(?:\((.*)\))?")
_PLAIN = (bool, int, float, str)
_WRITTEN = {"true": True, "false": False}
# what the contract itself asks of a representation, or allows it to say, is no parameter
_OF_THE_CONTRACT = {"name", "version", "views", "invariances", "feature_names"}


def words(text: str) -> tuple[str, ...]:
    """Split `spectral(top=20),stats` at the commas that are outside of parentheses."""
    return tuple(word.strip() for word in _WORD.findall(text) if word.strip())


def parsed(word: str) -> tuple[str, dict[str, Any]]:
    """Split `spectral(top=20)` into a name and its arguments; raises WsaError for another form."""
    found = _SHAPE.fullmatch(word.strip())
    if not found:
        raise _malformed(word)
    name, inside = found.groups()
    try:
        call = ast.parse(f"_({inside or ''})", mode="eval").body
    except SyntaxError as problem:
        raise _malformed(word) from problem
    assert isinstance(call, ast.Call)
    if call.args or any(each.arg is None for each in call.keywords):
        raise _malformed(word)
    keys = [each.arg for each in call.keywords]
    for key in keys:
        need(keys.count(key) == 1, f"{name}({key}=...)", "to be given once", f"{word!r}")
    return name, {str(each.arg): _value(each.value, word) for each in call.keywords}


def told(name: str, arguments: Mapping[str, Any]) -> str:
    """Write a name and its arguments as they are written after `--plugins`."""
    inside = ",".join(f"{key}={value!r}" for key, value in sorted(arguments.items()))
    return f"{name}({inside})" if inside else name


def kinds(representation: object) -> dict[str, Any]:
    """Return the annotation of every parameter; raises PluginFailure for one nobody can type."""
    if not dataclasses.is_dataclass(representation):
        return {}
    _refuse_incomplete(representation)
    hints = get_type_hints(type(representation))
    found = {field.name: hints[field.name] for field in _fields(representation)}
    for name, kind in found.items():
        if not all(one in _PLAIN or get_origin(one) is Literal for one in _alternatives(kind)):
            raise PluginFailure(
                f"parameter {name!r} needs an annotation of bool, int, float, str or Literal; "
                f"got {_kind_told(kind)}"
            )
    return found


def _refuse_incomplete(representation: Any) -> None:
    fields = list(_fields(representation))
    if fields and not representation.__dataclass_params__.frozen:
        kind = type(representation).__name__
        raise PluginFailure(f"parameters needs a frozen dataclass; got {kind}, which is not frozen")
    for field in fields:
        if field.default is field.default_factory is dataclasses.MISSING:
            raise PluginFailure(f"parameter {field.name!r} needs a default; got none")


def described(representation: object) -> dict[str, str]:
    """Describe every parameter as `int = 10`."""
    found = kinds(representation)
    return {
        name: f"{_kind_told(kind)} = {getattr(representation, name)!r}"
        for name, kind in found.items()
    }


def changed(representation: object) -> dict[str, Any]:
    """Return the parameters that are not at their default: those that the cache key sees.

    A parameter added with a default that changes no number then leaves every entry valid.
    """
    if not dataclasses.is_dataclass(representation):
        return dict(getattr(representation, "parameters", {}))
    values = {field.name: getattr(representation, field.name) for field in _fields(representation)}
    defaults = {field.name: _default(field) for field in _fields(representation)}
    return {name: value for name, value in values.items() if value != defaults[name]}


def given(representation: Told, arguments: Mapping[str, Any]) -> Told:
    """Return a representation with some parameters replaced; raises WsaError for a bad one."""
    accepted, name = kinds(representation), str(getattr(representation, "name", "?"))
    for key in arguments:
        if key not in accepted:
            raise unknown(f"parameter of {name!r}", key, accepted)
    for key, value in arguments.items():
        _refuse_endless(name, key, value)
    values = {key: _typed(name, key, value, accepted[key]) for key, value in arguments.items()}
    assert dataclasses.is_dataclass(representation)
    assert not isinstance(representation, type)
    try:
        return dataclasses.replace(representation, **values)
    except (ValueError, TypeError, WsaError) as problem:
        reason = str(problem) if isinstance(problem, WsaError) else cause(problem)
        raise WsaError(f"{told(name, arguments)}: {reason}") from problem


def refuse_mistyped(representation: object) -> None:
    """Raise WsaError for a parameter whose value is not of the annotated kind."""
    name = str(getattr(representation, "name", "?"))
    for key, kind in kinds(representation).items():
        _typed(name, key, getattr(representation, key), kind)
    for key, value in changed(representation).items():
        _refuse_endless(name, key, value)


def _typed(name: str, key: str, value: Any, kind: Any) -> Any:
    """Return a value as the kind that was declared, or raise WsaError."""
    for one in _alternatives(kind):
        if any(type(value) is type(choice) and value == choice for choice in get_args(one)):
            return value
        # True is an int to Python, and to nobody who writes top=True
        if type(value) is one:
            return value
        if one is float and type(value) is int:
            return float(value)
    raise WsaError(f"{name}({key}=...) needs {_kind_told(kind)}; got {value!r}")


def _refuse_endless(name: str, key: str, value: Any) -> None:
    """Refuse a number that no cache key, and no file of results, can hold."""
    # 10**400 is an int, and no float
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        raise WsaError(f"{name}({key}=...) needs a finite number; got {str(value)[:20]}")


def _value(node: ast.expr, word: str) -> Any:
    if isinstance(node, ast.Name):
        return _WRITTEN.get(node.id, node.id)
    try:
        return ast.literal_eval(node)
    except ValueError as problem:
        raise _malformed(word) from problem


def _malformed(word: str) -> WsaError:
    return WsaError(f"a plugin is written NAME or NAME(parameter=value,...); got {word!r}")


def _fields(representation: object) -> Iterable[dataclasses.Field[Any]]:
    assert dataclasses.is_dataclass(representation)
    if isinstance(representation, Composite):
        return []
    found = (field for field in dataclasses.fields(representation) if field.init)
    return [field for field in found if field.name not in _OF_THE_CONTRACT]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _kind_told(kind: Any) -> str:
    choices = [str(each) for one in _alternatives(kind) for each in get_args(one)]
    return " or ".join(choices) if choices else getattr(kind, "__name__", str(kind))
