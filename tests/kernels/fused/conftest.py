"""Kernels run under Triton's interpreter, or natively where there is a GPU; same tests for both."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch

from wsa_kernels.matrices import Delta, Factors, Matrices

# decided before triton is imported: without either, a launch finds no driver
RUNS = os.environ.get("TRITON_INTERPRET") == "1" or torch.cuda.is_available()
collect_ignore_glob = [] if RUNS else ["test_*.py"]


@pytest.fixture(autouse=True)
def _short_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sort more than 64 entries by the library, as the interpreter takes 0.4 s for 256 of them."""
    if not torch.cuda.is_available():
        from wsa_kernels.fused import sorting

        monkeypatch.setattr(sorting, "LONGEST", 64)


@pytest.fixture
def place() -> Callable[[Matrices], Matrices]:
    """Put matrices where kernels run, with nothing computed for them yet."""
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def put(matrices: Matrices) -> Matrices:
        flat, layout = matrices.flat.to(device), matrices.layout
        if isinstance(matrices, Delta):
            return Delta(flat, layout, matrices.scale.to(device))
        return Factors(flat, layout)

    return put
