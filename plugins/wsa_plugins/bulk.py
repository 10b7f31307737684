"""Bulk: the variance of the random part of a spectrum, as WeightWatcher 0.7.7 fits it.

lambda are the M eigenvalues of W W^T, zeros included, in units of their mean; Q is the longer side
over the shorter. Their density is estimated at 1,000 places x from 0 to lambda_max + 0.5, with a
triangle of half width h = 0.1 around each; places of a density of 0.01 or less do not count. What
is fitted to it is the Marchenko-Pastur density of variance s^2,

    rho(x) = Q sqrt((b - x) (x - a)) / (2 pi s^2 x) for a < x < b, else 0
    a, b = s^2 (1 -+ 1 / sqrt Q)^2

and where Q = 1, with sqrt(lambda) in the place of lambda, rho(x) = sqrt(4 - x^2) / (pi s^2). The s
of least summed squares is looked for among s_max (0.05 + 0.01 i), i = 0 ... 194, where s_max has
its b at lambda_max, then from there by Nelder and Mead's method, to 1e-4. Where Q > 1, an s whose
a, b leave out the place of greatest density, or whose b lies beyond the last place that counts, is
as bad as 10^6 a place.

That is deterministic. The arithmetic is float64; the tool takes its density as an exponential of a
logarithm, so that values agree to about 1e-12, unless rounding decides a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from wsa_kernels.reductions import total

PLACES, BEYOND, HALF_WIDTH, LEAST_DENSITY = 1000, 0.5, 0.1, 0.01
FIRST, STEP, STEPS = 0.05, 0.01, 195
NOT_ALLOWED = 1000.0**2
MARGIN = 1e-2
PRECISION, LONGEST = 1e-4, 200
# rows at once: 32 x 1,000 float64 are 256 KiB; the operations on them take turns in the cache
ROWS = 32
CUDA_ROWS = 16384


def bulk_deviation(scaled: Tensor, rows: int, cols: int) -> Tensor:
    """Return s for eigenvalues in units of their mean, [B, k] -> [B]; those beyond k are 0."""
    size = CUDA_ROWS if scaled.is_cuda else ROWS
    parts = torch.split(scaled, size) if len(scaled) else (scaled,)
    return torch.cat([_fitted(part, rows, cols) for part in parts])


_REAL = ("places", "squares", "crossed", "running", "own", "peak", "last")


@dataclass(frozen=True)
class _Density:
    """What is fitted, at B x 1,000 places x; where nothing counts there is neither.

    With the model's f(x) = Q / (2 pi x), and u = (b - x) (x - a) where that is positive, the summed
    squares are sum f^2 u / s^4 - 2 sum f density sqrt u / s^2 + sum density^2. The first is a
    matter of running sums, for u is a polynomial; only the second visits every place.
    """

    places: Tensor  # [B, 1000]
    squares: Tensor  # [B, 1000], x^2
    crossed: Tensor  # [B, 1000], f density
    running: Tensor  # [3, B, 1001], of f^2, f^2 x and f^2 x^2
    own: Tensor  # [B], sum density^2
    counted: Tensor  # [B]
    peak: Tensor  # [B], the place of the greatest density
    last: Tensor  # [B], the last place that counts
    root: float  # 1 / sqrt Q

    def only(self, rows: Tensor) -> _Density:
        """Keep some rows."""
        if len(rows) == len(self.own):
            return self
        running = self.running[:, rows] if self.root < 1 else self.running[..., rows]
        parts = {n: getattr(self, n)[rows] for n in (*_REAL, "counted") if n != "running"}
        return _Density(**parts, running=running, root=self.root)

    def rough(self) -> _Density:
        """Return the same in float32."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return _Density(**{n: v.float() if n in _REAL else v for n, v in found.items()})

    def misfit(self, deviation: Tensor) -> Tensor:
        """Return the summed squares for one s a row, [B]."""
        square = deviation.square()
        if self.root == 1:  # u = 4 - x^2, whatever s
            return self._put_together(self.running[0, 0], self.crossed[:, 0], square)
        low, high = ((deviation * (1 + side)).square() for side in (-self.root, self.root))
        between = torch.addcmul(-(low * high)[:, None], self.places, (low + high)[:, None])
        between = between.sub_(self.squares).clamp_(min=0).sqrt_()
        both = torch.linalg.vecdot(between, self.crossed)
        found = self._put_together(self._model(low, high), both, square)
        bad = (high < self.peak) | (high > self.last) | (low > self.peak)
        return torch.where(bad, NOT_ALLOWED * self.counted, found)

    def _put_together(self, model: Tensor, both: Tensor, square: Tensor) -> Tensor:
        return model / square.square() - 2 * both / square + self.own

    def _model(self, low: Tensor, high: Tensor) -> Tensor:
        """Return sum f^2 u, [B]."""
        # at the ends u is 0: to which side rounding puts them does not matter
        ends = torch.stack([low, high], 1) / self.places[:, 1:2]
        first, beyond = (ends.ceil().clamp(0, PLACES).long()).unbind(1)
        upper, lower = (
            self.running.gather(2, place.expand(3, -1)[..., None])[..., 0]
            for place in (beyond, first)
        )
        one, x, xx = (upper - lower).unbind(0)
        return (low + high) * x - xx - low * high * one


