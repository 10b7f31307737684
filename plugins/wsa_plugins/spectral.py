"""Spectral representation: the singular values of every layer, an update's without forming it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.spectrum import spectrum

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

FEATURES = (
    *(f"sv_{i}" for i in range(1, 11)),
    *(f"frac_{i}" for i in range(1, 11)),
    *(f"gap_{i}" for i in range(1, 10)),
    "entropy",
    "effective_rank",
    "stable_rank",
    "participation",
    *(f"energy_rank_{percent}" for percent in (50, 90, 95, 99)),
    "log10_condition",
    "log10_sv1",
    "log10_nuclear",
)


class Spectral:
    """Leading singular values, and how the energy spreads over all of them."""

    name = "spectral"
    version = 2

    def columns(self, layers: Layers) -> list[Column]:
        """Name the forty columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 40]."""
        s = batch.once(spectrum)
        leading = (s.singular_values, s.fractions, s.gaps)
        ranks = (s.entropy, s.effective_rank, s.stable_rank, s.participation)
        logs = (s.log10_condition, s.log10_sv1, s.log10_nuclear)
        parts = [*leading, torch.stack(ranks, -1), s.energy_ranks, torch.stack(logs, -1)]
        return torch.cat(parts, -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Spectral()]
