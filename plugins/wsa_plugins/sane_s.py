"""SANE's statistics: how the tokens of every layer are spread.

SANE (Schuerholt et al. 2024, "Towards Scalable and Versatile Weight Space Learning") reads a layer
as a sequence of tokens: each row, an output's weights, cut into pieces of equal length, the last
one filled up with zeros. Of each token its mean, its standard deviation (ddof 0) and its Euclidean
norm are taken, zeros included; of each of the three, over the tokens of a layer, the mean, the
standard deviation (ddof 0), minimum, quartiles and maximum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from wsa import LayerwiseRepresentation, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Representation

TOKEN = 64  # entries
OF_TOKEN = ("mean", "std", "norm")
OVER_TOKENS = ("mean", "std", "min", "q25", "median", "q75", "max")
FEATURES = tuple(f"token_{each}_{over}" for each in OF_TOKEN for over in OVER_TOKENS)


class SaneStatistics(LayerwiseRepresentation):
    """The spread of the tokens' means, deviations and norms: 21 numbers a layer."""

    name = "sane_s"
    version = 1
    invariances = ("gauge",)
    feature_names = FEATURES

    def features(self, matrices: Tensor) -> Tensor:
        """Map equally shaped matrices [B, rows, cols] to [B, 21]."""
        width = min(TOKEN, matrices.shape[2])
        filled = functional.pad(matrices, (0, -matrices.shape[2] % width)).double()
        tokens = filled.reshape(len(filled), -1, width)  # [B, tokens, width]
        mean = tokens.mean(2)
        std = (tokens - mean[..., None]).square().mean(2).sqrt()
        norm = tokens.square().sum(2).sqrt()
        return torch.cat([_spread(each) for each in (mean, std, norm)], 1).float()


def _spread(values: Tensor) -> Tensor:
    """Return mean, std, minimum, quartiles and maximum of [B, tokens]: [B, 7]."""
    mean = values.mean(1, keepdim=True)
    std = (values - mean).square().mean(1, keepdim=True).sqrt()
    steps = torch.linspace(0, 1, 5, dtype=values.dtype, device=values.device)
    return torch.cat([mean, std, torch.quantile(values, steps, dim=1).T], 1)


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [SaneStatistics()]
