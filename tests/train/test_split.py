from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsa.errors import WsaError
from wsa.train import Split, make_split
from wsa.train.split import PARTS


def everyone(count: int) -> tuple[list[str], np.ndarray]:
    return [f"content {row}" for row in range(count)], np.ones(count, dtype=bool)


def test_parts_hold_seventy_ten_and_twenty_percent_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [200, 100, 50])
    split = make_split(labels, None, *everyone(350))
    shares = [np.bincount(labels[getattr(split, part)]).tolist() for part in PARTS]
    assert shares == [[140, 70, 35], [20, 10, 5], [40, 20, 10]]


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    labels = np.arange(100) % 4
    first, second = (make_split(labels, None, *everyone(100)) for _ in range(2))
    other = make_split(labels, None, *everyone(100), seed=7)
    assert first.assignment.tolist() == second.assignment.tolist() != other.assignment.tolist()


def test_unusable_adapters_belong_to_no_part() -> None:
    labels = np.arange(100) % 4
    digests, usable = everyone(100)
    usable[[3, 17]] = False
    split = make_split(labels, None, digests, usable)
    assert np.flatnonzero(split.assignment == -1).tolist() == [3, 17]
    assert sorted([*split.train, *split.val, *split.test]) == np.flatnonzero(usable).tolist()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_neither_group_nor_content_straddles_parts(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = np.arange(240) % 2
    groups = labels * 1000 + draw.integers(0, 60, 240)
    digests = [str(number) for number in labels * 1000 + draw.integers(0, 400, 240)]
    split = make_split(labels, groups, digests, np.ones(240, dtype=bool))
    for family in (groups, np.array(digests)):
        for value in np.unique(family):
            assert len(set(split.assignment[family == value].tolist())) == 1
    assert split.grouped


def test_groups_joined_by_a_shared_content_stay_together() -> None:
    labels = np.arange(200) % 2
    groups = np.arange(200).astype(str)
    digests, usable = everyone(200)
    digests[10] = digests[20] = digests[30] = "copy"
    groups[30] = groups[41] = "one pool"
    split = make_split(labels, groups, digests, usable)
    assert len(set(split.assignment[[10, 20, 30, 41]].tolist())) == 1


def test_missing_groups_are_no_group() -> None:
    labels = np.arange(100) % 2
    split = make_split(labels, np.array([None] * 100), *everyone(100))
    assert not split.grouped
    assert len(split.val) == 10


def test_a_split_survives_json() -> None:
    split = make_split(np.arange(40) % 2, np.arange(40) // 2 % 18, *everyone(40))
    read = Split.from_json(split.to_json())
    assert read.to_json() == split.to_json()
    assert read.assignment.dtype == np.int8


def test_one_class_is_refused() -> None:
    with pytest.raises(WsaError, match="needs at least two classes; the 30 labels hold 1"):
        make_split(np.zeros(30, dtype=int), None, *everyone(30))


def test_fewer_usable_adapters_than_classes_are_refused() -> None:
    digests, usable = everyone(30)
    usable[4:] = False
    with pytest.raises(WsaError, match="found 4 usable of 30 adapters in 5 classes"):
        make_split(np.arange(30) % 5, None, digests, usable)


def test_a_class_missing_from_a_part_is_named_with_its_adapters_and_groups() -> None:
    labels = np.repeat([0, 1], [100, 4])
    message = "train has no adapter of class 'cat', which has 4 usable adapters in 1 groups"
    groups = np.concatenate([np.arange(100), np.full(4, 500)])
    with pytest.raises(WsaError, match=message.replace("train", "(train|val|test)")):
        make_split(labels, groups, *everyone(104), names=["dog", "cat"])


def test_classes_all_smaller_than_ten_are_refused_in_one_line() -> None:
    with pytest.raises(WsaError, match="train has no adapter of class '0', which has 3") as caught:
        make_split(np.arange(12) % 4, None, *everyone(12))
    assert "\n" not in str(caught.value)


def test_a_small_class_beside_large_ones_warns_nobody() -> None:
    labels = np.repeat([0, 1], [95, 9])
    split = make_split(labels, None, *everyone(104))
    assert all((labels[getattr(split, part)] == 1).any() for part in PARTS)
