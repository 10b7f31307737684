"""Run folder: what is written where, and whether it belongs to this configuration."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from wsa.errors import WsaError
from wsa.experiment.config import differences
from wsa.storage import private_directory, remove_partials, write_bytes, write_json

if TYPE_CHECKING:
    from wsa.experiment.plan import Task

_OURS = ("config.json", "events.jsonl", "split.json", "results.json", "metrics.csv")
_FOLDERS = ("tasks", "checkpoints")


@dataclass(frozen=True)
class RunFolder:
    """The folder one configuration writes to; running it again resumes what is there."""

    root: Path

    @property
    def results(self) -> Path:
        """Return where the merged results are written."""
        return self.root / "results.json"

    def refuse_another(self, config: dict[str, Any]) -> None:
        """Raise WsaError, naming the differences, where the folder is not this configuration's.

        Knobs the caller does not know yet (the population's digest) are not compared.
        """
        stored = self._stored_config()
        if stored is None:
            if self.root.is_dir() and set(os.listdir(self.root)) - {".lock"}:
                raise WsaError(
                    f"{self.root} is not empty and holds no run; choose another --output-dir"
                )
            return
        found = differences({name: stored.get(name) for name in config}, config)
        if found:
            raise WsaError(
                f"{self.root} holds a run with another configuration ({'; '.join(found)}); choose "
                f"another --output-dir, or --restart to throw that run away"
            )

    def clear(self) -> None:
        """Remove what a run wrote; whatever else lies in the folder is the user's and stays."""
        for name in _OURS:
            (self.root / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(self.root / name, ignore_errors=True)

    @contextmanager
    def opened(self, config: dict[str, Any]) -> Iterator[None]:
        """Make the folder and hold it against a second run; the kernel frees a killed one's."""
        private_directory(self.root)
        lock = FileLock(self.root / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as problem:
            raise WsaError(f"another run is writing to {self.root}; wait for it") from problem
        with lock:
            for folder in (self.root, *(self.root / name for name in _FOLDERS)):
                remove_partials(private_directory(folder), time.time())
            write_json(self.root / "config.json", config)
            yield

    def finished(self, task: Task) -> dict[str, Any] | None:
        """Return a task's committed result, or None where it is not done."""
        try:
            found = json.loads(self._task(task).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.get("task") == task.name else None

    def commit(self, task: Task, result: dict[str, Any]) -> None:
        """Write a task's result, then drop the checkpoint it no longer needs."""
        write_json(self._task(task), result)
        self.checkpoint(task).unlink(missing_ok=True)

    def checkpoint(self, task: Task) -> Path:
        """Return where a task's training state is kept while it runs."""
        return self.root / "checkpoints" / f"{task.name}.pt"

    def write(self, name: str, text: str) -> None:
        """Write one of the folder's own files atomically."""
        write_bytes(self.root / name, text.encode())

    def record(self, event: str, **details: Any) -> None:
        """Append one event, with the time, to events.jsonl."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **details})
        with (self.root / "events.jsonl").open("a") as file:
            file.write(line + "\n")

    def _task(self, task: Task) -> Path:
        return self.root / "tasks" / f"{task.name}.json"

    def _stored_config(self) -> dict[str, Any] | None:
        path = self.root / "config.json"
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_bytes())
        except ValueError as problem:
            raise WsaError(f"{path} does not parse; --restart throws that run away") from problem
        return dict(found)
