"""The feature reference: every representation that ships with wsa, as it describes itself."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterable

from wsa import parameters, registry
from wsa.contract import named_columns
from wsa.layers import Layers, catalogue
from wsa.listing import PROBE
from wsa.registry import Offer
from wsa.representation import Composite, Representation

DISTRIBUTION = "wsa"
HEAD = """\
# The features

Every representation that ships with wsa, as it tells of itself: this page is made from the code.
A column is called `<layer>/<feature>`, of a composite `<layer>/<representation>.<feature>`. In
view `factors` a layer is a stored matrix, in view `delta` the update of a module. Version and
parameters are part of [the cache key](../cache.md); invariances are what the features do not know.
"""


def representations_page() -> str:
    """Return the page."""
    offers = shipped()
    known = {offer.name: offer for offer in offers}
    return "\n".join([HEAD, _overview(offers, known), *(_section(each, known) for each in offers)])


def shipped() -> list[Offer]:
    """Return what the plugins of wsa's own distribution offer, by name."""
    own = [each for each in registry.everything() if each.distribution == DISTRIBUTION]
    return [offer for plugin in own for offer in registry.load(plugin)]


def feature_names(offer: Offer, view: str, known: dict[str, Offer]) -> list[list[str]]:
    """Return the names of a layer's features, once for each way in which layers differ."""
    layers = catalogue(PROBE).layers(view)
    found: list[list[str]] = []
    for layer in layers:
        names = _of_layer(offer, layers, layer.name, known)
        if names not in found:
            found.append(names)
    return found


def _of_layer(offer: Offer, layers: Layers, layer: str, known: dict[str, Offer]) -> list[str]:
    representation = offer.representation
    if isinstance(representation, Composite):
        parts = [(name, _of_layer(known[name], layers, layer, known)) for name in _parts(offer)]
        return [f"{name}.{feature}" for name, features in parts for feature in features]
    assert isinstance(representation, Representation)
    columns = named_columns(representation, layers)
    return [column.feature for column in columns if column.layer == layer]


def _parts(offer: Offer) -> tuple[str, ...]:
    """Return the representations that a composite is put together from, none for another."""
    representation = offer.representation
    return representation.parts if isinstance(representation, Composite) else ()


def _overview(offers: Iterable[Offer], known: dict[str, Offer]) -> str:
    rows = ["| name | version | parameters | columns a layer |", "|---|---|---|---|"]
    for offer in offers:
        counts = ", ".join(f"{view} {_count(offer, view, known)}" for view in offer.views)
        told = ", ".join(f"`{key}: {kind}`" for key, kind in _parameters(offer)) or "none"
        rows.append(f"| [`{offer.name}`](#{offer.name}) | {_version(offer)} | {told} | {counts} |")
    return "\n".join(rows) + "\n"


def _section(offer: Offer, known: dict[str, Offer]) -> str:
    name = offer.name
    lines = [f"({name})=", f"## `{name}`", "", _summary(offer), ""]
    lines += [f"- version: {_version(offer)}, from `{offer.plugin.module}`"]
    lines += [f"- views: {', '.join(f'`{view}`' for view in offer.views)}"]
    told = ", ".join(f"`{key}: {kind}`" for key, kind in _parameters(offer))
    lines += [f"- parameters: {told or 'none'}"]
    if invariances := getattr(offer.representation, "invariances", ()):
        lines.append(f"- invariances: {', '.join(f'`{each}`' for each in invariances)}")
    if parts := _parts(offer):
        lines.append(f"- parts: {', '.join(f'[`{part}`](#{part})' for part in parts)}")
    return "\n".join([*lines, *_columns(offer, known), *_definition(offer), ""])


def _columns(offer: Offer, known: dict[str, Offer]) -> list[str]:
    """Return the names of the columns, once for views in which they are the same."""
    views: dict[str, list[str]] = {}
    for view in offer.views:
        for names in feature_names(offer, view, known):
            views.setdefault(" ".join(names), []).append(f"`{view}`")
    lines: list[str] = []
    for listed, named in views.items():
        lines += ["", f"Columns of a layer, view {' and '.join(named)}: {len(listed.split())}", ""]
        lines += _fenced(textwrap.fill(listed, 92, break_on_hyphens=False))
    return lines


def _summary(offer: Offer) -> str:
    """Return the sentence of the representation's class; a composite has its module's."""
    told = inspect.getdoc(type(offer.representation))
    if told is None or isinstance(offer.representation, Composite):
        told = _module_text(offer)
    return " ".join(told.split("\n\n")[0].split())


def _definition(offer: Offer) -> list[str]:
    """Return what the module says beyond its first line: sources and formulas, as they stand."""
    _, _, rest = _module_text(offer).partition("\n\n")
    return ["", *_fenced(rest.strip())] if rest.strip() else []


def _module_text(offer: Offer) -> str:
    return inspect.getdoc(sys.modules[offer.plugin.module]) or ""


def _fenced(text: str) -> list[str]:
    return ["```text", text, "```"]


def _parameters(offer: Offer) -> list[tuple[str, str]]:
    return list(parameters.described(offer.representation).items())


def _version(offer: Offer) -> int:
    return int(offer.representation.version)


def _count(offer: Offer, view: str, known: dict[str, Offer]) -> str:
    return " or ".join(str(len(names)) for names in feature_names(offer, view, known))
