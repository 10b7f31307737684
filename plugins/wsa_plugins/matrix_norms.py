"""Matrix norms: norms of every layer, and the norms of its rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.absolute_sums import absolute_sums
from wsa_kernels.extrema import extrema
from wsa_kernels.reductions import ratio
from wsa_kernels.row_col_norms import row_col_norms
from wsa_kernels.spectrum import spectrum

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

FEATURES = (
    *("fro", "nuclear", "spectral", "one", "inf", "nuclear_per_fro", "spectral_per_fro"),
    *("l1", "max_abs", "row_norm_mean", "row_norm_std", "row_norm_max"),
    *("col_norm_mean", "col_norm_std", "col_norm_max"),
)


class MatrixNorms:
    """How large a layer is, in fifteen senses."""

    name = "matrix_norms"
    version = 2
    invariances = ("gauge", "permutation")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the fifteen columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 15]."""
        singular, sums = batch.once(spectrum), batch.once(absolute_sums)
        fro, nuclear = singular.frobenius, singular.nuclear
        first = singular.singular_values[..., 0]
        found = (
            *(fro, nuclear, first, sums.one, sums.inf, ratio(nuclear, fro), ratio(first, fro)),
            *(sums.l1, batch.once(extrema).max_abs, *batch.once(row_col_norms)[:6]),
        )
        return torch.stack(found, -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [MatrixNorms()]
