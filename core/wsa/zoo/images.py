"""Images: scikit-learn's 8 x 8 digits as patches, in pools that share no image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wsa.generators import generator

POOLS = 10  # per class: 17 or 18 images each
PATCHES, PATCH = 16, 4  # 2 x 2 pixels a patch


@dataclass(frozen=True)
class Images:
    """Every digit: its pixels in [-1, 1], patch by patch, and its class."""

    patches: Tensor  # [images, PATCHES, PATCH]
    labels: Tensor  # [images]


def load() -> Images:
    """Read the digits that come with scikit-learn."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = torch.tensor(found.images, dtype=torch.float32) / 8 - 1
    tiles = pixels.reshape(-1, 4, 2, 4, 2).transpose(2, 3)
    return Images(tiles.reshape(-1, PATCHES, PATCH), torch.tensor(found.target))


def pools(images: Images, label: int, seed: int) -> tuple[Tensor, ...]:
    """Part the images of one class into disjoint pools of image numbers."""
    members = torch.nonzero(images.labels == label).flatten()
    order = torch.randperm(len(members), generator=generator("pools", seed, label))
    return torch.tensor_split(members[order], POOLS)
