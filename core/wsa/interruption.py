"""Interruption: the first signal lets the work in hand be saved, the second ends it at once."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# An epoch that ends later than this is given up; the last checkpoint is there.
GRACE_SECONDS = 3.0


class Interrupted(KeyboardInterrupt):
    """A signal, at a place where nothing is half-written; `number` says which."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = _state.ended = int(number)


class _State:
    """Which signal has come, and whether somebody looks for it."""

    pending: int | None = None
    ended: int | None = None
    watched = False


_state = _State()


@contextmanager
def handled() -> Iterator[None]:
    """Take SIGINT and SIGTERM while a command runs; only the main thread may call it."""
    before = {number: signal.signal(number, _come) for number in SIGNALS}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _give_up)
    _state.ended = None
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        _state.pending, _state.watched = None, False


@contextmanager
def watched() -> Iterator[None]:
    """Promise to ask `requested` every so often: the first signal then waits to be asked for."""
    _state.watched = True
    try:
        yield
    finally:
        _state.watched = False


def requested() -> bool:
    """Tell whether a signal has come: save, then call `stop`; who knows is given the time to."""
    if _state.pending is None:
        return False
    signal.setitimer(signal.ITIMER_REAL, 0)
    return True


def from_outside(problem: KeyboardInterrupt) -> bool:
    """Tell whether a user's signal raised this, as far as can be told, or a plugin did.

    Where signals are handled here, or ignored, none of them raises a bare KeyboardInterrupt.
    """
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return isinstance(problem, Interrupted) or default


def ended() -> bool:
    """Tell whether a signal is ending the process."""
    return _state.ended is not None


def exit_code() -> int | None:
    """Return what a shell expects of a process that a signal ended; None where none did."""
    return None if _state.ended is None else 128 + _state.ended


def stop() -> None:
    """End for the signal that has come."""
    raise Interrupted(_state.pending or signal.SIGINT)


def _come(number: int, frame: FrameType | None) -> None:
    if _state.pending is not None or not _state.watched:
        raise Interrupted(number)
    _state.pending = number
    signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)


def _give_up(number: int, frame: FrameType | None) -> None:
    stop()
