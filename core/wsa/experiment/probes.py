"""Probes: a layer map asks every block, module type or layer by itself what it knows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsa.layers import Layer, Layers

# A block is named by the number after the last of these words; else by the last number there is.
_BLOCK = re.compile(r"^(.*(?:blocks?|layers?|attentions|resnets|h)[._]\d+)[._](.+)$")
_NUMBER = re.compile(r"^(.*[._]\d+)(?:[._](.+))?$")


@dataclass(frozen=True)
class Probe:
    """A few layers that are asked by themselves; empty words where the probe spans several."""

    name: str
    block: str
    module_type: str
    layers: tuple[str, ...]


def place(layer: Layer) -> tuple[str, str]:
    """Return the block and the module type of a layer, its half included."""
    half = layer.name.removeprefix(layer.module).strip(".")
    found = _BLOCK.match(layer.module) or _NUMBER.match(layer.module)
    block, kind = (found[1], found[2] or "") if found else ("", layer.module)
    return block, ".".join(word for word in (kind, half) if word) or "weight"


def _each_block(layer: Layer) -> Probe:
    block, _ = place(layer)
    return Probe(block or "no block", block or "no block", "", ())


def _each_module_type(layer: Layer) -> Probe:
    _, kind = place(layer)
    return Probe(kind, "", kind, ())


def _per_layer(layer: Layer) -> Probe:
    return Probe(layer.name, *place(layer), ())


MAPS: dict[str, Callable[[Layer], Probe]] = {
    "each-block": _each_block,
    "each-module-type": _each_module_type,
    "per-layer": _per_layer,
}


def probes(layer_set: str, layers: Layers) -> tuple[Probe, ...]:
    """Return the probes of a layer map, in the order of their first layers."""
    found: dict[str, tuple[Probe, list[str]]] = {}
    for layer in layers:
        probe = MAPS[layer_set](layer)
        found.setdefault(probe.name, (probe, []))[1].append(layer.name)
    return tuple(
        Probe(probe.name, probe.block, probe.module_type, tuple(names))
        for probe, names in found.values()
    )
