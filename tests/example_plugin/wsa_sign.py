"""A stranger's representation: what share of a layer's entries is positive."""

from __future__ import annotations

from torch import Tensor

from wsa import LayerwiseRepresentation, Representation, hookimpl


class Sign(LayerwiseRepresentation):
    """The share of positive entries of every layer."""

    name = "sign"
    version = 1
    feature_names = ("positive",)

    def features(self, matrices: Tensor) -> Tensor:
        """Map matrices [B, rows, cols] to their features [B, 1]."""
        return (matrices > 0).float().mean((1, 2))[:, None]


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Sign()]
