"""What is known of an adapter's bytes: their digest, and whether all of them are numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsa.population import examination
from wsa.population.examination import Loaded, examined, loaded, parts_of

PATTERNS = torch.arange(-(1 << 15), 1 << 15).short()


def weights(rows: int = 7, cols: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, cols), torch.rand(rows, 3)


def test_equal_rows_have_equal_digests_and_others_do_not() -> None:
    flat, scale = weights(4)
    flat[2:], scale[2] = flat[0].clone(), scale[0]
    first, second, third, scaled = examined(flat, scale).digests
    assert first == third
    assert len({first, second, scaled}) == 3


def test_the_digest_of_known_bytes_never_changes() -> None:
    known = examined(torch.arange(6.0).view(1, 6), torch.ones(1, 2))
    assert known.digests == ["ad178c6c65f433c324857d9892c65899"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_pattern_of_sixteen_bits_is_known_as_finite_or_not(dtype: torch.dtype) -> None:
    flat = PATTERNS.view(dtype).view(-1, 1)
    found = examined(flat, torch.ones(len(flat), 1))
    assert found.valid.tolist() == flat.isfinite().flatten().tolist()


@pytest.mark.parametrize("low", [0, 1, 0xFFFF])
def test_every_upper_half_of_thirty_two_bits_is_known_as_finite_or_not(low: int) -> None:
    bits = (PATTERNS.int() << 16) | low
    flat = bits.view(torch.float32).view(-1, 1)
    found = examined(flat, torch.ones(len(flat), 1))
    assert found.valid.tolist() == flat.isfinite().flatten().tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_number_that_is_none_marks_its_row_alone(value: float) -> None:
    flat, scale = weights()
    flat[2, 31], scale[5, 0] = value, value
    assert np.flatnonzero(~examined(flat, scale).valid).tolist() == [2, 5]


def test_numbers_too_great_to_be_summed_are_finite_still() -> None:
    flat = torch.full((1, 64), torch.finfo(torch.float32).max)
    assert examined(flat, torch.ones(1, 1)).valid.all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
def test_neither_parts_nor_threads_change_what_is_found(
    monkeypatch: pytest.MonkeyPatch, rows_at_once: int, threads: int
) -> None:
    source, scale = weights()
    expected = examined(source, scale)
    monkeypatch.setattr(examination, "BUFFER_BYTES", rows_at_once * source[0].nbytes)
    flat = torch.zeros_like(source)

    def fill(part: slice) -> None:
        flat[part] = source[part]

    found = loaded(flat, scale, parts_of(flat), fill, threads)
    assert isinstance(found, Loaded)
    assert torch.equal(found.flat, source)
    assert found.digests == expected.digests


def test_a_part_that_cannot_be_filled_is_an_error_of_the_whole() -> None:
    flat, scale = weights()

    def fill(part: slice) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        loaded(flat, scale, parts_of(flat), fill)
