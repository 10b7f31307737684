"""Worker: the other side of `isolation`: load one plugin, answer batches until nobody asks."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from wsa import registry
from wsa.contract import held_to_contract
from wsa.errors import PluginFailure
from wsa.isolation import REPLY, REQUEST
from wsa.layers import Layer, Layers
from wsa.population.batch import Batch
from wsa.registry import Offer, Plugin
from wsa_kernels.layout import Layout


def serve(plugin: Plugin, name: str, folder: Path) -> None:
    """Answer every line of standard input with one line on what was standard output."""
    channel = os.dup(1)
    # what a plugin prints, from Python or from C, must not come between the answers
    os.dup2(2, 1)
    offers = [each for each in registry.load(plugin) if each.name == name]
    _write(channel, {"problem": None if offers else f"{name} is not offered here"})
    for line in sys.stdin:
        _write(channel, {"problem": _answered(offers[0], json.loads(line), folder)})


def _answered(offer: Offer, message: dict[str, Any], folder: Path) -> str | None:
    """Leave the features of a batch in the folder, or return why there are none."""
    torch.set_num_threads(message["threads"])
    try:
        values = held_to_contract(offer.representation, _batch(message, folder))
    except PluginFailure as problem:
        return str(problem)
    save_file({"features": values.cpu().contiguous()}, folder / REPLY)
    return None


def _batch(message: dict[str, Any], folder: Path) -> Batch:
    tensors = load_file(folder / REQUEST, device=message["device"])
    layout = {key: _tuples(value) for key, value in message["layout"].items()}
    layers = Layers(message["view"], tuple(Layer(**each) for each in message["layers"]))
    return Batch(tensors["flat"], Layout(**layout), layers, tensors["scale"], message["backend"])


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _write(channel: int, message: dict[str, Any]) -> None:
    os.write(channel, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    serve(Plugin(**json.loads(sys.argv[1])), sys.argv[2], Path(sys.argv[3]))
