"""Operation: one computation in every form it has, and the choice between the forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from wsa_kernels.compilation import compiler_exists
from wsa_kernels.matrices import Matrices

Result = TypeVar("Result")

# what kernels read; a float64 population goes to the compiled form
FUSED = (torch.float32, torch.float16, torch.bfloat16)
BACKENDS = ("reference", "compiled", "triton")


@dataclass(frozen=True)
class Operation(Generic[Result]):
    """A computation over all layers of all adapters; call it and the device picks the form.

    Forms share one signature, `form(matrices) -> Result`. `reference` computes in float64 where
    its input is float64: it is the truth that every other form is held against.
    """

    name: str
    reference: Callable[[Matrices], Result]
    compiled: Callable[[Matrices], Result]
    triton: Callable[[Matrices], Result] | None = None

    def __call__(self, matrices: Matrices, backend: str | None = None) -> Result:
        """Compute with the named backend, or with the best one the device has.

        Raises ValueError for a backend this operation does not have, or a dtype it cannot read.
        """
        if backend == "triton" and matrices.flat.dtype not in FUSED:
            raise ValueError(f"kernels read fp32, fp16 and bf16; got {matrices.flat.dtype}")
        return self.form(backend or self.best(matrices))(matrices)

    def best(self, matrices: Matrices) -> str:
        """Name the backend for where the weights lie.

        On the CPU compiling all operations takes 27 s, and saves 0.5 ms an adapter of 100k floats:
        it pays from 50,000 adapters on, so that only the caller can ask for it.
        """
        if not matrices.flat.is_cuda:
            return "reference"
        fused = self.triton and matrices.flat.dtype in FUSED and compiler_exists("cuda")
        return "triton" if fused else "compiled"

    def form(self, backend: str) -> Callable[[Matrices], Result]:
        """Return one form; raises ValueError for a backend this operation does not have."""
        form = getattr(self, backend, None) if backend in BACKENDS else None
        if form is None:
            raise ValueError(f"{self.name} has no {backend!r} form; known: {', '.join(BACKENDS)}")
        found: Callable[[Matrices], Result] = form
        return found
