from __future__ import annotations

import numpy as np
import pytest
import torch

from wsa.errors import WsaError
from wsa.train import standardise


def drawn(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def test_columns_are_centred_scaled_and_clipped_as_float64_says() -> None:
    train, other = 5 + 2 * drawn(60, 7), drawn(9, 7) * 40
    scores = (other.double().numpy() - train.double().numpy().mean(0)) / train.double().numpy().std(
        0
    )
    expected = scores / np.sqrt(1 + (scores / 3) ** 2)
    found = standardise.apply(standardise.fit(train), other)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)
    assert found.abs().max() <= 3


def test_columns_constant_up_to_rounding_are_dropped_and_counted() -> None:
    train = drawn(50, 5)
    train[:, 1] = 0
    train[:, 3] = 1e6 + 0.0625 * torch.arange(50).remainder(2)
    standard = standardise.fit(train)
    assert standard.kept.tolist() == [0, 2, 4]
    assert standard.constant == 2


def test_a_small_column_that_varies_is_kept() -> None:
    standard = standardise.fit(1e-20 * (1 + 1e-3 * drawn(50, 1)))
    assert standard.kept.tolist() == [0]


def test_a_large_offset_costs_no_precision() -> None:
    steps = torch.arange(40).remainder(8).float()[:, None]
    shifted = standardise.apply(standardise.fit(4096 + steps), 4096 + steps)
    plain = standardise.apply(standardise.fit(steps), steps)
    torch.testing.assert_close(shifted, plain, rtol=1e-6, atol=1e-6)


def test_more_columns_than_a_block_keep_their_order() -> None:
    train = drawn(6, 2500) + torch.arange(2500)
    train[:, ::3] = 1
    found = standardise.apply(standardise.fit(train), train)
    for column, kept in enumerate(standardise.fit(train).kept.tolist()):
        if column % 250 == 0:
            alone = standardise.apply(standardise.fit(train[:, [kept]]), train[:, [kept]])
            torch.testing.assert_close(found[:, column], alone[:, 0])


def test_features_that_do_not_vary_are_refused() -> None:
    with pytest.raises(WsaError, match="all 4 columns are constant over the 9 training adapters"):
        standardise.fit(torch.ones(9, 4))
