"""Remote: a plugin that another process has loaded, and what it offers as seen from here.

Nothing of it runs in this process. Each question has a time limit; who does not answer, or dies,
is ended and named, and the next question starts another process.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsa.child import START_SECONDS, Child, Dead, Message, Silent
from wsa.errors import PluginFailure, Told, WsaError
from wsa.registry import Loaded, Offer, Plugin
from wsa.representation import Column, Composite

if TYPE_CHECKING:
    from torch import Tensor

    from wsa.layers import Layers
    from wsa.population.batch import Batch

# an import is done once, and takes longer than a shard: transformers' took 9 s beside other work
LOAD_SECONDS = 20.0
REQUEST, REPLY = "request.safetensors", "reply.safetensors"


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
            self._answer(None, START_SECONDS, "to start", "whatever --plugin-timeout says")
            longer = self.timeout > LOAD_SECONDS
            limit = "--plugin-timeout" if longer else "an import's least, whatever --plugin-timeout"
            seconds = max(self.timeout, LOAD_SECONDS)
            found = self._answer({"ask": "load"}, seconds, "to be loaded", limit)
            if found["problem"]:
                self.close()
                kind = WsaError if found["is_mistake"] else PluginFailure
                raise kind(found["problem"])
            self._loaded = found
        return self._loaded

    def _answer(
        self, message: Message | None, seconds: float, what: str, limit: str = "--plugin-timeout"
    ) -> Message:
        try:
            return self.start().answer(message, seconds, what, limit)
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


class _Running(Child):
    """The process itself, and how batches go there and features come back."""

    def __init__(self, plugin: Plugin) -> None:
        super().__init__("wsa.worker", json.dumps(asdict(plugin)))

    def put(self, batch: Batch) -> None:
        """Lay a batch's tensors where the process looks for them."""
        from safetensors.torch import save_file

        tensors = {"flat": batch.flat.cpu(), "scale": batch.scale.cpu()}
        save_file(tensors, Path(self.folder.name) / REQUEST)

    def reply(self) -> Tensor:
        """Return the tensor that the process left."""
        from safetensors.torch import load_file

        return load_file(Path(self.folder.name) / REPLY)["features"]

    def answer(self, message: Message | None, seconds: float, what: str, limit: str) -> Message:
        """Send a message, and return the line that comes back in time, or raise Told."""
        if message is not None:
            self.tell(message)
        try:
            return self.hear(time.monotonic() + seconds)
        except Silent as problem:
            raise Told(
                f"needed at most {seconds:g} s {what} ({limit}), got no answer; its process was "
                f"ended"
            ) from problem
        except Dead as problem:
            raise Told(f"its process died when it was asked {what}: {problem}") from problem
