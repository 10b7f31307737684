"""Sums, ratios and deviations of each row of a batch; no row's bytes depend on its neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# torch splits one long sum over its threads from 32,768 elements on, but many long sums by whole
# sums: a row alone would then round otherwise than the same row in a batch.
LONGEST_SUM = 16384
PIECE = 4096


class Centred(NamedTuple):
    """Rows less their mean, in float64; a constant row is exactly zero."""

    mean: Tensor  # [B]
    entries: Tensor  # [B, n]


def total(values: Tensor) -> Tensor:
    """Sum over the last axis, [B, n] -> [B], in pieces of fixed length where it is long."""
    length = values.shape[-1]
    if length == 1:
        return values[..., 0]
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
    return values[..., 0, :] if values.shape[-2] == 1 else values.sum(-2)


def share_below(values: Tensor, bounds: Tensor) -> Tensor:
    """Return the fraction of each row below its bound, [B, n] and [B] -> [B] float64.

    A comparison in place counts in floats: with bools torch takes 2.7 times as long.
    """
    below = values.clone().lt_(bounds.to(values.dtype).unsqueeze(-1))
    return total(below).double() / values.shape[-1]


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """Divide; a ratio with nothing below it is 0, as a part of infinity is."""
    return above / below.masked_fill(below == 0, torch.inf)


def is_constant(entries: Tensor) -> Tensor:
    """Say which rows hold one value only, [B, n] -> [B]; a rounded deviation could not tell."""
    return entries.amax(-1) == entries.amin(-1)


def centred(entries: Tensor) -> Centred:
    """Subtract each row's mean in float64, [B, n]: its first entry, then the mean of what is left.

    Entries that are equal then have their value for mean, to the last bit, and 0 for the rest.
    """
    first = entries[:, :1].double()
    rest = entries.to(torch.float64, copy=True).sub_(first)
    shift = average(rest).unsqueeze(-1)
    return Centred((first + shift).squeeze(-1), rest.sub_(shift))


def deviation(centred_entries: Tensor) -> Tensor:
    """Return the standard deviation (ddof 1) of rows whose mean is 0, [B, n] -> [B]."""
    freedom = max(1, centred_entries.shape[-1] - 1)
    return (total(centred_entries.square()) / freedom).sqrt()


def logarithm(values: Tensor) -> Tensor:
    """Return natural logarithms; numpy takes a third of torch's time on the CPU (AVX-512)."""
    if values.is_cuda or torch.compiler.is_compiling():
        return values.log()
    return torch.from_numpy(np.log(values.numpy()))


def entropy(shares: Tensor) -> Tensor:
    """Return -sum p ln p over the last axis; nothing comes of a share of 0.

    torch's own `entr` takes 3.6 times as long.
    """
    logs = logarithm(shares.clamp(min=torch.finfo(shares.dtype).tiny))
    return -(shares * logs).sum(-1)
