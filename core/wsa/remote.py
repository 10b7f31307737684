"""Remote: a plugin that another process has loaded, and what it offers as seen from here.

Nothing of it runs in this process. Each question has a time limit; who does not answer, or dies,
is ended and named, and the next question starts another process.
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
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsa.errors import PluginFailure, WsaError
from wsa.registry import Loaded, Offer, Plugin
from wsa.representation import Column, Composite

if TYPE_CHECKING:
    from torch import Tensor

    from wsa.layers import Layers
    from wsa.population.batch import Batch

# importing torch, on a busy machine: no matter of the plugin's
START_SECONDS = 120.0
# an import is done once, and takes longer than a shard: transformers' took 9 s beside other work
LOAD_SECONDS = 20.0
REQUEST, REPLY = "request.safetensors", "reply.safetensors"


class Told(PluginFailure):
    """A failure that was found, and worded, where the plugin runs."""


class Process:
    """A process of one plugin, started at once; it has loaded the plugin when it first answers."""

    def __init__(self, plugin: Plugin, timeout: float) -> None:
        self.plugin = plugin
        self.timeout = timeout
        self._running: _Running | None = None
        self._loaded: dict[str, Any] | None = None
        self.start()

    def start(self) -> _Running:
        """Start the process where it does not run."""
        if self._running is None:
            self._running = _Running(self.plugin)
        return self._running

    def loaded(self) -> Loaded:
        """Return what the plugin offers, each representation as a `Remote`.

        Raises PluginFailure with the cause where it cannot be loaded in time, WsaError for a
        parameter it does not take.
        """
        try:
            found = self._load()
        except Told as problem:
            told = f"plugin {self.plugin.name!r} ({self.plugin.distribution})"
            raise PluginFailure(f"{told} failed to load: {problem}") from problem
        offers = [Offer(self._offered(each), self.plugin) for each in found["offers"]]
        return Loaded(offers, found["notes"])

    def ask(self, message: dict[str, Any], what: str, batch: Batch | None = None) -> dict[str, Any]:
        """Ask one question within the time limit; raises Told for a failure, a hang or a death."""
        self._load()
        if batch is not None:
            self.start().put(batch)
        answer = self._answer(message, self.timeout, what)
        if answer["problem"]:
            raise Told(answer["problem"])
        return answer

    def reply(self) -> Tensor:
        """Return the tensor that came with an answer."""
        return self.start().reply()

    def close(self) -> None:
        """End the process; another question starts another one."""
        if self._running is not None:
            self._running.end()
        self._running = self._loaded = None

    def _load(self) -> dict[str, Any]:
        if self._loaded is None:
            self._answer(None, START_SECONDS, "to start")
            limit = max(self.timeout, LOAD_SECONDS)
            found = self._answer({"ask": "load"}, limit, "to be loaded")
            if found["problem"]:
                self.close()
                kind = WsaError if found["is_mistake"] else PluginFailure
                raise kind(found["problem"])
            self._loaded = found
        return self._loaded

    def _answer(self, message: dict[str, Any] | None, seconds: float, what: str) -> dict[str, Any]:
        try:
            return self.start().answer(message, seconds, what)
        except Told:
            self.close()
            raise

    def _offered(self, told: dict[str, Any]) -> Remote | Composite:
        if "parts" in told:
            return Composite(told["name"], told["version"], tuple(told["parts"]))
        return Remote(self, told)


class Remote:
    """A representation that another process has; no dataclass, its parameters are told."""

    def __init__(self, process: Process, told: dict[str, Any]) -> None:
        self.process = process
        self.name: str = told["name"]
        self.version: int = told["version"]
        self.views: tuple[str, ...] = tuple(told["views"])
        self.offered: str = told["offered"]  # the name with the parameters
        self.parameters: dict[str, Any] = told["parameters"]  # those not at their default
        self.described: dict[str, str] = told["described"]  # all of them, with type and default
        self.source: str | None = told["source"]  # its digest
        self._known: dict[Layers, list[Column]] = {}

    def columns(self, layers: Layers) -> list[Column]:
        """Ask for the columns, once; raises Told where there is no sound answer."""
        if layers not in self._known:
            message = {"ask": "columns", "name": self.offered} | layers_told(layers)
            answer = self.process.ask(message, "for columns(layers)")
            self._known[layers] = [Column(*each) for each in answer["columns"]]
        return self._known[layers]

    def extract(self, batch: Batch) -> Tensor:
        """Ask for the features of a batch; raises Told where there are none."""
        what = f"for a shard of {len(batch)} adapters"
        message = {"ask": "features", "name": self.offered} | layers_told(batch.layers)
        self.process.ask(message | batch_told(batch), what, batch)
        return self.process.reply().to(batch.device)


def layers_told(layers: Layers) -> dict[str, Any]:
    """Return layers as JSON."""
    return {"view": layers.view, "layers": [asdict(layer) for layer in layers]}


def batch_told(batch: Batch) -> dict[str, Any]:
    """Return everything else of a batch that is no tensor, as JSON."""
    import torch

    return {
        "layout": asdict(batch.layout),
        "backend": batch.backend,
        "device": str(batch.device),
        "threads": torch.get_num_threads(),
    }


class _Running:
    """The process itself, its folder, and the line between us."""

    def __init__(self, plugin: Plugin) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="wsa-")
        command = [sys.executable, "-m", "wsa.worker", json.dumps(asdict(plugin)), self.folder.name]
        # what was found here must be found there
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        # where nobody closes it, it ends with us
        self.end = weakref.finalize(self, _ended, self.process, self.folder)

    def put(self, batch: Batch) -> None:
        """Lay a batch's tensors where the process looks for them."""
        from safetensors.torch import save_file

        tensors = {"flat": batch.flat.cpu(), "scale": batch.scale.cpu()}
        save_file(tensors, Path(self.folder.name) / REQUEST)

    def reply(self) -> Tensor:
        """Return the tensor that the process left."""
        from safetensors.torch import load_file

        return load_file(Path(self.folder.name) / REPLY)["features"]

    def answer(self, message: dict[str, Any] | None, seconds: float, what: str) -> dict[str, Any]:
        """Send a message, and return the line that comes back in time, or raise Told."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if message is not None:
            # a process that is dead already is found so when its answer is read
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(json.dumps(message).encode() + b"\n")
                self.process.stdin.flush()
        pieces, deadline = [b""], time.monotonic() + seconds
        while not pieces[-1].endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise Told(
                    f"needed at most {seconds:g} s {what} (--plugin-timeout), got no answer; its "
                    f"process was ended"
                )
            pieces.append(os.read(self.process.stdout.fileno(), 1 << 20))
            if not pieces[-1]:
                raise Told(f"its process died when it was asked {what}: {self._death()}")
        found: dict[str, Any] = json.loads(b"".join(pieces))
        return found

    def _death(self) -> str:
        code = self.process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _ended(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    process.communicate()
    folder.cleanup()
