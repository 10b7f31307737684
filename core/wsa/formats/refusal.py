"""Refusal: why one file is not taken; the others of a population do not suffer for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsa.errors import WsaError

# How many keys a message quotes, and how much of one: a name may be a page long.
EXAMPLES, LONGEST_NAME = 3, 120
KEPT_END = 60


class BadFile(WsaError):
    """A file that is damaged, unsupported or not understood whole; the message says which."""


class BadModule(BadFile):
    """A module that cannot be read beside others that can."""


@dataclass(frozen=True)
class Refused:
    """A file that is left out and why: one row of the table of refused files."""

    name: str
    reason: str


def quoted(name: str) -> str:
    """Return a name as it may stand in one line: printable, and not too long."""
    shown = repr(name)
    if len(shown) <= LONGEST_NAME:
        return shown
    # files below one folder, and modules of one model, differ at the end
    return f"{shown[: LONGEST_NAME - KEPT_END]}...{shown[-KEPT_END:]}"


def shown(name: str) -> str:
    """Return a name bare where nothing in it could be taken for something else."""
    plain = name.isprintable() and name == name.strip() and len(name) <= LONGEST_NAME
    return name if plain else quoted(name)


def examples(names: Sequence[str]) -> str:
    """Return a count and the first three names."""
    told = ", ".join(quoted(name) for name in sorted(names)[:EXAMPLES])
    return f"{len(names)} ({told}{', ...' if len(names) > EXAMPLES else ''})"
