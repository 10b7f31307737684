"""Progress with rate and ETA on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Shorter work needs no report; longer work without a terminal gets a line this often.
QUIET_SECONDS = 2.0
LINE_SECONDS = 5.0


def say(message: str) -> None:
    """Print one line of talk on standard error."""
    print(message, file=sys.stderr, flush=True)


class Progress:
    """How far one piece of work has come; `advance` is all that a loop needs to call."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.before = done
        self.started = self.printed = time.monotonic()

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count `amount` more as done and print a line where one is due."""
        self.done += amount
        now = time.monotonic()
        due = now - self.printed >= LINE_SECONDS
        ended = self.done >= self.total and now - self.started >= QUIET_SECONDS
        if due or ended:
            self.printed = now
            say(self.line(note))

    def line(self, note: str = "") -> str:
        """Return `title 3/10 (30.0%) 1.5 adapters/s ETA 0:00:12 note`."""
        share = 100 * self.done / max(1, self.total)
        head = f"{self.title} {self.done}/{self.total} ({share:.1f}%)"
        return " ".join(part for part in (head, self.rate(), note) if part)

    def rate(self) -> str:
        """Return the measured rate and what it says of the time left."""
        elapsed = time.monotonic() - self.started
        fresh = self.done - self.before
        if not fresh or not elapsed:
            return ""
        per_second = fresh / elapsed
        left = clock((self.total - self.done) / per_second)
        return f"{per_second:.3g} {self.unit}/s ETA {left}"


class _Bar(Progress):
    """The same work drawn by rich; the bar disappears when the work is done."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0) -> None:
        super().__init__(title, total, unit, done)
        from rich.console import Console
        from rich.progress import Progress as Rich

        self.rich = Rich(console=Console(stderr=True), transient=True)
        self.task = self.rich.add_task(title, total=total, completed=done)

    def advance(self, amount: int = 1, note: str = "") -> None:
        from rich.markup import escape

        self.done += amount
        # a note such as `moments[factors fp32]` holds what rich would take for a style
        self.rich.update(self.task, advance=amount, description=escape(self.line(note)))


@contextmanager
def progress(title: str, total: int, unit: str, done: int = 0) -> Iterator[Progress]:
    """Report `total` units of work called `title`, `done` of them before this began."""
    if not sys.stderr.isatty():
        yield Progress(title, total, unit, done)
        return
    bar = _Bar(title, total, unit, done)
    with bar.rich:
        yield bar


def clock(seconds: float) -> str:
    """Write a duration as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def amount(count: float) -> str:
    """Write a number of bytes with a unit a person reads."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.3g} TiB"
