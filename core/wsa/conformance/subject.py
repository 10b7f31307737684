"""Subject: a representation in one view, called as a run calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from wsa.conformance.probe import Probe
from wsa.contract import held_to_contract, named_columns
from wsa.representation import Column, Representation


@dataclass(frozen=True)
class Subject:
    """What is checked, on what device, and the population its usual answer is about."""

    representation: Representation
    view: str
    device: torch.device
    probe: Probe

    @cached_property
    def usual(self) -> Tensor:
        """Return the features of the probe, [n, C]."""
        return self.features(self.probe)

    def columns(self, probe: Probe | None = None) -> list[Column]:
        """Name the columns of a population's features; raises PluginFailure for a breach."""
        layers = (probe or self.probe).catalogue.layers(self.view)
        return named_columns(self.representation, layers, trusted=True)

    def features(
        self, probe: Probe, rows: Sequence[int] | None = None, backend: str | None = None
    ) -> Tensor:
        """Return features [n, C] as float32; raises PluginFailure for a breach of the contract."""
        batch = probe.batch(self.view, self.device, rows, backend)
        # what it changes for others is a check of its own
        return held_to_contract(self.representation, batch, trusted=True).cpu()
