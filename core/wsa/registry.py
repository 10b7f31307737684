"""Registry: plugins found by entry point, loaded by name, one at a time and isolated."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from wsa import admission, hookspecs, parameters, surroundings
from wsa.case import Case
from wsa.errors import LONGEST_CAUSE, PluginFailure, WsaError, cause, printable, unknown
from wsa.interruption import from_outside
from wsa.layers import VIEWS
from wsa.representation import Composite, Representation

GROUP = "wsa"
BENCH_GROUP = "wsa.bench"
# our own distribution, which needs no process of its own nor a watch over what it changes
OWN = "wsa"
# Where it is set, no plugin but these is imported; empty: none at all.
ALLOWED = "WSA_PLUGINS"
SLOW_SECONDS = 2.0
# what a plugin has to tell of itself, where nobody says how long that may take
LISTING_SECONDS = 30.0


@dataclass(frozen=True)
class Plugin:
    """An installed plugin: the word after `--plugins` and where it comes from."""

    name: str
    module: str
    distribution: str
    version: str
    refused: str = ""  # why it is not loaded, where that is known before
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_own(self) -> bool:
        """Tell whether it is wsa's own, or a stranger's."""
        return self.distribution == OWN


# compared by identity: a stranger's representation need not be hashable
@dataclass(frozen=True, eq=False)
class Offer:
    """A representation and the plugin that offers it."""

    representation: Representation | Composite
    plugin: Plugin

    # read once: a stranger's object may answer otherwise when asked again
    @cached_property
    def name(self) -> str:
        """Return the representation's name, with the parameters that are not at their default."""
        return parameters.told(str(self.representation.name), self.parameters)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters that are not at their default."""
        return parameters.changed(self.representation)

    @cached_property
    def version(self) -> int:
        """Return the version of the representation's numbers."""
        return int(self.representation.version)

    @cached_property
    def views(self) -> tuple[str, ...]:
        """Return the views the representation describes: both, unless it says otherwise."""
        return tuple(getattr(self.representation, "views", VIEWS))

    @property
    def told(self) -> str:
        """Say which version of the representation this is, and of which distribution."""
        return f"version {self.version}, {self.plugin.distribution} {self.plugin.version}"


@dataclass(frozen=True)
class Loaded:
    """What a plugin offers, and what was odd about its import."""

    offers: list[Offer]
    notes: list[str]


def installed(group: str = GROUP) -> list[Plugin]:
    """List the plugins that may be loaded, importing none; a name claimed twice is refused."""
    allowed = allow_list()
    return [each for each in everything(group) if allowed is None or each.name in allowed]


def everything(group: str = GROUP) -> list[Plugin]:
    """List every plugin, whether it may be loaded or not."""
    plugins: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        found = _plugin(entry)
        other = plugins.setdefault(found.name, found)
        if other.module != found.module and not other.refused:
            plugins[found.name] = _clash(other, found)
    return list(plugins.values())


def allow_list() -> set[str] | None:
    """Return the names WSA_PLUGINS allows, None where it is not set.

    Raises WsaError for a name that no installed distribution offers.
    """
    if ALLOWED not in os.environ:
        return None
    names = set(parameters.words(os.environ[ALLOWED]))
    known = [each.name for group in (GROUP, BENCH_GROUP) for each in everything(group)]
    for name in sorted(names - set(known)):
        raise unknown(f"plugin, as {ALLOWED} names one,", name, dict.fromkeys(known))
    return names


def named(names: Iterable[str]) -> list[Plugin]:
    """Return plugins by name, `all` for every one, `spectral(top=20)` with parameters.

    Raises WsaError for an unknown name.
    """
    known = {plugin.name: plugin for plugin in installed()}
    wanted = list(dict.fromkeys(names))
    if not wanted or not known:
        raise WsaError(f"no plugin named; known: {', '.join(known) or _none_known()}")
    found: list[Plugin] = []
    for word in wanted:
        name, arguments = parameters.parsed(word)
        if name == "all" and not arguments:
            found += known.values()
        elif name not in known:
            kind = "plugin" if allow_list() is None else f"plugin that {ALLOWED} allows"
            raise unknown(kind, name, known)
        else:
            found.append(replace(known[name], arguments=arguments))
    return [each for i, each in enumerate(found) if each not in found[:i]]


def load(plugin: Plugin) -> list[Offer]:
    """Import one plugin and ask it for its representations.

    Raises PluginFailure, naming plugin and cause, whatever goes wrong inside; what a plugin
    prints while it is imported is not let through to standard output.
    """
    return load_noted(plugin).offers


