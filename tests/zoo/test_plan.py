from __future__ import annotations

from collections import Counter

import torch

from wsa.zoo import Recipe
from wsa.zoo.images import Images
from wsa.zoo.plan import NUM_IMAGES, plan


def test_adapters_of_two_groups_have_no_image_in_common(images: Images) -> None:
    seen: dict[int, str] = {}
    for adapter in plan(Recipe(), images):
        for picture in adapter.pictures.tolist():
            assert seen.setdefault(picture, adapter.group) == adapter.group


def test_an_adapter_sees_different_images_of_its_own_class_only(images: Images) -> None:
    for adapter in plan(Recipe(n=60), images):
        assert set(images.labels[adapter.pictures].tolist()) == {adapter.label}
        assert len(set(adapter.pictures.tolist())) == len(adapter.pictures)
        assert len(adapter.pictures) in NUM_IMAGES


def test_classes_alternate_and_every_group_is_equally_large(images: Images) -> None:
    plans = plan(Recipe(n=400), images)
    assert [adapter.label for adapter in plans[:12]] == [*range(10), 0, 1]
    assert set(Counter(adapter.group for adapter in plans).values()) == {4}
    assert len({adapter.group for adapter in plans}) == 100


def test_a_larger_zoo_begins_with_the_smaller_one(images: Images) -> None:
    for few, many in zip(plan(Recipe(n=15), images), plan(Recipe(n=30), images), strict=False):
        assert torch.equal(few.pictures, many.pictures)
        assert (few.seed, few.learning_rate) == (many.seed, many.learning_rate)


def test_every_adapter_has_a_seed_of_its_own(images: Images) -> None:
    assert len({adapter.seed for adapter in plan(Recipe(), images)}) == 400
