"""The three parts of a split as tensors: standardised features, and labels for every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

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
    """One part of the split, on the device."""

    features: Tensor  # [n, C] float32
    labels: Tensor  # [S, n] int64; the control's are permuted


def arrange(
    features: Tensor, labels: Tensor, split: Split, runs: Sequence[Run]
) -> tuple[Standard, dict[str, Part]]:
    """Standardise [N, D] features by the training part and lay out the three parts."""
    rows = {name: _rows(split, name, features) for name in PARTS}
    standard = standardise.fit(features[rows["train"]])
    parts = {}
    for name, mine in rows.items():
        answers = torch.stack([_answers(labels[mine], run, name) for run in runs])
        parts[name] = Part(standardise.apply(standard, features[mine]), answers)
    return standard, parts


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
