"""Kernels run under Triton's interpreter, or natively where there is a GPU; same tests for both."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wsa_kernels.layout import Layout
from wsa_kernels.matrices import Delta, Factors, Matrices

# decided before triton is imported: without either, a launch finds no driver
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RUNS = INTERPRETED or torch.cuda.is_available()
collect_ignore_glob = [] if RUNS else ["test_*.py"]


@pytest.fixture(autouse=True)
def _short_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sort more than 64 entries by the library, as the interpreter takes 0.4 s for 256 of them."""
    if INTERPRETED:
        from wsa_kernels.fused import sorting

        monkeypatch.setattr(sorting, "LONGEST", 64)


def padded_with_nan(flat: Tensor, layout: Layout) -> Tensor:
    """Copy rows of layers, with NaN wherever no layer lies."""
    copy = torch.full_like(flat, torch.nan)
    for (rows, cols), start in zip(layout.shapes, layout.offsets, strict=True):
        copy[:, start : start + rows * cols] = flat[:, start : start + rows * cols]
    return copy


@pytest.fixture
def device() -> str:
    """Name where kernels run."""
    return "cpu" if INTERPRETED else "cuda"


@pytest.fixture
def place(device: str) -> Callable[[Matrices], Matrices]:
    """Put matrices where kernels run, with nothing computed for them and NaN between layers."""

    def put(matrices: Matrices) -> Matrices:
        flat, layout = padded_with_nan(matrices.flat, matrices.layout).to(device), matrices.layout
        if isinstance(matrices, Delta):
            # the interpreter (3.7.1) multiplies bf16 by the integers it stores it in
            wide = flat.float() if INTERPRETED and flat.dtype == torch.bfloat16 else flat
            return Delta(wide, layout, matrices.scale.to(device))
        return Factors(flat, layout)

    return put
