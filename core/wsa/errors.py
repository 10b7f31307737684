"""Errors that are the caller's to fix, each with the exit code it ends in.

WsaError                exit 2: usage or input
├── EnvironmentProblem  exit 3: the machine (no device, no space, no permission)
└── PluginFailure       exit 1: a plugin failed; everything else went on
    ├── Told            worded where it was found: nothing is put before it
    └── NothingVaries   its features are constant: told, and no failure of a run
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# an exception may carry a page; its first lines say what it is
LONGEST_CAUSE = 300


class WsaError(Exception):
    """A mistake of the user's, told in one line: what was needed, what was found, what to do."""

    exit_code = EXIT_USAGE


class EnvironmentProblem(WsaError):
    """The machine cannot do what was asked: no such device, no space, no permission."""

    exit_code = 3


class PluginFailure(WsaError):
    """A plugin could not be loaded or broke its contract; the others are not touched by it."""

    exit_code = EXIT_SOME_FAILED


class Told(PluginFailure):
    """A failure that was found, and worded, where the plugin runs."""


class NothingVaries(PluginFailure):
    """Features that are the same for all adapters: no fault of a plugin, nothing to learn."""


def unknown(kind: str, name: str, known: Iterable[str]) -> WsaError:
    """Return the error for a name nobody declared, with the known ones and the nearest."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return WsaError(f"no {kind} called {name!r}; known: {', '.join(names) or 'none'}{hint}")


def need(holds: bool, what: str, needed: str, found: object) -> None:
    """Raise WsaError for a value out of range."""
    if not holds:
        raise WsaError(f"{what} needs {needed}; got {found}")


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Say where two records differ, one `field: before -> now` each."""
    fields = sorted(before.keys() | now.keys())
    return [
        f"{field}: {before.get(field)} -> {now.get(field)}"
        for field in fields
        if before.get(field) != now.get(field)
    ]


def cause(problem: BaseException) -> str:
    """Return an exception as one line."""
    name = printable(type(problem).__name__)
    try:
        text = printable(str(problem))
    except BaseException as unreadable:  # a plugin's exception may fail to tell its own message
        text = f"its message cannot be read ({printable(type(unreadable).__name__)})"
    return f"{name}: {text[:LONGEST_CAUSE]}" if text else name


def printable(text: str) -> str:
    """Return a stranger's text as one line of characters that a terminal and a file can take."""
    line = " ".join(text.split())
    return "".join(each if each.isprintable() else "?" for each in line)
