"""Sums, ratios and deviations of each row of a batch; no row's bytes depend on its neighbours."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# torch splits one long sum over its threads from 32,768 elements on, but many long sums by whole
# sums: a row alone would then round otherwise than the same row in a batch.
LONGEST_SUM = 16384
PIECE = 4096


class Centred(NamedTuple):
    """Rows less their mean; a constant row is exactly zero, whatever its mean rounds to."""

    mean: Tensor  # [B]
    entries: Tensor  # [B, n]
    constant: Tensor  # [B] bool


def total(values: Tensor) -> Tensor:
    """Sum over the last axis, [B, n] -> [B], in pieces of fixed length where it is long."""
    length = values.shape[-1]
    if length <= LONGEST_SUM:
        return values.sum(-1)
    pieces = length // PIECE
    whole = values[..., : pieces * PIECE].reshape(*values.shape[:-1], pieces, PIECE)
    return total(whole.sum(-1)) + values[..., pieces * PIECE :].sum(-1)


def average(values: Tensor) -> Tensor:
    """Average over the last axis, [B, n] -> [B]."""
    return total(values) / values.shape[-1]


def column_total(values: Tensor) -> Tensor:
    """Sum over the rows of each matrix, [B, rows, cols] -> [B, cols]."""
    if values.shape[-1] == 1:
        return total(values[..., 0]).unsqueeze(-1)
    return values.sum(-2)


def share(condition: Tensor) -> Tensor:
    """Return the fraction of each row for which a condition holds, [B, n] bool -> [B] float64."""
    return condition.sum(-1).double() / condition.shape[-1]


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """Divide; a ratio with nothing below it is 0."""
    nothing = below == 0
    return (above / below.masked_fill(nothing, 1.0)).masked_fill(nothing, 0.0)


def is_constant(entries: Tensor) -> Tensor:
    """Say which rows hold one value only, [B, n] -> [B]; a rounded deviation could not tell."""
    return entries.amax(-1) == entries.amin(-1)


def centred(entries: Tensor) -> Centred:
    """Subtract each row's mean in float64, [B, n]."""
    entries = entries.double()
    constant = is_constant(entries)
    mean = torch.where(constant, entries[:, 0], average(entries))
    return Centred(mean, entries - mean.unsqueeze(-1), constant)


def deviation(centred_entries: Tensor) -> Tensor:
    """Return the standard deviation (ddof 1) of rows whose mean is 0, [B, n] -> [B]."""
    freedom = max(1, centred_entries.shape[-1] - 1)
    return (total(centred_entries.square()) / freedom).sqrt()
