from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wsa_kernels.spectrum import Spectrum, spectrum

SHAPES = [(1, 1), (1, 9), (9, 1), (4, 320), (320, 8), (12, 12), (70, 90), (90, 70)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SCALARS = ["nuclear", "frobenius", "entropy", "effective_rank", "stable_rank", "participation"]


def padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(length)])[:length]


def expected(w: np.ndarray, rank: int) -> dict[str, np.ndarray | float]:
    """Derive everything from LAPACK's singular values of one float64 matrix."""
    s = np.linalg.svd(w, compute_uv=False)[: min(rank, *w.shape)]
    p, e = s / s.sum(), s**2
    entropy = -float(np.sum(p[p > 0] * np.log(p[p > 0])))
    above = s[s > max(w.shape) * np.finfo(np.float32).eps * s[0]]
    reached = np.cumsum(e) / e.sum() + 1e-12
    return {
        "singular_values": padded(s, 10) / s[0],
        "fractions": padded(p, 10),
        "gaps": -np.diff(padded(s, 10)) / s[0] * (w.max() > w.min()),
        "nuclear": s.sum(),
        "frobenius": np.linalg.norm(w),
        "entropy": entropy,
        "effective_rank": np.exp(entropy),
        "stable_rank": e.sum() / e[0],
        "participation": e.sum() ** 2 / np.sum(e**2),
        "energy_ranks": np.array([np.argmax(reached >= t) + 1 for t in (0.5, 0.9, 0.95, 0.99)]),
        "log10_condition": np.log10(s[0] / above[-1]),
        "log10_sv1": np.log10(s[0]),
        "log10_nuclear": np.log10(s.sum()),
    }


def check(found: Spectrum, w: Tensor, rank: int = 10**6) -> None:
    for adapter, matrix in enumerate(w.double().numpy()):
        for name, wanted in expected(matrix, rank).items():
            got = getattr(found, name)[adapter, 0].double().numpy()
            if name == "singular_values":
                got = got / np.linalg.norm(matrix, 2)
            np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6, err_msg=name)


def with_condition(condition: float, rows: int, cols: int) -> Tensor:
    """Draw a matrix whose singular values fall from 1 to 1 / condition, in float64."""
    generator = torch.Generator().manual_seed(0)
    size = min(rows, cols)
    left = torch.linalg.qr(torch.randn(rows, size, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(cols, size, generator=generator, dtype=torch.float64)).Q
    values = torch.logspace(0, -np.log10(condition), size, dtype=torch.float64)
    found: Tensor = (left * values) @ right.T
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_spectra_agree_with_a_float64_decomposition(
    shape: tuple[int, int], dtype: torch.dtype, random_matrices: Any, pack_factors: Any
) -> None:
    w = random_matrices(3, *shape).to(dtype)
    check(spectrum(pack_factors(w)), w)


@pytest.mark.parametrize("shape", [(12, 12), (33, 40), (70, 90)], ids=str)
def test_missing_ranks_are_exactly_zero(
    shape: tuple[int, int], random_matrices: Any, pack_factors: Any
) -> None:
    half = random_matrices(3, shape[0], 3) @ random_matrices(3, 3, (shape[1] + 1) // 2, seed=1)
    w = half.repeat_interleave(2, -1)[..., : shape[1]].half().float()
    w = torch.cat([w[:, :3], *[w[:, :1]] * (shape[0] - 3)], 1)
    found = spectrum(pack_factors(w))
    check(found, w)
    assert not found.singular_values[..., 3:].any()


@pytest.mark.parametrize("rank", [1, 4, 8, 16])
def test_the_spectrum_of_an_update_is_that_of_the_product(
    rank: int, random_matrices: Any, pack_delta: Any
) -> None:
    up, down = random_matrices(4, 33, rank, seed=1), random_matrices(4, rank, 12, seed=2)
    scale = torch.tensor([[0.5], [1.0], [-2.0], [1e-6]])
    product = scale.double()[..., None] * (up.double() @ down.double())
    check(spectrum(pack_delta((up, down), scale=scale)), product, rank)


def test_the_spectrum_of_an_update_does_not_know_the_gauge_or_zeros_in_the_rank(
    random_matrices: Any, pack_delta: Any
) -> None:
    up, down = random_matrices(4, 33, 4).double(), random_matrices(4, 4, 40).double()
    gauge = with_condition(1e3, 4, 4)
    turned = (up @ gauge.inverse()).float(), (gauge @ down).float()
    pad = torch.nn.functional.pad
    wide = pad(up, (0, 3)).float(), pad(down, (0, 0, 0, 3)).float()
    plain = spectrum(pack_delta((up.float(), down.float())))
    for changed in (turned, wide):
        for one, other in zip(plain, spectrum(pack_delta(changed)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("condition", [1e1, 1e2, 1e3, 1e4])
def test_the_least_singular_value_is_right_at_high_condition(
    condition: float, pack_factors: Any
) -> None:
    w = with_condition(condition, 16, 320).float()[None]
    found = spectrum(pack_factors(w)).log10_condition.double()
    exact = np.linalg.svd(w.double().numpy(), compute_uv=False)[0]
    assert abs(10 ** -found.item() * exact[0] / exact[-1] - 1) < 1e-4


def test_a_float32_gram_matrix_would_lose_the_least_singular_value() -> None:
    w = with_condition(1e4, 16, 320).float()
    exact = np.linalg.svd(w.double().numpy(), compute_uv=False)
    least = torch.linalg.eigvalsh(w @ w.T)[0].clamp_min(0).sqrt().item()
    assert abs(least / exact[-1] - 1) > 1e-2


def test_the_least_singular_value_of_an_update_is_right_at_high_condition(pack_delta: Any) -> None:
    up, down = with_condition(1e2, 320, 8).float(), with_condition(1e2, 8, 200).float()
    found = spectrum(pack_delta((up[None], down[None]))).singular_values[0, 0, :8].double()
    exact = np.linalg.svd((up.double() @ down.double()).numpy(), compute_uv=False)[:8]
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-4, atol=0)


def test_a_zero_layer_has_logs_of_minus_38_and_nothing_else(
    random_matrices: Any, pack_factors: Any, pack_delta: Any
) -> None:
    fresh = pack_delta((torch.zeros(2, 33, 4), random_matrices(2, 4, 40)))
    for found in (spectrum(pack_factors(torch.zeros(2, 4, 40))), spectrum(fresh)):
        assert not any(each.any() for each in found[:-3])
        assert all((each == -38).all() for each in found[-3:])


def test_a_constant_layer_has_no_gaps(pack_factors: Any, pack_delta: Any) -> None:
    update = pack_delta((torch.full((2, 6, 2), 0.1), torch.full((2, 2, 5), 0.3)))
    for matrices in (pack_factors(torch.full((2, 6, 5), 0.1)), update):
        found = spectrum(matrices)
        assert not found.gaps.any()
        assert (found.effective_rank == 1).all()


def test_a_share_reached_exactly_counts_as_reached(pack_factors: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    turns = torch.linalg.qr(torch.randn(50, 20, 20, generator=generator, dtype=torch.float64)).Q
    found = spectrum(pack_factors(turns)).energy_ranks
    assert torch.equal(found[:, 0], torch.tensor([10.0, 18.0, 19.0, 20.0]).double().expand(50, 4))
