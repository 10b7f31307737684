from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from wsa.zoo.images import POOLS, Images, pools


def test_patches_are_the_pixels_two_by_two(images: Images) -> None:
    pixels = images.patches.reshape(-1, 4, 4, 2, 2).transpose(2, 3).reshape(-1, 8, 8)
    torch.testing.assert_close(8 * (pixels + 1), torch.tensor(load_digits().images).float())


def test_the_pools_of_a_class_share_no_image_and_lose_none(images: Images) -> None:
    for label in range(10):
        parts = pools(images, label, seed=0)
        members = torch.cat(parts).sort().values
        assert len(parts) == POOLS
        assert torch.equal(members, torch.nonzero(images.labels == label).flatten())
        assert min(map(len, parts)) >= 17


def test_another_seed_parts_the_images_differently(images: Images) -> None:
    one, other = (torch.cat(pools(images, 3, seed)) for seed in (0, 1))
    assert not torch.equal(one, other)
