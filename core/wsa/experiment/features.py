"""Features: those of a population as one table, for a program instead of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from wsa.errors import unknown
from wsa.experiment.export import computed
from wsa.experiment.offers import configured

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from wsa.experiment.config import RunConfig
    from wsa.provenance import Given


@dataclass(frozen=True)
class FeatureTable:
    """The features of N adapters with a name for each column, and the labels beside them.

    A column is `<layer>/<feature>`, `<layer>/<representation>.<feature>` where several
    representations are asked for. The row of an adapter that is not finite is NaN.
    """

    values: np.ndarray  # [N, C] float32
    columns: tuple[str, ...]
    labels: pa.Table  # the row number, and every label column that holds one value an adapter
    failures: dict[str, str]  # the plugins that failed, with their cause

    def to_numpy(self) -> np.ndarray:
        """Return the features, [N, C] float32."""
        return self.values

    def to_torch(self) -> Tensor:
        """Return the features, [N, C] float32 on the CPU, in the same memory."""
        return torch.from_numpy(self.values)

    def to_pandas(self) -> pd.DataFrame:
        """Return labels and features side by side, one row an adapter."""
        import pandas as pd

        features = pd.DataFrame(self.values, columns=list(self.columns))
        return pd.concat([self.labels.to_pandas(), features], axis=1)

    def label(self, name: str) -> np.ndarray:
        """Return one label column, [N]; raises WsaError where there is none of that name."""
        if name not in self.labels.column_names:
            raise unknown("label column", name, self.labels.column_names)
        return np.asarray(self.labels.column(name).to_pylist())


def extract(
    config: RunConfig | None = None,
    *,
    representations: Given | Sequence[Given] | None = None,
    **knobs: Any,
) -> FeatureTable:
    """Compute the features of a population, as `wsa extract` does, and return them.

    The knobs are `RunConfig`'s. `representations`, names of plugins and objects such as
    `Spectral(top=20)`, alone or several, take the place of `plugins`.
    """
    config, given = configured(config, representations, knobs)
    table, failures = computed(config, given)
    values = np.concatenate([values for _, values in table.shards()])
    return FeatureTable(values, tuple(table.names()), table.labels(), failures)
