"""Spectrum: the singular values of every layer and what is derived from them.

sigma^2 are the eigenvalues of the float64 Gram matrix on the small side; an update's come from its
R x R core (`delta.py`). p_i = sigma_i / sum sigma over all k values; values beyond k are 0, in
the gaps too, so that a rank padded with zeros changes nothing. Zero layer: logs -38, all else 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.delta import Factored, factored
from wsa_kernels.gram import eigenvalues, gram
from wsa_kernels.layerwise import Part, gathered, side_by_side, split
from wsa_kernels.matrices import Delta, Factors, Matrices
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import is_constant, ratio, total

LEADING = 10
ENERGY_SHARES = (0.50, 0.90, 0.95, 0.99)
WIDTHS = (LEADING, LEADING, LEADING - 1, 1, 1, 1, 1, 1, 1, len(ENERGY_SHARES), 1, 1, 1)
LOG_OF_ZERO = -38.0
EPSILON = torch.finfo(torch.float32).eps
# What rounding may leave of a second energy where there is none.
LEVEL = 1e-9

# Maps energies [B, k] and the tolerance of rounding [] to the fields side by side.
Describe = Callable[[Tensor, Tensor], Tensor]


class Spectrum(NamedTuple):
    """Singular values of a layer, greatest first, and their summaries."""

    singular_values: Tensor  # [N, L, 10]
    fractions: Tensor  # [N, L, 10], p_i
    gaps: Tensor  # [N, L, 9], (sigma_i - sigma_i+1) / sigma_1
    nuclear: Tensor  # [N, L], sum sigma
    frobenius: Tensor  # [N, L], root of sum sigma^2, which itself may outgrow float32
    entropy: Tensor  # [N, L], -sum p ln p
    effective_rank: Tensor  # [N, L], exp(entropy)
    stable_rank: Tensor  # [N, L], sum sigma^2 / sigma_1^2
    participation: Tensor  # [N, L], (sum sigma^2)^2 / sum sigma^4
    energy_ranks: Tensor  # [N, L, 4], least j whose first j energies reach a share
    log10_condition: Tensor  # [N, L], over the last value above float32 rounding
    log10_sv1: Tensor  # [N, L]
    log10_nuclear: Tensor  # [N, L]


def energies(values: Tensor) -> Tensor:
    """Return the squared singular values of float64 [B, rows, cols], greatest first, [B, k]."""
    wide = values if values.shape[-2] <= values.shape[-1] else values.mT
    if wide.shape[-2] == 1:
        return total(wide.flatten(1).square()).unsqueeze(-1)
    return eigenvalues(gram(wide), wide.shape[-1])


def _describe(energy: Tensor, tolerance: Tensor) -> Tensor:
    """Map [B, k] squared singular values to the fields side by side, [B, 42].

    `tolerance` [] is the part of the first value that is rounding.
    """
    sigma = energy.sqrt()
    first, nuclear, square = sigma[:, 0], sigma.sum(-1), energy.sum(-1)
    p = ratio(sigma, nuclear.unsqueeze(-1))
    entropy = torch.special.entr(p).sum(-1)
    padded = torch.nn.functional.pad(sigma, (0, LEADING))[:, :LEADING]
    fractions = torch.nn.functional.pad(p, (0, LEADING))[:, :LEADING]
    gaps = ratio(padded[:, :-1] - padded[:, 1:], first.unsqueeze(-1))
    scalars = [
        nuclear,
        square.sqrt(),
        entropy,
        entropy.exp() * (first > 0),
        ratio(square, energy[:, 0]),
        ratio(square.square(), energy.square().sum(-1)),
    ]
    logs = _log10(torch.stack([_condition(sigma, tolerance), first, nuclear], -1))
    ranks = _energy_ranks(energy, square)
    return torch.cat([padded, fractions, gaps, torch.stack(scalars, -1), ranks, logs], -1)


def _energy_ranks(energy: Tensor, square: Tensor) -> Tensor:
    wanted = square.unsqueeze(-1) * square.new_tensor(ENERGY_SHARES)  # [B, 4]
    reached = energy.cumsum(-1).unsqueeze(-1)
    found = (reached < wanted.unsqueeze(1)).sum(1) + 1
    return found * (square > 0).unsqueeze(-1)


def _condition(sigma: Tensor, tolerance: Tensor) -> Tensor:
    first = sigma[:, :1]
    last = torch.where(sigma > tolerance * first, sigma, first).amin(-1)
    return ratio(first[:, 0], last)


def _log10(values: Tensor) -> Tensor:
    nothing = values == 0
    return values.masked_fill(nothing, 1.0).log10().masked_fill(nothing, LOG_OF_ZERO)


class Found(NamedTuple):
    """The energies of equally shaped layers of some adapters."""

    adapters: slice
    layers: Tensor  # [G] int64, the same tensor for all adapters
    energies: Tensor  # [n * G, k]
    constant: Tensor  # [n * G] bool
    tolerance: Tensor  # []; of a number, compiled code would have one form for each shape


def _of_factors(matrices: Factors) -> Iterator[Found]:
    for adapters, layers, values in matrices.tiles():
        batch = values.double().flatten(0, 1).contiguous()
        tolerance = batch.new_tensor(max(batch.shape[1:]) * EPSILON)
        yield Found(adapters, layers, energies(batch), is_constant(batch.flatten(1)), tolerance)


def _of_updates(matrices: Delta) -> Iterator[Found]:
    for part in factored(matrices):
        tolerance = part.up.new_tensor(max(part.rows, part.cols) * EPSILON)
        found = energies(part.core())
        yield Found(part.adapters, part.modules, found, _is_level(part, found), tolerance)


def _is_level(part: Factored, found: Tensor) -> Tensor:
    """Say which updates hold one value: none that has a second singular value."""
    if (found[:, 1:] > LEVEL * found[:, :1]).any(-1).all():
        return torch.zeros_like(found[:, 0], dtype=torch.bool)
    return part.constant


def _described(found: Iterator[Found], describe: Describe) -> Iterator[Part]:
    """Describe equal shapes of all adapters at once.

    Energies are few, and a call takes as long for one tile of them as for twenty.
    """
    for _, run in groupby(found, key=lambda each: id(each.layers)):
        tiles = list(run)
        energy = torch.cat([each.energies for each in tiles])
        constant = torch.cat([each.constant for each in tiles])
        features = _without_gaps(describe(energy, tiles[0].tolerance), constant)
        adapters = slice(tiles[0].adapters.start, tiles[-1].adapters.stop)
        yield Part(adapters, tiles[0].layers, features)


def _without_gaps(features: Tensor, constant: Tensor) -> Tensor:
    """Take the gaps of constant layers away: they have none by definition."""
    features[:, 2 * LEADING : 3 * LEADING - 1].masked_fill_(constant.unsqueeze(-1), 0.0)
    return features


def _spectrum(matrices: Matrices, describe: Describe) -> Spectrum:
    if isinstance(matrices, Delta):
        return Spectrum(*gathered(matrices, _described(_of_updates(matrices), describe), WIDTHS))
    return Spectrum(*gathered(matrices, _described(_of_factors(matrices), describe), WIDTHS))


def spectrum_reference(matrices: Matrices) -> Spectrum:
    """Compute eagerly."""
    return _spectrum(matrices, _describe)


def spectrum_compiled(matrices: Matrices) -> Spectrum:
    """Compute with LAPACK for the eigenvalues and compiled code for what is derived from them."""
    return _spectrum(matrices, compiled(_describe, any_shape=True))


def spectrum_triton(matrices: Matrices) -> Spectrum:
    """Compute on a GPU, equal small sides in one launch; sides beyond 64 with a library."""
    from wsa_kernels.fused.gram import beyond
    from wsa_kernels.fused.spectra import spectra

    found = spectra(matrices)  # [N, L, 42]
    if large := beyond(matrices):
        found[:, large] = side_by_side(spectrum_reference(matrices.only(large)))
    return Spectrum(*split(found, WIDTHS))


spectrum = Operation("spectrum", spectrum_reference, spectrum_compiled, spectrum_triton)
