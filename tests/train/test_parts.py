from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wsa.train import Run, Split, TrainConfig, train
from wsa.train.parts import arrange

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
SmallConfig = Callable[..., TrainConfig]

COLUMNS = [[0, 1, 2], [5], [3, 4, 6, 7, 8, 9]]


def test_runs_of_unequal_width_packed_are_those_runs_alone(
    planted: Planted, plain_split: PlainSplit, small_config: SmallConfig
) -> None:
    features, labels = planted()
    split, runs = plain_split(80), [Run(0), Run(0), Run(1)]
    packed = train(features, labels, split, runs, 4, small_config(), columns=COLUMNS)
    for index, mine in enumerate(COLUMNS):
        alone = train(features[:, mine], labels, split, [runs[index]], 4, small_config())
        for part in ("val", "test"):
            found = torch.tensor(packed.probabilities[part][index])
            torch.testing.assert_close(
                found, torch.tensor(alone.probabilities[part][0]), rtol=1e-3, atol=1e-4
            )


def test_a_run_never_reads_a_column_that_is_not_its_own(
    planted: Planted, plain_split: PlainSplit, small_config: SmallConfig
) -> None:
    features, labels = planted()
    split, runs = plain_split(80), [Run(0), Run(0), Run(1)]
    first = train(features, labels, split, runs, 4, small_config(), columns=COLUMNS)
    features[:, 5] += torch.randn(80, generator=torch.Generator().manual_seed(1))
    second = train(features, labels, split, runs, 4, small_config(), columns=COLUMNS)
    same = [one == other for one, other in zip(first.runs, second.runs, strict=True)]
    assert same == [True, False, True]


def test_constant_columns_are_dropped_from_what_a_run_reads(
    planted: Planted, plain_split: PlainSplit
) -> None:
    features, labels = planted()
    features[:, [1, 5]] = 3.0
    _, parts = arrange(features, labels, plain_split(80), [Run(0)] * 3, COLUMNS)
    columns = parts["train"].columns
    assert columns is not None
    assert columns.tolist()[:2] == [[0, 1, 10, 10, 10, 10], [10] * 6]
    assert parts["train"].widths(3) == [2, 1, 6]
    assert parts["val"].features[:, 10].tolist() == pytest.approx([0.0] * 16)
