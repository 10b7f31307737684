"""Offers: what the plugins of a run offer, who failed, and what is asked of whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wsa import registry
from wsa.cache import Cache, Store
from wsa.errors import PluginFailure, WsaError, unknown
from wsa.experiment.config import RunConfig
from wsa.extraction import Extraction, Request
from wsa.isolation import Isolation
from wsa.progress import say
from wsa.provenance import Given, listed, offer_of, source_changed
from wsa.registry import Offer, Plugin
from wsa.representation import Composite

ALL = ("all",)


@dataclass
class Offers:
    """What is asked for, the parts that composites need beside it, and the plugins that failed."""

    offers: list[Offer]
    parts: list[Offer] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def load_offers(
    names: Sequence[str],
    given: Sequence[Given] = (),
    strict: bool = False,
    isolation: Isolation | None = None,
) -> Offers:
    """Load plugins by name, or take what is given instead; a plugin that fails stops no other.

    Raises PluginFailure where none is left, and with `strict` for the first that fails.
    """
    found, place = Offers([]), isolation or Isolation()
    if not given:
        found.offers = _load(registry.named(names), found.failures, strict, place)
    for each in given:
        if isinstance(each, str):
            found.offers += _load(registry.named([each]), found.failures, strict, place)
        else:
            found.offers.append(offer_of(each))
    found.parts = _load(_parts_missing(found.offers), found.failures, strict, place)
    _drop_same_names(found)
    if strict and found.failures:
        raise PluginFailure(next(iter(found.failures.values())))
    if not found.offers:
        raise PluginFailure(f"no plugin left to run: {'; '.join(found.failures.values())}")
    return found


def requests_of(offers: Sequence[Offer], views: Sequence[str]) -> list[Request]:
    """Cross offers with the views asked for, less those an offer does not describe.

    Raises WsaError where nothing is left of them.
    """
    requests = [Request(view, each) for view in views for each in offers if view in each.views]
    for each in offers:
        if not set(each.views) & set(views):
            say(f"{each.name} is left out: it describes view {', '.join(each.views)} only")
    if offers and not requests:
        described = sorted({view for each in offers for view in each.views})
        raise WsaError(
            f"nothing to describe: --view is {', '.join(views)}, and {offers[0].name!r} needs "
            f"--view {','.join(described)}"
        )
    return requests


def say_changed_sources(offers: Sequence[Offer], store: Store) -> None:
    """Say whose source changed while its version did not: its cached features may be stale."""
    for offer in offers:
        if isinstance(store, Cache) and source_changed(offer, store.sources):
            say(
                f"{offer.name} ({offer.plugin.distribution}): its source has changed since its "
                f"features were first cached, its {offer.told.split(',')[0]} has not; raise the "
                f"version where a number changed, or wsa cache prune --all"
            )


def configured(
    config: RunConfig | None, given: Given | Sequence[Given] | None, knobs: dict[str, Any]
) -> tuple[RunConfig, list[Given]]:
    """Return the configuration of a call from Python, and what it gives in place of plugins.

    Raises WsaError for an unknown knob, and where plugins and representations are both given.
    """
    for name in knobs:
        if name not in RunConfig.__dataclass_fields__:
            raise unknown("knob", name, RunConfig.__dataclass_fields__)
    config = replace(config or RunConfig(), **knobs)
    if given is None:
        return config, []
    if "plugins" in knobs or config.plugins != ALL:
        raise WsaError(
            f"representations and plugins say the same; needed one of them, got both, plugins "
            f"being {','.join(config.plugins)}; representations takes names, too"
        )
    chosen = listed(given)
    names = tuple(each if isinstance(each, str) else offer_of(each).name for each in chosen)
    # names alone are plugins like any other: each counts once, and they start all at once
    named = all(isinstance(each, str) for each in chosen)
    return replace(config, plugins=names), [] if named else chosen


def refuse_failures(config: RunConfig, extraction: Extraction) -> None:
    """Raise the first failure of a plugin where --strict-plugins asks for it."""
    if config.strict_plugins and extraction.failures:
        request, problem = next(iter(extraction.failures.items()))
        raise PluginFailure(f"{request.name} failed: {problem}")


def _load(
    plugins: Sequence[Plugin], failures: dict[str, str], strict: bool, isolation: Isolation
) -> list[Offer]:
    offers: list[Offer] = []
    isolation.start(plugins)
    for plugin in plugins:
        try:
            loaded = isolation.load(plugin)
        except PluginFailure as problem:
            if strict:
                raise
            failures[plugin.name] = str(problem)
            say(f"{problem}; the others go on")
            continue
        offers += [each for each in loaded.offers if not _is_there(each, offers)]
        for note in loaded.notes:
            say(f"plugin {plugin.name!r} ({plugin.distribution}): {note}")
    return offers


def _is_there(offer: Offer, offers: Sequence[Offer]) -> bool:
    """Tell whether the same plugin was named before with the same parameters, in other words."""
    return any(
        (each.name, each.plugin.module) == (offer.name, offer.plugin.module) for each in offers
    )


def _parts_missing(offers: Sequence[Offer]) -> list[Plugin]:
    composites = [each.representation for each in offers]
    wanted = [part for each in composites if isinstance(each, Composite) for part in each.parts]
    here = {plugin.name for plugin in registry.installed()} - {offer.name for offer in offers}
    missing = [part for part in dict.fromkeys(wanted) if part in here]
    return registry.named(missing) if missing else []


def _drop_same_names(found: Offers) -> None:
    """Leave out every representation whose name two offer: none of them can be the one meant."""
    claims: dict[str, list[Offer]] = defaultdict(list)
    for offer in found.offers + found.parts:
        claims[offer.name].append(offer)
    for name, (one, *others) in claims.items():
        if others:
            found.failures[name] = _both_offer(one, others[0])
            say(f"{found.failures[name]}; the others go on")
    clashing = {name for name, owners in claims.items() if len(owners) > 1}
    found.offers = [each for each in found.offers if each.name not in clashing]
    found.parts = [each for each in found.parts if each.name not in clashing]


def _both_offer(one: Offer, other: Offer) -> str:
    return (
        f"plugins {one.plugin.name!r} ({one.plugin.distribution}) and "
        f"{other.plugin.name!r} ({other.plugin.distribution}) both offer {one.name!r}; "
        f"name only one of them"
    )
