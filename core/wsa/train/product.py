"""The matrix product of S pairs of matrices, by the faster of torch's two CPU libraries."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

# Multiplications a matrix pair below which a oneDNN call costs more than it saves (14 us).
WORTH_ONEDNN = 1 << 20
# Rows of a result computed at once: 1024 x 512 float32 are 2 MiB.
ROWS = 1024


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply [S, B, in] by [S, in, out]: `torch.bmm`, or oneDNN for float32 on the CPU."""
    large = left[0].numel() * right.shape[2] >= WORTH_ONEDNN
    if large and _onednn_serves(left):
        result: Tensor = OneDnnProduct.apply(left, right)  # type: ignore[no-untyped-call]
        return result
    return torch.bmm(left, right)


def _onednn_serves(values: Tensor) -> bool:
    plain = values.device.type == "cpu" and values.dtype == torch.float32
    busy = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    return plain and not busy and _onednn_leads()


@functools.cache
def _onednn_leads() -> bool:
    """Whether the CPU is of the kind measured, and this torch has the product."""
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return wide and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right.T of two dense matrices or their transposed views.

    Any other stride falls into oneDNN's reference loop: 0.1 GFLOP/s.
    """
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return result


def _multiply_all(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right.mT of S pairs of matrices, a block of rows at a time.

    Results pass through the processor's cache into one buffer: a stack of whole ones took a
    quarter of a step at D = 10,000, most of it spent on touching fresh memory.
    """
    out = left.new_empty(len(left), left.shape[1], right.shape[1])
    for result, one, other in zip(out, left, right, strict=True):
        for start in range(0, len(one), ROWS):
            rows = slice(start, start + ROWS)
            result[rows] = _multiply(one[rows], other)
    return out


class OneDnnProduct(torch.autograd.Function):
    """bmm through oneDNN: 230 GFLOP/s a thread on an AMD Zen 5, where MKL's sgemm reaches 105."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        """Multiply seed by seed."""
        ctx.save_for_backward(left, right)
        return _multiply_all(left.contiguous(), right.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the gradients of both factors; the features, which learn nothing, get none."""
        left, right = ctx.saved_tensors
        out = gradients[0].contiguous()
        to_left = _multiply_all(out, right) if ctx.needs_input_grad[0] else None
        return to_left, _multiply_all(left.contiguous().mT, out.mT)
