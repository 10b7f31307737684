"""Heavy tail: a power law fitted to the eigenvalues of every layer, as WeightWatcher fits it.

With lambda_1 <= ... <= lambda_N the N positive eigenvalues of W W^T (squared singular values), in
float64. WeightWatcher leaves out those below 1e-5; here nothing is, for the scale of an update is
its own. For every i < N the tail is lambda_i ... lambda_N, n = N - i + 1 values, and

    s = sum of ln(lambda_j / lambda_i) over the tail
    a = 1 + n / s, or 1 + (n - 1) / s where N < 20 (there, only tails of 8 values or more compete,
        and where N < 8 the whole alone)
    D = max over the tail's places m = 0 ... n - 1 of |1 - (lambda / lambda_i)^(1 - a) - m / n|

The tail of the least D gives `alpha` = a, `d_ks` = D, `xmin` = lambda_i and `tail` = n. Then

    alpha_weighted = alpha log10(lambda_N)
    log_alpha_norm = log10(sum of lambda^alpha over all N)

The Marchenko-Pastur edge of the random part, with Q the longer side over the shorter M, is
edge = s^2 (1 + 1 / sqrt Q)^2 in units of the mean eigenvalue, sum lambda / M. `bulk='plain'` takes
the weights' own variance, s = 1; `bulk='fitted'` fits s to the smoothed density of all M
eigenvalues, zeros included, as WeightWatcher does (`bulk.py`): 1 to 3 ms a layer on one busy core
of an AMD EPYC, where the power law takes 1 to 5 us.

    mp_soft_rank = edge / lambda_N
    spikes = the number of eigenvalues above edge + sqrt(edge^(2/3) M^(-2/3) / sqrt Q)

On the same float64 eigenvalues the six of the power law are WeightWatcher 0.7.7's (alpha, D, xmin,
the length of the tail, alpha_weighted, log_alpha_norm) to 1e-10; the soft rank (mp_softrank, to
1e-9) and the spikes (num_spikes, exactly) are the tool's with `bulk='fitted'` and not without.

Where no tail has s > 0 the six of the power law are 0; of a zero layer all eight are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.layerwise import Part, gathered
from wsa_kernels.reductions import ratio
from wsa_plugins.bulk import bulk_deviation, spikes_beyond
from wsa_plugins.eigenvalues import Eigenvalues, eigenvalues

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation
    from wsa_kernels.matrices import Matrices

FEATURES = (
    *("alpha", "d_ks", "xmin", "tail", "alpha_weighted", "log_alpha_norm"),
    *("mp_soft_rank", "spikes"),
)
FEW, FEWEST_KEPT = 20, 8
# below it the logarithms of a tail are equal, to rounding
NO_TAIL = 1e-12


class PowerLaw(NamedTuple):
    """The tail that fits best, [B] each; 0 where there is none."""

    alpha: Tensor
    distance: Tensor
    xmin: Tensor
    tail: Tensor


@dataclass(frozen=True)
class HeavyTail:
    """How heavy the tail of a layer's spectrum is."""

    bulk: Literal["plain", "fitted"] = "plain"

    name = "heavy_tail"
    version = 1
    invariances = ("gauge", "permutation")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the eight columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 8]."""
        return batch.once(heavy_tails, self.bulk).flatten(1).float()


def heavy_tails(matrices: Matrices, bulk: str, backend: str | None = None) -> Tensor:
    """Return the eight features of every layer, [N, L, 8]."""
    parts = (Part(e.adapters, e.layers, _described(e, bulk)) for e in eigenvalues(matrices))
    (found,) = gathered(matrices, parts, (len(FEATURES),))
    return found


def power_law(values: Tensor) -> PowerLaw:
    """Fit eigenvalues, greatest first, [B, k] float64; zeros are no part of it."""
    x = values.flip(-1)
    logs = x.masked_fill(x <= 0, 1.0).log()
    sums = logs.flip(-1).cumsum(-1).flip(-1)  # of every tail
    count = (x > 0).sum(-1)
    none = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    best = PowerLaw(none, none + 1, none, none)
    for start, n in _tails(x.shape[-1]):
        rest = sums[:, start] - n * logs[:, start]
        slope = ratio(torch.where(count < FEW, n - 1.0, float(n)).to(x.dtype), rest)
        model = 1 - torch.exp(-slope[:, None] * (logs[:, start:] - logs[:, start : start + 1]))
        places = torch.arange(n, dtype=x.dtype, device=x.device) / n
        found = PowerLaw(slope + 1, (model - places).abs().amax(-1), x[:, start], none + n)
        better = _competes(n, count) & (rest > NO_TAIL) & (found.distance < best.distance)
        best = PowerLaw(*(torch.where(better, *pair) for pair in zip(found, best, strict=True)))
    return best._replace(distance=best.distance * (best.tail > 0))


def _tails(length: int) -> Iterator[tuple[int, int]]:
    """Yield where each tail starts and its number of values, two at least, the longest first."""
    return ((start, length - start) for start in range(length - 1))


def _competes(n: int, count: Tensor) -> Tensor:
    few = (count >= n) & ((n >= FEWEST_KEPT) | (count == n))
    return torch.where(count < FEW, few, count >= n)


def _described(found: Eigenvalues, bulk: str) -> Tensor:
    """Map equally shaped layers to their features, [B, 8]."""
    values, law = found.values, power_law(found.values)
    logs = values.masked_fill(values <= 0, 1.0).log()
    powers = (law.alpha[:, None] * logs).masked_fill(values <= 0, -torch.inf)
    fitted = law.tail > 0
    weighted = law.alpha * logs[:, 0] / math.log(10)
    norm = torch.logsumexp(powers, -1) / math.log(10)
    norm = torch.where(fitted, norm, torch.zeros_like(norm))
    random = _beyond_random(values, found.rows, found.cols, bulk)
    return torch.stack([*law, weighted * fitted, norm, *random], -1)


def _beyond_random(values: Tensor, rows: int, cols: int, bulk: str) -> tuple[Tensor, Tensor]:
    """Return the soft rank and the number of spikes, [B] each."""
    mean = values.sum(-1) / min(rows, cols)
    scaled = ratio(values, mean[:, None])
    fitted = bulk == "fitted"
    deviation = bulk_deviation(scaled, rows, cols) if fitted else torch.ones_like(mean)
    edge, spikes = spikes_beyond(scaled, deviation, rows, cols)
    zero = mean == 0
    return ratio(edge, scaled[:, 0]).masked_fill(zero, 0.0), spikes.masked_fill(zero, 0.0)


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [HeavyTail()]
