"""Table: a trained population as Arrow columns, laid out like the published data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from wsa.zoo.adapters import STACKS
from wsa.zoo.recipe import CLASS_NAMES
from wsa.zoo.sites import BLOCKS, PROJECTIONS, TEXT_PROJECTION, column, module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsa.zoo.adapters import Trained
    from wsa.zoo.plan import Plan
    from wsa.zoo.recipe import Recipe


def table(recipe: Recipe, plans: Sequence[Plan], trained: Trained) -> pa.Table:
    """Return one row per adapter: 128 matrices, then what is known of its training."""
    columns = _matrices(trained)
    labels = [plan.label for plan in plans]
    columns |= {
        "category_label": pa.array(labels, pa.int64()),
        "category_name": pa.array([CLASS_NAMES[label] for label in labels]),
        "num_images": pa.array([len(plan.pictures) for plan in plans], pa.int64()),
        "rank": pa.array([recipe.rank] * len(plans), pa.int64()),
        "learning_rate": pa.array([plan.learning_rate for plan in plans], pa.float64()),
        "max_train_steps": pa.array([recipe.steps] * len(plans), pa.int64()),
        "seed": pa.array([plan.seed for plan in plans], pa.int64()),
        "step_loss": nested(trained.losses.numpy()),
        "group": pa.array([plan.group for plan in plans]),
    }
    return pa.table(columns)


def nested(values: np.ndarray) -> pa.Array:
    """Return [N, ...] numbers as N (nested) Arrow lists over one flat buffer."""
    array = pa.array(values.reshape(-1))
    for axis in range(values.ndim - 1, 0, -1):
        ends = np.prod(values.shape[:axis], dtype=np.int64) + 1
        offsets = np.arange(ends, dtype=np.int32) * values.shape[axis]
        array = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), array)
    return array


def _matrices(trained: Trained) -> dict[str, pa.Array]:
    columns = {}
    for block in range(len(BLOCKS)):
        for projection in PROJECTIONS:
            stack = "text" if projection == TEXT_PROJECTION else "image"
            site = STACKS[stack].index((block, projection))
            for half in ("down", "up"):
                values = trained.weights[f"{stack}.{half}"][:, site].numpy()
                columns[column(module(block, projection), half)] = nested(values)
    return columns
