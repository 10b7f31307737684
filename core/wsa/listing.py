"""Listing: every installed plugin as a row, and what each one offers where it may be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from wsa import parameters, registry
from wsa.errors import PluginFailure, WsaError
from wsa.layers import Layers, catalogue
from wsa.registry import Offer, Plugin
from wsa.remote import Remote
from wsa.representation import Composite

if TYPE_CHECKING:
    from wsa.isolation import Isolation

LEFT_OUT = f"left out by {registry.ALLOWED}"
# one module of rank 2: what a representation says of its layers, it says of any
PROBE = {"probe.lora.up.weight": (8, 2), "probe.lora.down.weight": (2, 8)}


def listed() -> list[dict[str, Any]]:
    """Return a row for every installed plugin; none is imported."""
    allowed = registry.allow_list()
    return [_row(each, allowed) for each in registry.everything()]


def loaded(timeout: float = registry.LISTING_SECONDS) -> list[dict[str, Any]]:
    """Return the rows with what each plugin offers; a broken one says why in its status.

    A stranger's is loaded in a process of its own, so that whoever hangs or dies is a row, too.
    """
    from wsa.isolation import Isolation

    with closing(Isolation(timeout)) as isolation:
        return _loaded(isolation)


def _loaded(isolation: Isolation) -> list[dict[str, Any]]:
    rows, offers = listed(), list[Offer]()
    plugins = {plugin.name: plugin for plugin in registry.installed()}
    isolation.start(plugins.values())
    for row in rows:
        row |= {"representations": [], "notes": []}
        if row["name"] not in plugins:
            continue
        try:
            found = isolation.load(plugins[row["name"]])
        except PluginFailure as problem:
            row["status"] = str(problem)
            continue
        offers += found.offers
        row |= {"notes": found.notes, "status": "ok", "offers": found.offers}
    for row in rows:
        _describe(row, offers, isolation)
    return rows


def causes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return why plugins are broken, one line each."""
    sound = ("installed", "ok", LEFT_OUT)
    return [row["status"] for row in rows if row["status"] not in sound]


def _row(plugin: Plugin, allowed: set[str] | None) -> dict[str, Any]:
    kept = allowed is None or plugin.name in allowed
    return {
        "name": plugin.name,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "module": plugin.module,
        "status": (plugin.refused or "installed") if kept else LEFT_OUT,
    }


def _describe(row: dict[str, Any], offers: Sequence[Offer], isolation: Isolation) -> None:
    """Put what a plugin's representations say of themselves into its row."""
    known = {offer.name: offer for offer in offers}
    try:
        for offer in row.pop("offers", []):
            row["representations"].append(_representation(offer, known, isolation))
    except WsaError as problem:
        row["status"] = f"plugin {row['name']!r}: {problem}"


def _representation(offer: Offer, known: dict[str, Offer], isolation: Isolation) -> dict[str, Any]:
    found, place = offer.representation, catalogue(PROBE)
    told = found.described if isinstance(found, Remote) else parameters.described(found)
    return {
        "name": offer.name,
        "version": offer.version,
        "parameters": told,
        "views": list(offer.views),
        "columns": {
            view: _columns(offer, place.layers(view), known, isolation) for view in offer.views
        },
    }


def _columns(
    offer: Offer, layers: Layers, known: dict[str, Offer], isolation: Isolation
) -> float | None:
    """Count the columns a layer has, on average; a composite has those of its parts."""
    representation = offer.representation
    if isinstance(representation, Composite):
        parts = [known.get(part) for part in representation.parts]
        counts = [_columns(each, layers, known, isolation) if each else None for each in parts]
        return None if None in counts else sum(count or 0 for count in counts)
    share = len(isolation.columns(offer, layers)) / len(layers)
    return int(share) if share.is_integer() else share
