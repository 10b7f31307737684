"""Frequency: how the energy of every layer spreads over the frequencies of its FFT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsa import columns_of, hookimpl
from wsa_kernels.fourier import fourier

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

FEATURES = (
    *(f"top_{i}" for i in range(1, 11)),
    *("mean", "std", "dc", "concentration"),
    *(f"band_{i}" for i in range(1, 9)),
    *("centroid", "flatness"),
)


class Frequency:
    """A 2-D spectrum of a stored matrix; of an update, one along each of its two axes."""

    name = "frequency"
    version = 2
    invariances = ("gauge",)

    def columns(self, layers: Layers) -> list[Column]:
        """Name the 24 columns of each layer, or 48 in view `delta`."""
        axes = ("out_", "in_") if layers.view == "delta" else ("",)
        return columns_of(layers, [f"{axis}{name}" for axis in axes for name in FEATURES])

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 24], or [n, L * 48] in view `delta`."""
        return batch.once(fourier).features.flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Frequency()]
