"""Isolation: a stranger's representation in a process of its own, ended when it takes too long."""

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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wsa import registry
from wsa.contract import held_to_contract
from wsa.errors import PluginFailure

if TYPE_CHECKING:
    from wsa.population.batch import Batch
    from wsa.registry import Offer

OWN = "wsa"
# importing torch and a plugin, on a busy machine
START_SECONDS = 120.0
REQUEST, REPLY = "request.safetensors", "reply.safetensors"


@dataclass
class Isolation:
    """Who computes features: this process, or with a timeout one process for each stranger.

    wsa's own stay here, where they share what they compute. So does what came as an object: no
    other process could find it by name.
    """

    timeout: float | None = None
    workers: dict[Offer, Worker] = field(default_factory=dict)

    def features(self, offer: Offer, batch: Batch) -> Tensor:
        """Return [n, C] features; raises PluginFailure for a breach, a hang or a death."""
        if self.timeout is None or not _is_installed_stranger(offer):
            return held_to_contract(offer.representation, batch)
        worker = self.workers.get(offer) or Worker(offer, self.timeout)
        self.workers[offer] = worker
        try:
            return worker.features(batch)
        except PluginFailure:
            self.workers.pop(offer).close()
            raise

    def close(self) -> None:
        """End every process."""
        while self.workers:
            self.workers.popitem()[1].close()


class Worker:
    """A process that has loaded one plugin, and answers batches with features."""

    def __init__(self, offer: Offer, timeout: float) -> None:
        self.timeout = timeout
        self.folder = tempfile.TemporaryDirectory(prefix="wsa-")
        plugin = json.dumps(asdict(offer.plugin))
        command = [sys.executable, "-m", "wsa.worker", plugin, offer.name, self.folder.name]
        # what was found here must be found there
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self.ready = False

    def features(self, batch: Batch) -> Tensor:
        """Send a batch, and wait for its features no longer than the timeout."""
        if not self.ready:
            self._answer(START_SECONDS, "to be loaded")
            self.ready = True
        place = Path(self.folder.name)
        save_file({"flat": batch.flat.cpu(), "scale": batch.scale.cpu()}, place / REQUEST)
        self._send(described(batch))
        answer = self._answer(self.timeout, f"for a shard of {len(batch)} adapters")
        if answer["problem"]:
            raise PluginFailure(answer["problem"])
        return load_file(place / REPLY)["features"].to(batch.device)

    def close(self) -> None:
        """End the process and remove its folder."""
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        # a process that is dead already is found so when its answer is read
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def _answer(self, seconds: float, what: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        deadline, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if not select.select([self.process.stdout], [], [], max(0.0, left))[0]:
                raise PluginFailure(
                    f"needed at most {seconds:g} s {what} (--plugin-timeout), got no answer; its "
                    f"process was ended"
                )
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise PluginFailure(f"its process died {what}: {self._death()}")
            line += piece
        found: dict[str, Any] = json.loads(line)
        return found

    def _death(self) -> str:
        code = self.process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def described(batch: Batch) -> dict[str, Any]:
    """Return everything of a batch that is no tensor, as JSON."""
    return {
        "layout": asdict(batch.layout),
        "view": batch.layers.view,
        "layers": [asdict(layer) for layer in batch.layers],
        "backend": batch.backend,
        "device": str(batch.device),
        "threads": torch.get_num_threads(),
    }


def _is_installed_stranger(offer: Offer) -> bool:
    if offer.plugin.distribution == OWN:
        return False
    places = {(each.name, each.module) for each in registry.installed()}
    return (offer.plugin.name, offer.plugin.module) in places
