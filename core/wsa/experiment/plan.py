"""Plan: which tasks a run has, what it will read, write and compute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsa.extract import Request
from wsa.population.identity import canonical_digest

if TYPE_CHECKING:
    from wsa.experiment.config import RunConfig
    from wsa.layers import Layers


@dataclass(frozen=True)
class Task:
    """Representation x layer set, in one view: S seeds are trained in it at once."""

    request: Request
    layer_set: str
    layers: tuple[str, ...]  # the names selected

    @property
    def view(self) -> str:
        """Name the view."""
        return self.request.view

    @property
    def representation(self) -> str:
        """Name the representation."""
        return self.request.offer.name

    @property
    def name(self) -> str:
        """Return `representation@layer set.view`, the stem of the task's file."""
        return f"{self.representation}@{file_word(self.layer_set)}.{self.view}"

    @property
    def control(self) -> bool:
        """Tell whether this is the random set that a layer set is compared with."""
        return self.layer_set.startswith("random:")


@dataclass(frozen=True)
class Plan:
    """The tasks of a run, in the order they are done: by request, so features load once."""

    tasks: tuple[Task, ...]

    @property
    def requests(self) -> list[Request]:
        """Return the requests the tasks need, each once."""
        return list(dict.fromkeys(task.request for task in self.tasks))


def plan_tasks(requests: Sequence[Request], layers: dict[str, Layers], config: RunConfig) -> Plan:
    """Cross requests with layer sets, and give each set its equal-sized random control.

    Raises WsaError for a layer set that is unknown or empty in one of the views.
    """
    selected = {view: _select(layers[view], config) for view in config.view}
    tasks = [
        Task(request, layer_set, names)
        for request in requests
        for layer_set, names in selected[request.view].items()
    ]
    return Plan(tuple(tasks))


def random_control(layer_set: str, size: int, total: int) -> str | None:
    """Return the control of a layer set, or None where a random one would say nothing."""
    if size == total or layer_set.startswith("random:"):
        return None
    return f"random:{size}"


def file_word(name: str) -> str:
    """Return a layer set's name as it may stand in a file name, unlike every other's."""
    if re.fullmatch(r"[a-z_]{1,40}|random:\d+", name):
        return name.replace(":", "-")
    readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]
    return f"{readable}-{canonical_digest(name)[:8]}"


def _select(layers: Layers, config: RunConfig) -> dict[str, tuple[str, ...]]:
    kept = set(layers.sample(config.sample_layers)) if config.sample_layers < 1 else None
    sets: dict[str, tuple[str, ...]] = {}
    for layer_set in dict.fromkeys(config.layer_sets):
        chosen = layers.select(layer_set)
        control = random_control(layer_set, len(chosen), len(layers))
        sets[layer_set] = _names(layers, chosen, kept)
        if control is not None:
            sets.setdefault(control, _names(layers, layers.select(control), kept))
    return sets


def _names(layers: Layers, chosen: Sequence[int], kept: set[int] | None) -> tuple[str, ...]:
    return tuple(layers[i].name for i in chosen if kept is None or i in kept)
