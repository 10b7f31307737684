"""The three parts of a split as tensors: standardised features, and labels for every run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from wsa.errors import WsaError
from wsa.generators import generator
from wsa.train import standardise
from wsa.train.split import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from wsa.train.outcome import Run
    from wsa.train.split import Split
    from wsa.train.standardise import Standard


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the split, on the device; streamed, its features and columns on the host."""

    features: Tensor  # [n, C] float32; with `columns` one more, of zeros
    labels: Tensor  # [S, n] int64, of a number float64; the control's are permuted
    columns: Tensor | None = None  # [S, W], what each run reads; C, the zeros, where it reads less
    real: int | None = None  # how many of the columns are read, where zeros follow

    def of(self, runs: Sequence[int]) -> Tensor | None:
        """Return the columns that some runs read, or None where all read everything."""
        return None if self.columns is None else self.columns[list(runs)]

    def widths(self, runs: int) -> list[int]:
        """Return how many columns each run reads, at least one."""
        if self.columns is None:
            return [self.real or self.features.shape[1]] * runs
        real = (self.columns < self.features.shape[1] - 1).sum(1)
        return [int(count) for count in real.clamp(min=1).tolist()]

    def batch(self, rows: Tensor, columns: Tensor | None) -> Tensor:
        """Return the features [S, B, W] of one batch of rows [S, B], of the columns of each run."""
        if columns is None:
            return self.features[rows]
        return self.features[rows[:, :, None], columns[:, None, :]]

    def padded(self, width: int) -> Part:
        """Return the part with columns of zeros after its own, up to a width W for every run."""
        if self.columns is None:
            real = self.features.shape[1]
            values = functional.pad(self.features, (0, width - real))
            return replace(self, features=values, real=real)
        zeros, missing = self.features.shape[1] - 1, width - self.columns.shape[1]
        return replace(self, columns=functional.pad(self.columns, (0, missing), value=zeros))


def arrange(
    features: Tensor,
    labels: Tensor,
    split: Split,
    runs: Sequence[Run],
    columns: Sequence[Sequence[int]] | None = None,
) -> tuple[Standard, dict[str, Part]]:
    """Standardise [N, D] features by the training part and lay out the three parts.

    The labels may lie on another device than the features, which then are to be streamed. With
    `columns`, run s reads those of the D columns that `columns[s]` names, and no others.
    """
    rows = {name: _rows(split, name, features) for name in PARTS}
    standard = standardise.fit(features[rows["train"]])
    read = None if columns is None else _padded(columns, standard)
    parts = {}
    for name, mine in rows.items():
        held = labels[mine.to(labels.device)]
        answers = torch.stack([_answers(held, run, name) for run in runs])
        values = standardise.apply(standard, features[mine])
        if read is not None:
            values = functional.pad(values, (0, 1))
        parts[name] = Part(values, answers, read)
    return standard, parts


def _padded(columns: Sequence[Sequence[int]], standard: Standard) -> Tensor:
    """Return the places among the kept columns of what each run reads, padded, [S, W]."""
    kept = standard.kept.cpu()
    place = torch.full((standard.columns,), -1)
    place[kept] = torch.arange(len(kept))
    found = [place[list(mine)] for mine in columns]
    found = [mine[mine >= 0] for mine in found]
    width = max(1, *(len(mine) for mine in found))
    padded = [functional.pad(mine, (0, width - len(mine)), value=len(kept)) for mine in found]
    return torch.stack(padded).to(standard.kept.device)


def _rows(split: Split, name: str, features: Tensor) -> Tensor:
    rows = torch.as_tensor(getattr(split, name), device=features.device)
    needed = 2 if name == "train" else 1
    if len(rows) < needed:
        raise WsaError(f"{name} needs at least {needed} adapters; got {len(rows)}; add adapters")
    finite = torch.isfinite(features[rows]).all(dim=1)
    if not finite.all():
        row = int(rows[~finite][0])
        raise WsaError(
            f"features must be finite; those of adapter {row} in {name} are not; "
            "mark the adapter as not usable"
        )
    return rows


def _answers(labels: Tensor, run: Run, name: str) -> Tensor:
    """Return the labels a run is held to: the true ones, or the control's permutation."""
    if not run.shuffled:
        return labels
    order = torch.randperm(len(labels), generator=generator(f"shuffle {name}", run.seed))
    return labels[order.to(labels.device)]
