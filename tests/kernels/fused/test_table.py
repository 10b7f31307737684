from __future__ import annotations

from typing import Any

import pytest
import torch
import triton
import triton.language as tl

from wsa_kernels.fused.table import first_entry, longest, modules, padded, size_of, table
from wsa_kernels.layout import Layout
from wsa_kernels.matrices import Factors

SHAPES = [(3, 5), (1, 16), (4, 9), (1, 1)]


@triton.jit
def _layers_kernel(flat_ptr, offsets_ptr, rows_ptr, cols_ptr, out_ptr, row_stride, layers):
    layer = tl.program_id(1)
    size, out = size_of(rows_ptr, cols_ptr, layer), tl.program_id(0) * layers + layer
    first = first_entry(flat_ptr, offsets_ptr, row_stride, layer)
    tl.store(out_ptr + out * 3, size.to(tl.float32))
    tl.store(out_ptr + out * 3 + 1, padded(size).to(tl.float32))
    tl.store(out_ptr + out * 3 + 2, tl.load(first + size - 1))


def test_a_kernel_finds_every_layer_of_every_adapter(
    random_matrices: Any, pack_factors: Any, place: Any, device: str
) -> None:
    layers = [random_matrices(2, *shape, seed=i) for i, shape in enumerate(SHAPES)]
    matrices = place(pack_factors(*layers))
    out = torch.full((2, len(SHAPES), 3), torch.nan, device=device)
    stride = matrices.flat.stride(0)
    _layers_kernel[(2, len(SHAPES))](matrices.flat, *table(matrices), out, stride, len(SHAPES))
    sizes = torch.tensor([15.0, 16, 36, 1]).expand(2, -1)
    places = torch.tensor([16.0, 16, 48, 16]).expand(2, -1)
    last = torch.stack([layer[:, -1, -1] for layer in layers], 1)
    assert torch.equal(out.cpu(), torch.stack([sizes, places, last], -1))


def test_a_table_is_built_once_a_shard(
    random_matrices: Any, pack_delta: Any, pack_factors: Any
) -> None:
    matrices = pack_delta((random_matrices(1, 5, 2), random_matrices(1, 2, 7)))
    assert table(matrices) is table(matrices)
    assert [each.tolist() for each in modules(matrices)] == [[0], [1]]
    assert longest(matrices.layout) == 14


def test_layers_that_no_wide_load_may_read_are_refused() -> None:
    layout = Layout(((1, 4),), (8,), (), 16)
    with pytest.raises(ValueError, match="multiples of 16 elements"):
        table(Factors(torch.zeros(1, 16), layout))
