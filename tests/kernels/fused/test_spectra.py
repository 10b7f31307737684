from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from wsa_kernels import matrices as tiles
from wsa_kernels.spectrum import Spectrum, spectrum


def turned(values: Tensor, rows: int, cols: int) -> Tensor:
    """Draw a float64 matrix with given singular values."""
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(n, len(values), generator=generator, dtype=torch.float64)).Q
        for n in (rows, cols)
    )
    found: Tensor = (left * values.double()) @ right.T
    return found


def hold(found: Spectrum, wanted: Spectrum, tolerance: float = 1e-6) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(
            one.cpu().double(), other.double(), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("side", [2, 5, 12, 30])
def test_spectra_of_every_side_agree_with_a_library(
    side: int, random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    w = random_matrices(2, side, 90)
    found = spectrum(place(pack_factors(w, w.mT.half().contiguous())), "triton")
    hold(found, spectrum(pack_factors(w.double(), w.mT.half().contiguous().double())))


def test_the_greatest_side_in_registers_and_one_beyond(
    random_matrices: Any, pack_factors: Any, pack_delta: Any, place: Any
) -> None:
    shapes = [(64, 70), (65, 70), (1, 7)]
    factors = pack_factors(*(random_matrices(1, *shape) for shape in shapes))
    wide = (random_matrices(1, 66, 65), random_matrices(1, 65, 80))
    update = pack_delta((random_matrices(1, 9, 2), random_matrices(1, 2, 8)), wide)
    hold(spectrum(place(factors), "triton"), spectrum(factors))
    hold(spectrum(place(update), "triton"), spectrum(update))


@pytest.mark.parametrize("side", [2, 3, 8])
def test_the_least_singular_value_is_right_at_condition_1e4(
    side: int, pack_factors: Any, pack_delta: Any, place: Any
) -> None:
    w = turned(torch.logspace(0, -4, side), side, 320).float()[None]
    exact = torch.linalg.svdvals(w.double())[0]
    update = pack_delta((w.mT.contiguous(), torch.eye(side)[None]))
    for matrices in (pack_factors(w), update):
        found = spectrum(place(matrices), "triton")
        assert abs(10 ** -found.log10_condition.item() * exact[0] / exact[-1] - 1) < 1e-4


def test_equal_singular_values_come_out_equal(pack_factors: Any, place: Any) -> None:
    w = turned(torch.tensor([2.0, 2, 2, 1, 1, 1, 1, 1]), 8, 90)[None]
    found = spectrum(place(pack_factors(w.float())), "triton").singular_values[0, 0].cpu()
    torch.testing.assert_close(
        found, torch.tensor([2.0] * 3 + [1.0] * 5 + [0.0] * 2), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("rank", [1, 3])
def test_missing_ranks_are_exactly_zero(
    rank: int, random_matrices: Any, pack_factors: Any, pack_delta: Any, place: Any
) -> None:
    w = (8 * random_matrices(3, rank, 60)).round()  # whole numbers: sums are exact
    w = torch.cat([w, w.flip(1), w[:, :1] + 3 * w[:, -1:]], 1)
    other = random_matrices(3, 33, 2 * rank + 1)
    for matrices in (pack_factors(w, w.mT.contiguous()), pack_delta((other, w), (w.mT, w))):
        found = spectrum(place(matrices), "triton").singular_values
        assert (found[..., :rank] > 0).all()
        assert not found[..., rank:].any()


def test_a_zero_factor_leaves_zeros_and_logs_of_minus_38(
    random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    fresh = pack_delta((torch.zeros(2, 33, 4), random_matrices(2, 4, 40)))
    found = spectrum(place(fresh), "triton")
    assert not any(each.any() for each in found[:-3])
    assert all((each == -38).all() for each in found[-3:])


@pytest.mark.parametrize("level", ["up", "down", "both"])
def test_an_update_has_no_gaps_where_both_factors_are_level(
    level: str, random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    up, down = random_matrices(1, 9, 3), random_matrices(1, 3, 12)
    up = up[:, :1].expand(1, 9, 3) if level != "down" else up
    down = down[:, :, :1].expand(1, 3, 12) if level != "up" else down
    update = pack_delta((up, down))
    found = spectrum(place(update), "triton")
    assert found.gaps.any() == (level != "both")
    hold(found, spectrum(update))


def test_an_update_does_not_know_its_gauge_or_zeros_in_its_rank(
    random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    up, down = random_matrices(2, 33, 4).double(), random_matrices(2, 4, 40).double()
    gauge = turned(torch.logspace(0, -3, 4), 4, 4)
    pad = torch.nn.functional.pad
    wide = pad(up, (0, 3)).float(), pad(down, (0, 0, 0, 3)).float()
    plain = spectrum(pack_delta((up.float(), down.float())))
    for changed in (wide, ((up @ gauge.inverse()).float(), (gauge @ down).float())):
        hold(spectrum(place(pack_delta(changed)), "triton"), plain, tolerance=1e-4)


@pytest.mark.parametrize("size", [1e-18, 1e18])
def test_tiny_and_huge_entries_change_the_scale_alone(
    size: float, random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    w = random_matrices(2, 3, 40)
    plain, found = spectrum(pack_factors(w)), spectrum(place(pack_factors(w * size)), "triton")
    for name in ("fractions", "gaps", "effective_rank", "participation", "log10_condition"):
        one, other = getattr(found, name).cpu(), getattr(plain, name)
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_spectra_in_bounded_chunks_have_the_same_bytes(
    random_matrices: Any, pack_factors: Any, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = random_matrices(3, 2, 30), random_matrices(3, 30, 2), random_matrices(3, 9, 1)
    whole = spectrum(place(pack_factors(*layers)), "triton")
    monkeypatch.setattr(tiles, "TILE_BYTES", 1)
    monkeypatch.setattr(tiles, "CUDA_TILE_BYTES", 1)
    chunks = spectrum(place(pack_factors(*layers)), "triton")
    assert all(torch.equal(one, other) for one, other in zip(whole, chunks, strict=True))
