"""Spectrum: the singular values of every layer and what is derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsa import Case
from wsa_bench.contenders import Array, kernel_case
from wsa_bench.populations import per_stored
from wsa_kernels.spectrum import ENERGY_SHARES, EPSILON, LEADING, spectrum

TOLERANCE = {"": 2e-5}


def of_matrix(w: Array, rank: int | None) -> Mapping[str, Any]:
    """Describe one matrix by LAPACK's singular values; an update has no more than its rank."""
    sigma = np.linalg.svd(w, compute_uv=False)[:rank]
    energy, p = sigma**2, sigma / sigma.sum()
    square, leading = energy.sum(), first(sigma, LEADING)
    entropy = -np.sum(p * np.log(p))
    above = sigma[sigma > max(w.shape) * EPSILON * sigma[0]]
    return {
        "singular_values": leading,
        "fractions": first(p, LEADING),
        "gaps": -np.diff(leading) / sigma[0],
        "nuclear": sigma.sum(),
        "frobenius": np.sqrt(square),
        "entropy": entropy,
        "effective_rank": np.exp(entropy),
        "stable_rank": square / energy[0],
        "participation": square**2 / np.sum(energy**2),
        "energy_ranks": energy_ranks(energy),
        "log10_condition": np.log10(sigma[0] / above[-1]),
        "log10_sv1": np.log10(sigma[0]),
        "log10_nuclear": np.log10(sigma.sum()),
    }


def first(values: Array, count: int) -> Array:
    """Cut to a length, or fill up with 0."""
    return np.pad(values[:count], (0, max(0, count - len(values))))


def energy_ranks(energy: Array) -> Any:
    """Return how many values reach each share of the energy."""
    reached = np.cumsum(energy) / energy.sum()
    # the last of them may round below one
    return np.minimum(np.searchsorted(reached, ENERGY_SHARES) + 1, len(energy)).astype(np.float64)


def of_layer(w: Tensor, rank: int | None) -> Mapping[str, Tensor]:
    """Describe one layer of all adapters by torch's singular values."""
    sigma = torch.linalg.svdvals(w)[:, :rank]
    energy, nuclear = sigma.square(), sigma.sum(1)
    p, square = sigma / nuclear[:, None], energy.sum(1)
    leading = torch.nn.functional.pad(sigma, (0, LEADING))[:, :LEADING]
    entropy = torch.special.entr(p).sum(1)
    top, floor = sigma[:, 0], max(w.shape[1:]) * EPSILON * sigma[:, :1]
    least = torch.where(sigma > floor, sigma, sigma[:, :1]).amin(1)
    return {
        "singular_values": leading,
        "fractions": torch.nn.functional.pad(p, (0, LEADING))[:, :LEADING],
        "gaps": -leading.diff(dim=1) / top[:, None],
        "nuclear": nuclear,
        "frobenius": square.sqrt(),
        "entropy": entropy,
        "effective_rank": entropy.exp(),
        "stable_rank": square / energy[:, 0],
        "participation": square.square() / energy.square().sum(1),
        "energy_ranks": batched_energy_ranks(energy),
        "log10_condition": (top / least).log10(),
        "log10_sv1": top.log10(),
        "log10_nuclear": nuclear.log10(),
    }


def batched_energy_ranks(energy: Tensor) -> Tensor:
    """Return how many values of each row reach each share of its energy."""
    shares = torch.tensor(ENERGY_SHARES, device=energy.device)
    reached = energy.cumsum(1) / energy.sum(1, keepdim=True)
    found = torch.searchsorted(reached, shares.repeat(len(reached), 1)) + 1
    return found.clamp(max=energy.shape[1]).float()


def cases() -> list[Case]:
    """Return the flagship's case."""
    return [kernel_case(spectrum, of_matrix, of_layer, TOLERANCE, per_stored(2))]
