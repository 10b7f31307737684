"""A stranger's representation, and its speed: what share of a layer's entries is positive."""

from __future__ import annotations

import torch
from torch import Tensor

from wsa import Case, LayerwiseRepresentation, Representation, hookimpl


class Sign(LayerwiseRepresentation):
    """The share of positive entries of every layer."""

    name = "sign"
    version = 1
    feature_names = ("positive",)

    def features(self, matrices: Tensor) -> Tensor:
        """Map matrices [B, rows, cols] to their features [B, 1]."""
        return (matrices > 0).float().mean((1, 2))[:, None]


def loop(matrices: Tensor) -> dict[str, Tensor]:
    """Take one matrix at a time."""
    return {"positive": torch.stack([(each > 0).float().mean() for each in matrices])}


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Sign()]


@hookimpl
def wsa_bench_cases() -> list[Case]:
    """Offer one case for `wsa bench`."""
    return [
        Case(
            name="sign",
            inputs=lambda setting: torch.randn(setting.adapters, 8, 40, device=setting.device),
            reference=lambda matrices: {"positive": (matrices > 0).double().mean((1, 2))},
            contenders={"eager": lambda m: {"positive": Sign().features(m)[:, 0]}, "loop": loop},
            shape=lambda matrices: f"{len(matrices)} of 8x40",
            bytes=lambda matrices: matrices.nbytes,
        )
    ]
