"""Plan: which tasks a run has, every layer set with its random control."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from wsa.experiment.probes import MAPS, Probe, probes
from wsa.extraction import Request
from wsa.storage import canonical_digest
from wsa.train import MLP

if TYPE_CHECKING:
    from wsa.experiment.config import RunConfig
    from wsa.layers import Layers

# A single random set may be lucky: a control is the mean of so many.
DRAWS = 5


@dataclass(frozen=True)
class Task:
    """Representation x layer set, in one view: S seeds are trained in it at once."""

    request: Request
    layer_set: str
    layers: tuple[str, ...]  # the names selected
    control: bool = False  # the random sets that another layer set is compared with
    label: str = ""
    head: str = MLP
    repeat: int = 0  # which of the repeated splits
    draws: tuple[tuple[str, ...], ...] = ()  # of a control: the layers of each random set
    probes: tuple[Probe, ...] = ()  # of a layer map
    marks: str = ""  # what tells the name from that of another label, head or repeat

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
        return f"{word}@{file_word(self.layer_set)}.{self.view}{self.marks}"


@dataclass(frozen=True)
class Selection:
    """The layers that a layer set stands for in one view."""

    layers: tuple[str, ...]
    control: bool = False
    draws: tuple[tuple[str, ...], ...] = ()
    probes: tuple[Probe, ...] = ()


def plan_tasks(
    requests: Sequence[Request], layers: dict[str, Layers], config: RunConfig
) -> list[Task]:
    """Cross requests, labels, repeated splits and layer sets, each with its random control, heads.

    Tasks are in the order they are done: by request, so that features load once.

    Raises WsaError for a layer set that is unknown or empty in one of the views.
    """
    selected = {view: _select(layers[view], config) for view in config.view}
    outer = product(requests, config.labels, range(config.splits))
    return [
        Task(
            request,
            layer_set,
            chosen.layers,
            chosen.control,
            label,
            head,
            repeat,
            chosen.draws,
            chosen.probes,
            _marks(config, label, head, repeat),
        )
        for request, label, repeat in outer
        for layer_set, chosen in selected[request.view].items()
        for head in _heads(chosen, config)
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


def _heads(chosen: Selection, config: RunConfig) -> Iterator[str]:
    """Return the heads of a layer set; a map is a matter of the packed network alone."""
    return iter((MLP,) if chosen.probes else config.heads)


def _marks(config: RunConfig, label: str, head: str, repeat: int) -> str:
    """Tell labels, heads and repeats apart where there are several; one of each needs no mark."""
    words = [file_word(label)] if len(config.labels) > 1 else []
    words += [head] if head != MLP else []
    words += [f"split-{repeat}"] if repeat else []
    return "".join(f".{word}" for word in words)


def _select(layers: Layers, config: RunConfig) -> dict[str, Selection]:
    sampled = layers.sample(config.sample_layers)
    sets: dict[str, Selection] = {}
    for layer_set in dict.fromkeys(config.layer_sets):
        if layer_set in MAPS:
            sets[layer_set] = Selection(tuple(sampled.names), probes=probes(layer_set, sampled))
            continue
        chosen = _names(sampled, layer_set)
        sets[layer_set] = Selection(chosen)
        control = random_control(layer_set, len(chosen), len(sampled))
        if control is not None and control not in config.layer_sets:
            further = (_names(sampled, f"{control}/{draw}") for draw in range(1, DRAWS))
            draws = (_names(sampled, control), *further)
            sets[control] = Selection(draws[0], control=True, draws=draws)
    return sets


def _names(layers: Layers, layer_set: str) -> tuple[str, ...]:
    return tuple(layers[index].name for index in layers.select(layer_set))
