"""Checking: every check of a plugin, made in a process of its own that it may hang or end.

torch is imported there, not here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from wsa.child import START_SECONDS, Child, Dead, Silent
from wsa.errors import WsaError, need

# for all checks of one representation in one view; compiling takes most of it
SECONDS = 600.0
Row = dict[str, Any]


def plugin_verdicts(
    word: str,
    dataset: str | None,
    views: Sequence[str],
    device: str,
    seconds: float = SECONDS,
) -> Iterator[Row]:
    """Yield `representation`, `check`, `view`, `status` and `detail` of every check.

    Who hangs, or ends the process, fails the check in hand, the last one that is made. Raises
    WsaError for bad input, PluginFailure for a plugin that cannot be loaded.
    """
    need(0 < seconds < float("inf"), "timeout", "a number of seconds above 0", seconds)
    asked = {"word": word, "dataset": dataset, "views": views, "device": device}
    child = Child("wsa.conformance.session", json.dumps(asked))
    try:
        yield from _verdicts(child, word, seconds)
    finally:
        child.end()


def _verdicts(child: Child, word: str, seconds: float) -> Iterator[Row]:
    about: Row = {}
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            said = child.hear(deadline)
        except (Silent, Dead) as problem:
            yield _ended(problem, about, word, seconds)
            return
        if said["kind"] == "done":
            return
        if said["kind"] == "problem":
            raise _worded(said["text"], said["exit_code"])
        if said["kind"] == "verdict":
            yield said["row"]
        if said["kind"] == "started" or (said["kind"] == "begun" and _another(about, said["row"])):
            deadline = time.monotonic() + seconds
        about = said.get("row", about)


def _another(before: Row, now: Row) -> bool:
    return any(before.get(key) != now[key] for key in ("representation", "view"))


def _ended(problem: Exception, about: Row, word: str, seconds: float) -> Row:
    """Return the verdict on who ended the process, or did not come to an end."""
    if isinstance(problem, Dead):
        told = f"expected an answer, got the end of its process: {problem}"
    else:
        told = f"expected all checks of a view within {seconds:g} s (--timeout), got no answer"
    if not about:
        place = f"plugin {word!r} failed to load"
        raise _worded(f"{place}: {told.replace('all checks of a view', 'an import')}", 1)
    return about | {"status": "failed", "detail": f"{told}; the checks after it were not made"}


def _worded(text: str, exit_code: int) -> WsaError:
    found = WsaError(text)
    found.exit_code = exit_code
    return found
