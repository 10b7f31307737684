"""Worker: the other side of `remote`: load one plugin, answer questions until nobody asks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from wsa import parameters, registry
from wsa.child import answering
from wsa.contract import held_to_contract, named_columns
from wsa.errors import PluginFailure, WsaError
from wsa.layers import Layer, Layers
from wsa.population.batch import Batch
from wsa.provenance import source_digest
from wsa.registry import Loaded, Offer, Plugin
from wsa.remote import REPLY, REQUEST
from wsa.representation import Composite, Representation
from wsa_kernels.layout import Layout


def serve(plugin: Plugin, folder: Path) -> None:
    """Answer every line of standard input with one line on what was standard output."""
    questions, send = answering()
    send({"problem": None})
    offers: dict[str, Offer] = {}
    for line in questions:
        message = json.loads(line)
        try:
            if message["ask"] == "load":
                loaded = registry.load_noted(plugin)
                offers = {each.name: each for each in loaded.offers}
                answer = _told(loaded)
            else:
                answer = _answered(_chosen(offers, message["name"]), message, folder)
        except WsaError as problem:
            is_mistake = not isinstance(problem, PluginFailure)
            answer = {"problem": str(problem), "is_mistake": is_mistake}
        send({"problem": None} | answer)


def _told(loaded: Loaded) -> dict[str, Any]:
    return {"offers": [_offer(each) for each in loaded.offers], "notes": loaded.notes}


def _offer(offer: Offer) -> dict[str, Any]:
    """Return everything that is asked of a representation before its columns, as JSON."""
    found = offer.representation
    about = {"name": found.name, "version": offer.version}
    if isinstance(found, Composite):
        return about | {"parts": found.parts}
    return about | {
        "offered": offer.name,
        "views": offer.views,
        "parameters": offer.parameters,
        "described": parameters.described(found),
        "source": source_digest(found),
    }


def _chosen(offers: dict[str, Offer], name: str) -> Representation:
    if name not in offers or not isinstance(offers[name].representation, Representation):
        raise PluginFailure(f"{name} is not offered here")
    return offers[name].representation  # type: ignore[return-value]


def _answered(found: Representation, message: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the columns, or leave the features of a batch in the folder."""
    layers = Layers(message["view"], tuple(Layer(**each) for each in message["layers"]))
    if message["ask"] == "columns":
        return {"columns": named_columns(found, layers)}
    torch.set_num_threads(message["threads"])
    values = held_to_contract(found, _batch(message, layers, folder))
    save_file({"features": values.cpu().contiguous()}, folder / REPLY)
    return {}


def _batch(message: dict[str, Any], layers: Layers, folder: Path) -> Batch:
    tensors = load_file(folder / REQUEST, device=message["device"])
    layout = {key: _tuples(value) for key, value in message["layout"].items()}
    return Batch(tensors["flat"], Layout(**layout), layers, tensors["scale"], message["backend"])


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


if __name__ == "__main__":
    serve(Plugin(**json.loads(sys.argv[1])), Path(sys.argv[2]))
