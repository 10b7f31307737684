"""Registry: plugins found by entry point, loaded by name, one at a time and isolated."""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from wsa import hookspecs, parameters
from wsa.case import Case
from wsa.errors import PluginFailure, WsaError, cause, unknown
from wsa.layers import VIEWS
from wsa.representation import Composite, Representation

GROUP = "wsa"
BENCH_GROUP = "wsa.bench"
CASE_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")
# Where it is set, no plugin but these is imported; empty: none at all.
ALLOWED = "WSA_PLUGINS"
SLOW_SECONDS = 2.0


@dataclass(frozen=True)
class Plugin:
    """An installed plugin: the word after `--plugins` and where it comes from."""

    name: str
    module: str
    distribution: str
    version: str
    refused: str = ""  # why it is not loaded, where that is known before
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)


# compared by identity: a stranger's representation need not be hashable
@dataclass(frozen=True, eq=False)
class Offer:
    """A representation and the plugin that offers it."""

    representation: Representation | Composite
    plugin: Plugin

    @property
    def name(self) -> str:
        """Return the representation's name, with the parameters that are not at their default."""
        return parameters.told(self.representation.name, parameters.changed(self.representation))

    @property
    def views(self) -> tuple[str, ...]:
        """Return the views the representation describes: both, unless it says otherwise."""
        return tuple(getattr(self.representation, "views", VIEWS))

    @property
    def told(self) -> str:
        """Say which version of the representation this is, and of which distribution."""
        version = self.representation.version
        return f"version {version}, {self.plugin.distribution} {self.plugin.version}"


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
            plugins[found.name] = replace(other, refused=_clash(other, found))
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
            raise unknown("plugin", name, known)
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
    """Load a plugin, and say whether its import was slow or noisy."""
    import torch  # noqa: F401  which every plugin needs, and none is to be blamed for

    printed, started = io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(printed):
        offered = _asked(plugin, GROUP, "wsa_representations", "representation", _refuse_malformed)
    notes = []
    if (taken := time.perf_counter() - started) > SLOW_SECONDS:
        notes.append(f"its import took {taken:.1f} s, which every run waits for")
    if text := " ".join(printed.getvalue().split()):
        notes.append(f"it printed {text[:40]!r} while it was imported")
    return Loaded([Offer(each, plugin) for each in _told(plugin, offered)], notes)


def load_cases(plugin: Plugin) -> list[Case]:
    """Import one plugin of group `wsa.bench` and ask it for its cases; fails as `load` does."""
    with contextlib.redirect_stdout(io.StringIO()):
        return _asked(plugin, BENCH_GROUP, "wsa_bench_cases", "case", _refuse_no_case)


def _asked(
    plugin: Plugin, group: str, hook: str, kind: str, refuse: Callable[[Plugin, Any], None]
) -> list[Any]:
    """Import one plugin alone and return what its hook offers, each piece checked."""
    if plugin.refused:
        raise PluginFailure(plugin.refused)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        module = EntryPoint(plugin.name, plugin.module, group).load()
        _refuse_another_version(plugin, module)
        manager.register(module, plugin.name)
        manager.check_pending()
        offered = [each for some in getattr(manager.hook, hook)() for each in some]
        for piece in offered:
            refuse(plugin, piece)
    except (KeyboardInterrupt, PluginFailure):
        raise
    except BaseException as problem:
        raise PluginFailure(f"plugin {plugin.name!r} failed to load: {cause(problem)}") from problem
    if not offered:
        raise PluginFailure(
            f"plugin {plugin.name!r} offers no {kind}; its hook {hook}() needs to return a list "
            f"of them"
        )
    return offered


def _plugin(entry: EntryPoint) -> Plugin:
    name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "0")
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
    return parameters.given(offered, own) if own else offered


def _clash(one: Plugin, other: Plugin) -> str:
    return (
        f"two distributions offer plugin {one.name!r}: {one.distribution} and "
        f"{other.distribution}; uninstall one"
    )


def _none_known() -> str:
    allowed = os.environ.get(ALLOWED)
    return "none" if allowed is None else f"none, since {ALLOWED} allows {allowed!r} only"


def _refuse_another_version(plugin: Plugin, module: Any) -> None:
    needed, found = hookspecs.API_VERSION, getattr(module, "wsa_api_version", None)
    if found not in (None, needed):
        raise PluginFailure(
            f"plugin {plugin.name!r} is written for version {found!r} of wsa's plugin interface, "
            f"and this wsa has version {needed}; install another release of {plugin.distribution}"
        )


def _refuse_malformed(plugin: Plugin, offered: Any) -> None:
    if not isinstance(offered, Representation | Composite):
        raise PluginFailure(
            f"plugin {plugin.name!r} offered {type(offered).__name__!r}; needed an object with "
            f"name, version, columns(layers) and extract(batch)"
        )
    if not isinstance(offered.version, int) or not str(offered.name).isidentifier():
        raise PluginFailure(
            f"plugin {plugin.name!r}: a representation needs an integer version and a name of "
            f"letters, digits and _; got {offered.name!r} version {offered.version!r}"
        )
    views = getattr(offered, "views", VIEWS)
    if not views or isinstance(views, str) or not set(views) <= set(VIEWS):
        raise PluginFailure(f"plugin {plugin.name!r}: views needs some of {VIEWS}; got {views!r}")
    try:
        parameters.kinds(offered)
    except PluginFailure as problem:
        raise PluginFailure(f"plugin {plugin.name!r}: {problem}") from problem


def _refuse_no_case(plugin: Plugin, offered: Any) -> None:
    if not isinstance(offered, Case):
        found = type(offered).__name__
        raise PluginFailure(f"plugin {plugin.name!r} offered {found!r}; needed a wsa.Case")
    if not CASE_NAME.fullmatch(offered.name) or not offered.contenders:
        raise PluginFailure(
            f"plugin {plugin.name!r}: a case needs contenders and a name of a-z, 0-9, _ and /; "
            f"got {offered.name!r} with {len(offered.contenders)} contenders"
        )
