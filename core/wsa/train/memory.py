"""Memory: who does not fit is told from who is wrong, and what is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wsa.errors import EnvironmentProblem
from wsa.train.config import LEAST_BATCH

if TYPE_CHECKING:
    from torch import Tensor

    from wsa.train.config import TrainConfig

# How allocators and libraries say it that raise no OutOfMemoryError: the CPU's, CUDA's, cuBLAS's.
SIGNS = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
# Of a weight: itself, its gradient, two moments, the best so far, the copy kept over a warm-up.
WEIGHT_COPIES = 6
# Of a hidden unit's value: product, normalised, rectified, masked, mask, and two gradients.
VALUE_COPIES = 7
# Fragments, workspaces and graphs take the rest.
USABLE = 0.85


def out_of_memory(problem: BaseException) -> bool:
    """Tell whether an error says that memory was refused, on any device."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(problem)
    return isinstance(problem, RuntimeError) and any(sign in text for sign in SIGNS)


def halved(batch: int) -> int:
    """Return half a batch; raises EnvironmentProblem where there is none smaller."""
    if batch // 2 < LEAST_BATCH:
        raise EnvironmentProblem(
            f"training needs more memory than there is, even in batches of {batch}; "
            "take fewer --num-runs or a smaller --hidden-dim, or free memory"
        )
    return batch // 2


def needed_bytes(features: Tensor, runs: int, outputs: int, config: TrainConfig) -> int:
    """Estimate what [N, D] features and the training of S runs take on a device.

    The features count twice, as they come and standardised, or once where they lie there already.
    """
    width, hidden = features.shape[1], config.hidden_dim
    weights = width * hidden + hidden * (hidden // 2) + hidden // 2 * outputs
    values = config.batch_size * (width + VALUE_COPIES * (hidden + hidden // 2))
    each, copies = features.element_size(), 1 if features.is_cuda else 2
    return copies * features.nbytes + each * runs * (WEIGHT_COPIES * weights + values)
