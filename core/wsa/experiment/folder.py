"""Run folder: what is written where, and whether it belongs to this configuration."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from wsa.errors import WsaError, differences
from wsa.experiment.stamp import RESULTS, STAMP, proof
from wsa.progress import say
from wsa.storage import (
    PARTIAL,
    canonical_digest,
    private_directory,
    refusals,
    remove_partials,
    to_json,
    write_bytes,
    write_json,
)

if TYPE_CHECKING:
    from wsa.experiment.plan import Task

FORMAT = {"format": "wsa run 1"}
LOCK = ".lock"
SPLIT = "split.json"
METRICS = "metrics.csv"
TIMING = "timing.csv"
EVENTS = "events.jsonl"
_FILES = (EVENTS, SPLIT, STAMP, RESULTS, METRICS, TIMING)
_FOLDERS = ("tasks", "checkpoints")


@dataclass(frozen=True)
class RunFolder:
    """The folder one configuration writes to; running it again resumes what is there."""

    root: Path
    # of each task's file, as it was proved or committed by this process
    proofs: dict[str, str | None] = field(default_factory=dict, compare=False)

    def refuse_another(self, config: dict[str, Any]) -> None:
        """Raise WsaError, naming the differences, where the folder is not this configuration's."""
        stored = self.stored_config()
        if stored is None:
            self._refuse_strangers()
            return
        # what the run that made the folder did not come to know is not held against this one
        known = stored.keys() & config.keys()
        found = differences({n: stored[n] for n in known}, {n: config[n] for n in known})
        if found:
            raise WsaError(
                f"{self.root} holds a run with another configuration ({'; '.join(found)}); choose "
                f"another --output-dir, or --restart to throw that run away"
            )

    @contextmanager
    def opened(self, config: dict[str, Any], restart: bool) -> Iterator[None]:
        """Make the folder, hold it against a second run, and bind it to a configuration.

        `restart` throws away what a run of wsa left there, and nothing else. The lock of a run
        that was killed is freed by the kernel.
        """
        private_directory(self.root)
        with self._locked():
            if restart and self.stored_config() is not None:
                self._clear()
                write_json(self._config, FORMAT | config)
            self.bind(config)
            for folder in (self.root, *(self.root / name for name in _FOLDERS)):
                remove_partials(private_directory(folder), time.time())
            yield

    def bind(self, config: dict[str, Any]) -> None:
        """Bind the folder to what is known by now, or raise WsaError where it is another's."""
        self.refuse_another(config)
        self.write(self._config.name, to_json(FORMAT | (self.stored_config() or {}) | config))

    def finished(self, task: Task) -> dict[str, Any] | None:
        """Return a task's committed result, or None where it is not done."""
        payload = self.read_task(task)
        try:
            found = json.loads(payload or b"")
        except ValueError:
            return None
        seal = found.pop("digest", None) if isinstance(found, dict) else None
        if seal != canonical_digest([task.name, found]):
            say(f"{self._task(task)} is not as it was committed; the task is done again")
            return None
        self.proofs[task.name] = proof(payload)
        return dict(found)

    def commit(self, task: Task, result: dict[str, Any]) -> None:
        """Write a task's result, then drop the checkpoint it no longer needs."""
        seal = {"digest": canonical_digest([task.name, result])}
        payload = to_json(result | seal).encode()
        write_bytes(self._task(task), payload)
        self.proofs[task.name] = proof(payload)
        self.checkpoint(task).unlink(missing_ok=True)

    def checkpoint(self, task: Task) -> Path:
        """Return where a task's training state is kept while it runs."""
        return self.root / "checkpoints" / f"{task.name}.pt"

    def read(self, name: str) -> bytes | None:
        """Return the bytes of one of the folder's own files, or None where there is none."""
        return _read(self.root / name)

    def read_task(self, task: Task) -> bytes | None:
        """Return the bytes of a task's file, proved by nobody, or None where there is none."""
        return _read(self._task(task))

    def write(self, name: str, text: str) -> None:
        """Write one of the folder's own files atomically, unless it holds the same already."""
        if self.read(name) != text.encode():
            write_bytes(self.root / name, text.encode())

    def record(self, event: str, **details: Any) -> None:
        """Append one event, with the time, to events.jsonl."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **details})
        path = self.root / EVENTS
        with refusals(path), path.open("a") as file:
            file.write(line + "\n")

    @property
    def _config(self) -> Path:
        return self.root / "config.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with refusals(self.root):
            lock = FileLock(self.root / LOCK, timeout=0)
            try:
                lock.acquire()
            except Timeout as problem:
                raise WsaError(f"another run is writing to {self.root}; wait for it") from problem
        with lock:
            yield

    def _clear(self) -> None:
        for folder in _FOLDERS:
            shutil.rmtree(self.root / folder, ignore_errors=True)
        # the proof that the folder is a run's goes last
        for name in (*_FILES, self._config.name):
            (self.root / name).unlink(missing_ok=True)

    def _refuse_strangers(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise WsaError(f"--output-dir needs a folder; {self.root} is a file")
        found = os.listdir(self.root) if self.root.is_dir() else []
        if any(name != LOCK and not name.startswith(PARTIAL) for name in found):
            raise WsaError(
                f"{self.root} is not empty and holds no run; choose another --output-dir"
            )

    def _task(self, task: Task) -> Path:
        return self.root / "tasks" / f"{task.name}.json"

    def stored_config(self) -> dict[str, Any] | None:
        """Return the configuration of the run that lies here, or None where none does."""
        try:
            found = json.loads(self._config.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and FORMAT.items() <= found.items() else None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
