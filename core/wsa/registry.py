"""Registry: plugins found by entry point, loaded by name, one at a time and isolated."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from wsa import hookspecs
from wsa.errors import PluginFailure, WsaError, cause, unknown
from wsa.representation import Composite, Representation

GROUP = "wsa"


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


def installed() -> list[Plugin]:
    """List every plugin without importing one; raises WsaError where two claim one name."""
    plugins: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
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
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            module = EntryPoint(plugin.name, plugin.module, GROUP).load()
            manager.register(module, plugin.name)
            manager.check_pending()
            offered = [each for some in manager.hook.wsa_representations() for each in some]
            for representation in offered:
                _refuse_malformed(plugin, representation)
    except (KeyboardInterrupt, PluginFailure):
        raise
    except BaseException as problem:
        raise PluginFailure(f"plugin {plugin.name!r} failed to load: {cause(problem)}") from problem
    if not offered:
        raise PluginFailure(
            f"plugin {plugin.name!r} offers no representation; its hook wsa_representations() "
            f"needs to return a list of them"
        )
    return [Offer(representation, plugin) for representation in offered]


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
