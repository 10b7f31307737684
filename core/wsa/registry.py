"""Registry: plugins found by entry point, loaded by name, one at a time and isolated."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from wsa import hookspecs
from wsa.case import Case
from wsa.errors import PluginFailure, WsaError, cause, unknown
from wsa.representation import Composite, Representation

GROUP = "wsa"
BENCH_GROUP = "wsa.bench"
CASE_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")


@dataclass(frozen=True)
class Plugin:
    """An installed plugin: the word after `--plugins` and where it comes from."""

    name: str
    module: str
    distribution: str
    version: str


# compared by identity: a stranger's representation need not be hashable
@dataclass(frozen=True, eq=False)
class Offer:
    """A representation and the plugin that offers it."""

    representation: Representation | Composite
    plugin: Plugin

    @property
    def name(self) -> str:
        """Return the representation's name."""
        return self.representation.name

    @property
    def told(self) -> str:
        """Say which version of the representation this is, and of which distribution."""
        version = self.representation.version
        return f"version {version}, {self.plugin.distribution} {self.plugin.version}"


def installed(group: str = GROUP) -> list[Plugin]:
    """List every plugin without importing one; raises WsaError where two claim one name."""
    plugins: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        found = _plugin(entry)
        other = plugins.setdefault(found.name, found)
        if other.module != found.module:
            raise WsaError(
                f"two distributions offer plugin {found.name!r}: {other.distribution} and "
                f"{found.distribution}; uninstall one"
            )
    return list(plugins.values())


def named(names: Iterable[str]) -> list[Plugin]:
    """Return plugins by name, `all` for every one; raises WsaError for an unknown name."""
    known = {plugin.name: plugin for plugin in installed()}
    wanted = list(dict.fromkeys(names))
    if not wanted:
        raise WsaError(f"no plugin named; known: {', '.join(known)}")
    for name in wanted:
        if name not in known and name != "all":
            raise unknown("plugin", name, known)
    return list(known.values()) if "all" in wanted else [known[name] for name in wanted]


def load(plugin: Plugin) -> list[Offer]:
    """Import one plugin and ask it for its representations.

    Raises PluginFailure, naming plugin and cause, whatever goes wrong inside; what a plugin
    prints while it is imported is not let through to standard output.
    """
    offered = _asked(plugin, GROUP, "wsa_representations", "representation", _refuse_malformed)
    return [Offer(representation, plugin) for representation in offered]


def load_cases(plugin: Plugin) -> list[Case]:
    """Import one plugin of group `wsa.bench` and ask it for its cases; fails as `load` does."""
    return _asked(plugin, BENCH_GROUP, "wsa_bench_cases", "case", _refuse_no_case)


def _asked(
    plugin: Plugin, group: str, hook: str, kind: str, refuse: Callable[[Plugin, Any], None]
) -> list[Any]:
    """Import one plugin alone and return what its hook offers, each piece checked."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            manager.register(EntryPoint(plugin.name, plugin.module, group).load(), plugin.name)
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


def _refuse_no_case(plugin: Plugin, offered: Any) -> None:
    if not isinstance(offered, Case):
        found = type(offered).__name__
        raise PluginFailure(f"plugin {plugin.name!r} offered {found!r}; needed a wsa.Case")
    if not CASE_NAME.fullmatch(offered.name) or not offered.contenders:
        raise PluginFailure(
            f"plugin {plugin.name!r}: a case needs contenders and a name of a-z, 0-9, _ and /; "
            f"got {offered.name!r} with {len(offered.contenders)} contenders"
        )
