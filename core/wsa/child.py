"""Child: another Python process that answers in lines of JSON, ended with all that it started.

The first half is what its parent sees of it, `answering` what it does itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from typing import Any, TextIO

Message = dict[str, Any]
# importing torch, on a busy machine: no matter of the plugin's
START_SECONDS = 120.0
# how often a child that says nothing is looked at: what it started may hold its end of the pipe
LOOK_SECONDS = 0.2


class Silent(Exception):
    """No line came in time."""


class Dead(Exception):
    """The process ended; the message says how."""


class Child:
    """A module run by Python in a session of its own, its folder, and the line between us."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="wsa-")
        command = [sys.executable, "-m", module, *arguments, self.folder.name]
        # what was found here must be found there
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
        self._heard = b""
        # where nobody closes it, it ends with us
        self.end = weakref.finalize(self, _ended, self.process, self.folder)

    def tell(self, message: Message) -> None:
        """Send a line; a process that is dead already is found so when its answer is read."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def hear(self, deadline: float) -> Message:
        """Return the next line that comes before a time of `time.monotonic`.

        Raises Silent where none does, Dead where the process ends first.
        """
        while b"\n" not in self._heard:
            self._heard += self._read(deadline)
        line, _, self._heard = self._heard.partition(b"\n")
        found: Message = json.loads(line)
        return found

    def _read(self, deadline: float) -> bytes:
        assert self.process.stdout is not None
        while True:
            left = max(0.0, deadline - time.monotonic())
            ended = self.process.poll() is not None
            if select.select([self.process.stdout], [], [], min(left, LOOK_SECONDS))[0]:
                if found := os.read(self.process.stdout.fileno(), 1 << 20):
                    return found
                raise Dead(self._death())
            if ended:
                raise Dead(self._death())
            if not left:
                raise Silent

    def _death(self) -> str:
        code = self.process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _ended(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    """End a process and what it forked; nobody waits for who left its group and holds a pipe."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            pipe.close() if pipe else None
    folder.cleanup()


def answering() -> tuple[TextIO, Callable[[Message], None]]:
    """Return, in the child, the questions and what sends an answer.

    What a plugin prints, from Python or from C, does not come between the answers; nor does what
    it reads take the questions.
    """
    # an interruption is the asking process's to handle
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions, channel = os.fdopen(os.dup(0)), os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def send(message: Message) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        # a pipe takes what it has room for
        while data:
            data = data[os.write(channel, data) :]

    return questions, send
