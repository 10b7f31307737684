import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from tests.plugins import oracle_entries, oracle_spectra
from tests.plugins.oracle import ENSEMBLE, REPRESENTATIONS
from tests.plugins.subject import Subject, delta

COUNTS = {
    "simple_stats": 5,
    "stats": 7,
    "rank_based": 15,
    "spectral": 40,
    "matrix_norms": 15,
    "distribution": 31,
    "frequency": 24,
    "info_theoretic": 5,
    "profile": 64,
}
RNG = np.random.default_rng(3)
PLAIN = Subject(RNG.standard_t(4, (37, 22)))


def value(representation: str, feature: str, subject: Subject = PLAIN) -> float:
    return REPRESENTATIONS[representation](subject)[feature].value


@pytest.mark.parametrize("name", COUNTS)
def test_a_representation_has_as_many_features_as_the_contract_says(name: str) -> None:
    assert len(REPRESENTATIONS[name](PLAIN)) == COUNTS[name]


def test_the_ensemble_has_115_features() -> None:
    assert sum(COUNTS[name] for name in ENSEMBLE) == 115


def test_moments_are_those_of_scipy() -> None:
    w = PLAIN.flat
    assert value("stats", "std") == pytest.approx(np.std(w, ddof=1))
    assert value("stats", "skewness") == pytest.approx(scipy.stats.skew(w))
    assert value("stats", "kurtosis") == pytest.approx(scipy.stats.kurtosis(w, fisher=False))


@pytest.mark.parametrize("size", [2, 3, 10, 41, 814])
def test_quantiles_are_those_of_numpy(size: int) -> None:
    subject = Subject(RNG.normal(size=(1, size)))
    for percent in (1, 5, 10, 25, 50, 75, 90, 95, 99):
        expected = np.quantile(subject.flat, percent / 100)
        assert value("rank_based", f"q{percent:02d}", subject) == pytest.approx(expected, abs=1e-14)


def test_shapes_of_the_normal_distribution_by_its_quantiles_are_the_known_ones() -> None:
    normal = Subject(scipy.stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)[None])
    assert value("rank_based", "moors", normal) == pytest.approx(1.233, abs=1e-3)
    assert value("rank_based", "bowley", normal) == pytest.approx(0, abs=1e-9)
    assert value("rank_based", "iqr", normal) == pytest.approx(scipy.stats.iqr(normal.flat))
    deviation = scipy.stats.median_abs_deviation(normal.flat)
    assert value("rank_based", "mad_median", normal) == pytest.approx(deviation)


def test_gini_is_half_the_mean_difference_over_the_mean() -> None:
    x = np.abs(PLAIN.flat)
    difference = np.abs(x[:, None] - x[None]).mean()
    assert value("rank_based", "gini") == pytest.approx(difference / (2 * x.mean()))


def test_a_trimmed_mean_keeps_an_entry_that_is_the_quantile_itself() -> None:
    whole = Subject(np.arange(11.0)[None] ** 2)  # q10 = 1 and q90 = 81 are entries
    assert value("rank_based", "trimmed_mean", whole) == pytest.approx(np.mean(whole.flat[1:10]))


def test_histograms_are_those_of_numpy() -> None:
    z = scipy.stats.zscore(PLAIN.flat, ddof=1)
    edges = np.array([-np.inf, *np.linspace(-4, 4, 17)[1:-1], np.inf])
    expected = [np.sum((z >= a) & (z < b)) for a, b in pairwise(edges)]
    found = [value("distribution", f"hist_{b}") * z.size for b in range(1, 17)]
    assert found == pytest.approx(expected)
    counts, _ = np.histogram(PLAIN.flat, 50)
    assert value("info_theoretic", "entropy") == pytest.approx(scipy.stats.entropy(counts))


