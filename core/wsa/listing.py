"""Listing: every installed plugin as a row, and what each one offers where it may be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsa import parameters, registry
from wsa.errors import PluginFailure, WsaError
from wsa.layers import Catalogue, catalogue
from wsa.registry import Offer, Plugin
from wsa.representation import Composite, Representation

LEFT_OUT = f"left out by {registry.ALLOWED}"
# one module of rank 2: what a representation says of its layers, it says of any
PROBE = {"probe.lora.up.weight": (8, 2), "probe.lora.down.weight": (2, 8)}


def listed() -> list[dict[str, Any]]:
    """Return a row for every installed plugin; none is imported."""
    allowed = registry.allow_list()
    return [_row(each, allowed) for each in registry.everything()]


def loaded() -> list[dict[str, Any]]:
    """Return the rows with what each plugin offers; a broken one says why in its status."""
    rows, offers = listed(), []
    plugins = {plugin.name: plugin for plugin in registry.installed()}
    for row in rows:
        row |= {"representations": [], "notes": []}
        if row["name"] not in plugins:
            continue
        try:
            found = registry.load_noted(plugins[row["name"]])
        except PluginFailure as problem:
            row["status"] = str(problem)
            continue
        offers += found.offers
        row |= {"notes": found.notes, "status": "ok", "offers": found.offers}
    for row in rows:
        _describe(row, offers)
    return rows


def refuse_broken(rows: Sequence[dict[str, Any]]) -> None:
    """Raise PluginFailure with the first cause, where a plugin is broken."""
    for row in rows:
        if row["status"] not in ("installed", "ok", LEFT_OUT):
            raise PluginFailure(row["status"])


def _row(plugin: Plugin, allowed: set[str] | None) -> dict[str, Any]:
    kept = allowed is None or plugin.name in allowed
    return {
        "name": plugin.name,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "module": plugin.module,
        "status": (plugin.refused or "installed") if kept else LEFT_OUT,
    }


def _describe(row: dict[str, Any], offers: Sequence[Offer]) -> None:
    """Put what a plugin's representations say of themselves into its row."""
    known = {offer.name: offer for offer in offers}
    try:
        for offer in row.pop("offers", []):
            row["representations"].append(_representation(offer, known))
    except WsaError as problem:
        row["status"] = f"plugin {row['name']!r}: {problem}"


def _representation(offer: Offer, known: dict[str, Offer]) -> dict[str, Any]:
    found = catalogue(PROBE)
    return {
        "name": offer.name,
        "version": offer.representation.version,
        "parameters": parameters.described(offer.representation),
        "views": list(offer.views),
        "columns": {view: _columns(offer, found, view, known) for view in offer.views},
    }


def _columns(offer: Offer, probe: Catalogue, view: str, known: dict[str, Offer]) -> float | None:
    """Count the columns a layer has, on average; a composite has those of its parts."""
    from wsa.contract import named_columns

    representation = offer.representation
    if isinstance(representation, Composite):
        parts = [known.get(part) for part in representation.parts]
        counts = [_columns(each, probe, view, known) if each else None for each in parts]
        return None if None in counts else sum(count or 0 for count in counts)
    assert isinstance(representation, Representation)
    layers = probe.layers(view)
    share = len(named_columns(representation, layers)) / len(layers)
    return int(share) if share.is_integer() else share
