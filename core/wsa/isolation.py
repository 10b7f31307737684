"""Isolation: a stranger's plugin in a process of its own, ended when it takes too long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wsa import registry
from wsa.contract import held_to_contract, named_columns
from wsa.errors import PluginFailure, need
from wsa.remote import Process, Remote
from wsa.representation import Representation

if TYPE_CHECKING:
    from torch import Tensor

    from wsa.layers import Layers
    from wsa.population.batch import Batch
    from wsa.registry import Loaded, Offer, Plugin
    from wsa.representation import Column


@dataclass
class Isolation:
    """Where plugins are: in this process, or with a timeout each stranger in one of its own.

    A stranger is then not even imported here: what hangs, dies or meddles while it is imported
    does so elsewhere. That takes no time that its import would not take, but for torch's (2 s, all
    processes at once), and leaves nothing to remember about who was sound before. wsa's own stay
    here, where they share what they compute. So does what came as an object, where no other
    process could find it by name.
    """

    timeout: float | None = None
    processes: dict[Plugin, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sound = self.timeout is None or 0 < self.timeout < float("inf")
        need(sound, "plugin_timeout", "a number of seconds above 0", self.timeout)

    def start(self, plugins: Iterable[Plugin]) -> None:
        """Start the processes that will be needed, all at once."""
        for plugin in plugins:
            if self._apart(plugin):
                self._process(plugin)

    def load(self, plugin: Plugin) -> Loaded:
        """Load a plugin where it belongs; raises PluginFailure, naming it, with the cause."""
        if plugin.refused or not self._apart(plugin):
            return registry.load_noted(plugin)
        try:
            return self._process(plugin).loaded()
        except PluginFailure:
            self.processes.pop(plugin).close()
            raise

    def columns(self, offer: Offer, layers: Layers) -> list[Column]:
        """Name an offer's columns; raises PluginFailure for a breach, a hang or a death."""
        return named_columns(self._placed(offer), layers, offer.plugin.is_own)

    def features(
        self, offer: Offer, batch: Batch, columns: Sequence[Column] | None = None
    ) -> Tensor:
        """Return [n, C] features; raises PluginFailure for a breach, a hang or a death."""
        return held_to_contract(self._placed(offer), batch, columns, offer.plugin.is_own)

    def close(self) -> None:
        """End every process."""
        for process in self.processes.values():
            process.close()

    def _placed(self, offer: Offer) -> Representation:
        """Return a representation, or the one of its name in a process of its own."""
        found = offer.representation
        there = self._apart(offer.plugin) and not isinstance(found, Remote) and _is_installed(offer)
        if there:
            offers = self._process(offer.plugin).loaded().offers
            found = next(each.representation for each in offers if each.name == offer.name)
        assert isinstance(found, Representation)
        return found

    def _apart(self, plugin: Plugin) -> bool:
        return self.timeout is not None and not plugin.is_own and not plugin.refused

    def _process(self, plugin: Plugin) -> Process:
        assert self.timeout is not None
        if plugin not in self.processes:
            self.processes[plugin] = Process(plugin, self.timeout)
        return self.processes[plugin]


def _is_installed(offer: Offer) -> bool:
    """Tell whether another process would find the plugin by name."""
    places = {(each.name, each.module) for each in registry.installed()}
    return (offer.plugin.name, offer.plugin.module) in places