def test_divergence_from_the_normal_is_that_of_its_bins() -> None:
    bins = np.diff(scipy.stats.norm.cdf(np.linspace(-4, 4, 65)[1:-1]), prepend=0, append=1)
    assert oracle_entries.divergence(bins) == pytest.approx(0, abs=1e-12)
    equal = np.full(64, 1 / 64)
    assert oracle_entries.divergence(equal) == pytest.approx(scipy.stats.entropy(equal, bins))


@pytest.mark.parametrize("size", [3, 4, 10, 200, 5000])
def test_differential_entropy_is_the_vasicek_estimate_of_scipy(size: int) -> None:
    x = RNG.normal(size=size)
    window = min(round(math.sqrt(size)), (size - 1) // 2)
    expected = scipy.stats.differential_entropy(x, window_length=window, method="vasicek")
    assert oracle_entries.vasicek(x) == pytest.approx(float(expected))


def test_spectral_features_of_a_known_spectrum_are_the_textbook_ones() -> None:
    left, right = (np.linalg.qr(RNG.normal(size=(n, 3)))[0] for n in (9, 7))
    found = oracle_spectra.spectral(delta(0.5, left * [8.0, 4.0, 4.0], right.T))
    expected = {
        "sv_1": 4.0,
        "sv_4": 0.0,
        "frac_2": 0.25,
        "gap_1": 0.5,
        "gap_3": 0.5,
        "entropy": 1.5 * math.log(2),
        "effective_rank": 2**1.5,
        "stable_rank": 1.5,
        "participation": 24**2 / (256 + 16 + 16),
        "energy_rank_50": 1.0,
        "energy_rank_90": 3.0,
        "log10_condition": math.log10(2),
        "log10_nuclear": math.log10(8),
    }
    assert {name: found[name].value for name in expected} == pytest.approx(expected, abs=1e-12)


def test_norms_are_those_of_numpy() -> None:
    w = PLAIN.entries
    orders = {"fro": "fro", "nuclear": "nuc", "spectral": 2, "one": 1, "inf": np.inf}
    for name, order in orders.items():
        expected = np.linalg.norm(w, order)  # type: ignore[call-overload]
        assert value("matrix_norms", name) == pytest.approx(expected)
    assert value("profile", "row_32") == pytest.approx(np.sqrt(np.mean(np.sum(w[35:] ** 2, 1))))
    assert value("profile", "col_23") == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (2, 2), (6, 9), (7, 7), (8, 6)], ids=str)
def test_each_conjugate_pair_of_frequencies_is_counted_once(shape: tuple[int, int]) -> None:
    w = RNG.normal(size=shape)
    i, j, _ = oracle_spectra.frequencies(*shape)
    weight = np.where((-i % shape[0] == i) & (-j % shape[1] == j), 1, 2)
    assert weight.sum() == w.size
    power = np.abs(np.fft.fft2(w, norm="ortho")[i, j]) ** 2
    assert np.sum(weight * power) == pytest.approx(np.sum(w**2))  # Parseval


def test_a_wave_lies_in_the_band_of_its_frequency() -> None:
    x = np.arange(40)
    wave = Subject(1 + np.cos(2 * np.pi * (5 * x[:, None] + 5 * x[None]) / 40))
    found = oracle_spectra.frequency(wave)
    # radius sqrt(2) / 8 of at most sqrt(2) / 2: exactly the lower edge of the third band
    assert found["band_3"].value == pytest.approx(1)
    assert found["centroid"].value == pytest.approx(math.sqrt(2) / 8)
    assert found["dc"].value == pytest.approx(40)
    assert found["flatness"].value == 0


def test_marginal_spectra_of_a_delta_hold_the_energy_of_its_axes() -> None:
    wave = np.cos(2 * np.pi * 3 * np.arange(24) / 24)[:, None]
    found = oracle_spectra.frequency(delta(1.0, wave, np.ones((1, 9))))
    assert len(found) == 48
    assert found["out_centroid"].value == pytest.approx(3 / 24)
    assert found["out_band_3"].value == pytest.approx(1)  # 8 * 3 / 12 = 2
    assert found["in_concentration"].value == pytest.approx(1)
    assert found["in_centroid"].value == 0
