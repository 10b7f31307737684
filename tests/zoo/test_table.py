from __future__ import annotations

import numpy as np
import pytest
import torch

from wsa.zoo import Recipe
from wsa.zoo.adapters import STACKS, Trained, Weights, first_weights
from wsa.zoo.images import Images
from wsa.zoo.plan import plan
from wsa.zoo.sites import BLOCKS
from wsa.zoo.table import nested, table


@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (3, 2, 4), (4, 1, 1), (2, 3, 1)], ids=str)
def test_nested_lists_hold_the_array_row_by_row(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert nested(values).to_pylist() == values.tolist()


def test_nested_lists_lie_over_the_arrays_own_memory() -> None:
    values = np.zeros((3, 2, 4), dtype=np.float32)
    assert nested(values).flatten().flatten().buffers()[1].address == values.ctypes.data


def test_every_matrix_is_in_the_column_of_its_block_and_projection(images: Images) -> None:
    recipe = Recipe(n=2, classes=1, steps=1)
    coded = {name: _coded(name, weight) for name, weight in _start().items()}
    found = table(recipe, plan(recipe, images), Trained(coded, torch.zeros(2, 1)))
    for block, where in enumerate(BLOCKS):
        for projection in ORDER:
            for half in ("down", "up"):
                name = f"{where}.transformer_blocks.0.{projection}.lora.{half}.weight"
                values = set(np.ravel(found.column(name).to_pylist()))
                assert values == {_code(block, projection, half)}


ORDER = ("attn1.to_q", "attn1.to_v", "attn2.to_q", "attn2.to_v")


def _start() -> Weights:
    return first_weights(1, torch.Generator().manual_seed(0), None)


def _code(block: int, projection: str, half: str) -> float:
    return 10.0 * block + ORDER.index(projection) + 0.5 * (half == "up")


def _coded(name: str, weight: torch.Tensor) -> torch.Tensor:
    stack, half = name.split(".")
    codes = torch.tensor([_code(block, projection, half) for block, projection in STACKS[stack]])
    return (torch.zeros_like(weight) + codes[:, None, None]).expand(2, -1, -1, -1)