def load_noted(plugin: Plugin) -> Loaded:
    """Load a plugin, and say whether its import was slow, noisy, or changed what all share."""
    import torch  # noqa: F401  which every plugin needs, and none is to be blamed for

    printed, started = io.StringIO(), time.perf_counter()
    kept, noticed = surroundings.kept(), surroundings.threads_noticed()
    silent, not_ended = surroundings.silent(printed), surroundings.not_ended()
    with kept as changed, noticed as threads, silent, not_ended:
        hook = ("wsa_representations", "representation", admission.representation)
        offered = _asked(plugin, GROUP, *hook)
        offers = [Offer(each, plugin) for each in _told(plugin, offered)]
    notes = []
    if (taken := time.perf_counter() - started) > SLOW_SECONDS:
        notes.append(f"its import took {taken:.1f} s, which every run waits for")
    # a page of it would be copied to be shown in one line
    if text := printable(printed.getvalue()[:LONGEST_CAUSE]):
        notes.append(f"it printed {text[:40]!r} while it was imported")
    if changed:
        notes.append(f"its import changed {', '.join(changed)}; it was put back")
    if threads:
        notes.append(f"its import left {len(threads)} threads behind: {', '.join(threads[:3])}")
    return Loaded(offers, notes)


def load_cases(plugin: Plugin) -> list[Case]:
    """Import one plugin of group `wsa.bench` and ask it for its cases; fails as `load` does."""
    with surroundings.kept(), surroundings.silent(io.StringIO()), surroundings.not_ended():
        return _asked(plugin, BENCH_GROUP, "wsa_bench_cases", "case", admission.case)


def _asked(
    plugin: Plugin, group: str, hook: str, kind: str, refuse: Callable[[Any], None]
) -> list[Any]:
    """Import one plugin alone and return what its hook offers, each piece checked."""
    if plugin.refused:
        raise PluginFailure(plugin.refused)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        module = EntryPoint(plugin.name, plugin.module, group).load()
        admission.module(module, plugin.distribution)
        manager.register(module, plugin.name)
        manager.check_pending()
        offered = [each for some in getattr(manager.hook, hook)() for each in some]
        for piece in offered:
            refuse(piece)
    except admission.Refused as problem:
        raise PluginFailure(f"plugin {plugin.name!r}{problem}") from problem
    except BaseException as problem:
        if isinstance(problem, KeyboardInterrupt) and from_outside(problem):
            raise
        raise PluginFailure(f"plugin {plugin.name!r} failed to load: {cause(problem)}") from problem
    if not offered:
        raise PluginFailure(
            f"plugin {plugin.name!r} offers no {kind}; its hook {hook}() needs to return a list "
            f"of them"
        )
    return offered


def _plugin(entry: EntryPoint) -> Plugin:
    name, version = (entry.dist.name, entry.dist.version or "0") if entry.dist else ("unknown", "0")
    return Plugin(entry.name, entry.value, name, version)


def _told(plugin: Plugin, offered: list[Any]) -> list[Any]:
    """Give what a plugin offers its arguments, each to those that have such a parameter."""
    accepted = {key: kind for each in offered for key, kind in parameters.kinds(each).items()}
    for key in plugin.arguments:
        if key not in accepted:
            raise unknown(f"parameter of plugin {plugin.name!r}", key, accepted)
    return [_given(each, plugin.arguments) for each in offered]


def _given(offered: Any, arguments: Mapping[str, Any]) -> Any:
    own = {key: value for key, value in arguments.items() if key in parameters.kinds(offered)}
    try:
        return parameters.given(offered, own) if own else offered
    except (WsaError, KeyboardInterrupt):
        raise
    except BaseException as problem:  # its own code runs when it is made anew
        told = parameters.told(str(offered.name), own)
        raise PluginFailure(f"{told} could not be made: {cause(problem)}") from problem


def _clash(one: Plugin, other: Plugin) -> Plugin:
    """Return the plugin that two distributions claim, of both of them and refused."""
    both = f"{one.distribution} and {other.distribution}"
    refused = f"two distributions offer plugin {one.name!r}: {both}; uninstall one"
    versions = f"{one.version} and {other.version}"
    return replace(one, distribution=both, version=versions, refused=refused)


def _none_known() -> str:
    allowed = os.environ.get(ALLOWED)
    return "none" if allowed is None else f"none, since {ALLOWED} allows {allowed!r} only"
