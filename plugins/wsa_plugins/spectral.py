"""Spectral representation: the singular values of every layer, an update's without forming it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.reductions import ratio
from wsa_kernels.spectrum import LEADING, Spectrum, spectrum
from wsa_plugins.eigenvalues import leading

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

MOST = 4096


def feature_names(top: int) -> list[str]:
    """Name the features that describe the leading values and all of them."""
    return [
        *(f"sv_{i}" for i in range(1, top + 1)),
        *(f"frac_{i}" for i in range(1, top + 1)),
        *(f"gap_{i}" for i in range(1, top)),
        "entropy",
        "effective_rank",
        "stable_rank",
        "participation",
        *(f"energy_rank_{percent}" for percent in (50, 90, 95, 99)),
        "log10_condition",
        "log10_sv1",
        "log10_nuclear",
    ]


@dataclass(frozen=True)
class Spectral:
    """Leading singular values, and how the energy spreads over all of them."""

    top: int = 10  # leading values told one by one

    name = "spectral"
    version = 2
    invariances = ("gauge", "permutation")

    def __post_init__(self) -> None:
        if not 1 <= self.top <= MOST:
            raise ValueError(f"top needs 1 to {MOST}; got {self.top}")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the columns of each layer: forty with ten leading values."""
        return columns_of(layers, feature_names(self.top))

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * (3 top + 10)]."""
        s = batch.once(spectrum)
        ranks = (s.entropy, s.effective_rank, s.stable_rank, s.participation)
        logs = (s.log10_condition, s.log10_sv1, s.log10_nuclear)
        parts = [*self._leading(batch, s), torch.stack(ranks, -1), s.energy_ranks]
        return torch.cat([*parts, torch.stack(logs, -1)], -1).flatten(1).float()

    def _leading(self, batch: Batch, s: Spectrum) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first values, their shares and gaps; all but ten are found here."""
        top = self.top
        if top <= LEADING:
            return s.singular_values[..., :top], s.fractions[..., :top], s.gaps[..., : top - 1]
        values = batch.once(leading, top)
        rest, steps = values[..., LEADING:], values[..., LEADING - 1 : -1] - values[..., LEADING:]
        more = (rest, ratio(rest, s.nuclear.unsqueeze(-1)), ratio(steps, values[..., :1]))
        firsts = (s.singular_values, s.fractions, s.gaps)
        found = [torch.cat(each, -1) for each in zip(firsts, more, strict=True)]
        return found[0], found[1], found[2]


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Spectral()]
