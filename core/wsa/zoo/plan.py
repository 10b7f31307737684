"""Plan: which images, learning rate and random numbers each adapter of a zoo gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsa.generators import own_seed
from wsa.zoo.images import POOLS, pools

if TYPE_CHECKING:
    from torch import Tensor

    from wsa.zoo.images import Images
    from wsa.zoo.recipe import Recipe

NUM_IMAGES = (8, 12, 16)  # below the 17 of the smallest pool
# A label that statistics of the weights can see, beside the class that they hardly can.
LEARNING_RATES = (0.005, 0.01, 0.02)


@dataclass(frozen=True)
class Plan:
    """One adapter before it is trained."""

    label: int
    pool: int
    pictures: Tensor  # [num_images], image numbers of its own pool
    learning_rate: float
    seed: int

    @property
    def group(self) -> str:
        """Name the class and pool: adapters of two groups have no image in common."""
        return f"{self.label}-{self.pool}"


def plan(recipe: Recipe, images: Images) -> list[Plan]:
    """Spread N adapters evenly over classes, then over the pools of each class."""
    parts = [pools(images, label, recipe.seed) for label in range(recipe.classes)]
    return [_adapter(recipe, row, parts[row % recipe.classes]) for row in range(recipe.n)]


def _adapter(recipe: Recipe, row: int, parts: tuple[Tensor, ...]) -> Plan:
    seed = own_seed("adapter", recipe.seed, row)
    draw = torch.Generator().manual_seed(seed)
    pool = row // recipe.classes % POOLS
    order = torch.randperm(len(parts[pool]), generator=draw)
    count = NUM_IMAGES[int(torch.randint(len(NUM_IMAGES), (), generator=draw))]
    rate = LEARNING_RATES[int(torch.randint(len(LEARNING_RATES), (), generator=draw))]
    return Plan(row % recipe.classes, pool, parts[pool][order[:count]], rate, seed)
