"""Knobs: a value from Python as the command line would have it, or one line of what was needed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from wsa.errors import need
from wsa.parameters import words


def settled(knob: str, value: Any, kind: Any) -> Any:
    """Return a knob's value as its annotation declares it.

    Text stands for its words, as `parameters.words` parts them, where several are declared, and
    for a path. Raises WsaError for a value of another kind.
    """
    if get_origin(kind) is tuple:
        return _several(knob, value)
    if isinstance(kind, UnionType):
        if value is None:
            return None
        kind = get_args(kind)[0]
    needed, read = _READ[kind]
    found = read(value)
    need(found is not None, flag(knob), needed, repr(value))
    return found


def flag(knob: str) -> str:
    """Return a knob as the command line writes it."""
    return f"--{knob.replace('_', '-')}"


def _several(knob: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return words(value)
    several = isinstance(value, Sequence) and all(isinstance(each, str) for each in value)
    needed = "names: a tuple of them, or one text with commas"
    need(several, flag(knob), needed, repr(value))
    return tuple(value)


def _whole(value: Any) -> int | None:
    # True is an int to Python
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return int(value) if whole else None


def _number(value: Any) -> float | None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    # a run is named by its knobs and stored with them, in JSON, which has no NaN and no infinity
    return float(value) if number and math.isfinite(value) else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return os.fspath(value) if isinstance(value, str | os.PathLike) else None


def _path(value: Any) -> Path | None:
    return Path(value) if isinstance(value, str | os.PathLike) else None


_READ: dict[type, tuple[str, Callable[[Any], Any]]] = {
    int: ("a whole number", _whole),
    float: ("a finite number", _number),
    bool: ("True or False", _truth),
    str: ("text", _text),
    Path: ("a path", _path),
}