def _fitted(scaled: Tensor, rows: int, cols: int) -> Tensor:
    short, root = min(rows, cols), math.sqrt(min(rows, cols) / max(rows, cols))
    density = _density(scaled.sqrt() if root == 1 else scaled, short, root)
    greatest = (scaled[:, 0] / (1 + root) ** 2).sqrt()
    best, least = greatest * FIRST, torch.full_like(greatest, torch.inf)
    for step in _promising(density, greatest):
        tried = greatest * FIRST + step * (STEP * greatest)
        found = density.misfit(tried)
        better = found < least
        best, least = torch.where(better, tried, best), torch.where(better, found, least)
    return _polished(density, best, least)


def _promising(density: _Density, greatest: Tensor) -> Iterator[Tensor]:
    """Yield steps, [B] each, that hold every row's best one; of equal ones the first comes first.

    A square root takes a third of the time in float32, whose error is far below the margin.
    """
    rough = density.rough()
    # beyond 1.05 an s has its b beyond the last place
    count = STEPS if density.root == 1 else round((1 + HALF_WIDTH - FIRST) / STEP)
    found = torch.stack(
        [rough.misfit((greatest * (FIRST + STEP * step)).float()) for step in range(count)], 1
    )
    near = found <= (found.amin(1) + MARGIN * rough.own)[:, None]
    order = (~near).to(torch.uint8).argsort(dim=1, stable=True)
    last = near.sum(1) - 1
    for number in range(int(last.max()) + 1):
        yield order.gather(1, last.clamp(max=number)[:, None])[:, 0]


def _density(values: Tensor, short: int, root: float) -> _Density:
    """Estimate the density of values [B, k], and of zeros up to `short` of them."""
    end = values.amax(1) + BEYOND
    places = (end / (PLACES - 1))[:, None] * torch.arange(PLACES, device=values.device)
    places[:, -1] = end
    density = (short - values.shape[1]) * (1 - places / HALF_WIDTH).clamp_(min=0)
    for value in values.T:
        density += (1 - (places - value[:, None]).abs_() / HALF_WIDTH).clamp_(min=0)
    density /= short * HALF_WIDTH
    counts = density > LEAST_DENSITY
    peak = places.gather(1, density.argmax(1, keepdim=True))[:, 0]
    last = torch.where(counts, places, 0.0).amax(1)
    about = (counts.sum(1), peak, last, root)
    squares, density = places.square(), torch.where(counts, density, 0.0)
    own = total(density.square())
    if root == 1:
        factor = torch.where(counts, (4 - squares).clamp_(min=0).sqrt_() / math.pi, 0.0)
        both, model = total(factor * density)[:, None], total(factor.square())[None, None]
        return _Density(places, squares, both, model, own, *about)
    counts &= places > 0
    factor = torch.where(counts, 1 / (2 * math.pi * root**2 * places), 0.0)
    running = torch.stack([factor.square() * each for each in (1, places, squares)]).cumsum(-1)
    running = torch.nn.functional.pad(running, (1, 0))
    return _Density(places, squares, factor * density, running, own, *about)


def _polished(density: _Density, start: Tensor, misfit: Tensor) -> Tensor:
    """Follow Nelder and Mead in one dimension from each start, [B]: near and far, the two ends."""
    found, rows = start.clone(), torch.arange(len(start), device=start.device)
    far = start * 1.05
    ends = torch.stack([start, misfit, far, density.misfit(far)])  # [4, B]
    for _ in range(LONGEST):
        near, at_near, far, at_far = torch.where(ends[3] < ends[1], ends[[2, 3, 0, 1]], ends)
        found[rows] = near
        moving = ((far - near).abs() > PRECISION) | ((at_near - at_far).abs() > PRECISION)
        kept = moving.nonzero()[:, 0]
        if not len(kept):
            break
        ends = torch.stack([near, at_near, far, at_far])[:, kept]
        density, rows = density.only(kept), rows[kept]
        ends[2:] = torch.stack(_moved(density, *ends))
    return found


def _moved(
    density: _Density, near: Tensor, at_near: Tensor, far: Tensor, at_far: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what takes the far end's place: reflected, expanded, contracted or shrunk."""
    mirrored = 2 * near - far
    at_mirrored = density.misfit(mirrored)
    expands = at_mirrored < at_near
    outside = ~expands & (at_mirrored < at_far)
    tried = torch.where(outside, 1.5 * near - 0.5 * far, 0.5 * near + 0.5 * far)
    tried = torch.where(expands, 3 * near - 2 * far, tried)
    at_tried = density.misfit(tried)
    bound = torch.where(expands, at_mirrored, at_far)
    taken = torch.where(outside, at_tried <= at_mirrored, at_tried < bound)
    new, at_new = torch.where(taken, tried, mirrored), torch.where(taken, at_tried, at_mirrored)
    shrinks = (~taken & ~expands).nonzero()[:, 0]
    if len(shrinks):
        new[shrinks] = near[shrinks] + 0.5 * (far - near)[shrinks]
        at_new[shrinks] = density.only(shrinks).misfit(new[shrinks])
    return new, at_new


def spikes_beyond(scaled: Tensor, deviation: Tensor, rows: int, cols: int) -> tuple[Tensor, Tensor]:
    """Return the bulk's edge b, [B], and how many eigenvalues lie beyond it and its rounding."""
    short, root = min(rows, cols), math.sqrt(min(rows, cols) / max(rows, cols))
    edge = (deviation * (1 + root)).square()
    above = edge + (root * edge ** (2 / 3) * short ** (-2 / 3)).sqrt()
    return edge, (scaled > above[:, None]).sum(-1).to(scaled.dtype)
