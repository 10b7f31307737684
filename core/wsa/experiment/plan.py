"""Plan: which tasks a run has, every layer set with its random control."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsa.extraction import Request
from wsa.storage import canonical_digest

if TYPE_CHECKING:
    from wsa.experiment.config import RunConfig
    from wsa.layers import Layers


@dataclass(frozen=True)
class Task:
    """Representation x layer set, in one view: S seeds are trained in it at once."""

    request: Request
    layer_set: str
    layers: tuple[str, ...]  # the names selected
    control: bool = False  # the random set that another layer set is compared with

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
        name = self.representation
        # parameters bring what no file name may have
        word = file_word(name) if "(" in name else name
        return f"{word}@{file_word(self.layer_set)}.{self.view}"


def plan_tasks(
    requests: Sequence[Request], layers: dict[str, Layers], config: RunConfig
) -> list[Task]:
    """Cross requests with layer sets, and give each set its equal-sized random control.

    Tasks are in the order they are done: by request, so that features load once.

    Raises WsaError for a layer set that is unknown or empty in one of the views.
    """
    selected = {view: _select(layers[view], config) for view in config.view}
    return [
        Task(request, layer_set, names, control=layer_set not in config.layer_sets)
        for request in requests
        for layer_set, names in selected[request.view].items()
    ]


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
    sampled = layers.sample(config.sample_layers)
    sets: dict[str, tuple[str, ...]] = {}
    for layer_set in dict.fromkeys(config.layer_sets):
        chosen = sampled.select(layer_set)
        control = random_control(layer_set, len(chosen), len(sampled))
        for name in (layer_set, control):
            if name is not None:
                sets[name] = tuple(sampled[i].name for i in sampled.select(name))
    return sets
