from __future__ import annotations

import contextlib
import io
import math
import warnings

import numpy as np
import pytest
import torch
from tests.plugins.populations import build
from tests.plugins.subject import Array

from wsa.conformance import check_one
from wsa_plugins.bulk import bulk_deviation
from wsa_plugins.eigenvalues import Eigenvalues
from wsa_plugins.heavy_tail import FEATURES, HeavyTail, _described, power_law

# what WeightWatcher 0.7.7 says of N eigenvalues drawn as below: alpha, D, xmin, the tail's length,
# alpha_weighted and log_alpha_norm
PUBLISHED = [
    (3, (1.48053089849, 0.123502884107, 0.0860998000906, 3, 0.282701261466, 0.32584366484)),
    (7, (1.25561133449, 0.295282454937, 0.0165236043807, 7, 1.17034829982, 1.24578990516)),
    (8, (1.37040861814, 0.271048811199, 0.0583364720219, 8, 1.16577072238, 1.28134639419)),
    (12, (1.46700046059, 0.171444662199, 0.153590048492, 10, 1.33164952268, 1.77539392094)),
    (19, (2.20767861131, 0.108302370176, 0.865949731466, 10, 1.5539186294, 1.96632875593)),
    (20, (2.96877715172, 0.117887314282, 0.504612271071, 9, 1.72702221434, 1.76024975203)),
    (40, (2.25507284875, 0.115118496136, 1.01630670342, 16, 4.16651389089, 4.17317784229)),
    (120, (1.80435149205, 0.0782812112765, 0.337187465204, 77, 1.84516483022, 2.72753328503)),
]


def drawn(count: int) -> Array:
    return np.sort(np.random.default_rng(count).pareto(1.5, count) + 0.01)


def described(values: Array, rows: int, cols: int, bulk: str = "plain") -> dict[str, float]:
    falling = torch.from_numpy(values[::-1].copy())[None]
    found = Eigenvalues(slice(0, 1), torch.zeros(1, dtype=torch.int64), falling, rows, cols)
    return dict(zip(FEATURES, _described(found, bulk)[0].tolist(), strict=True))


@pytest.mark.parametrize(("count", "published"), PUBLISHED)
def test_the_power_law_is_what_weightwatcher_says(count: int, published: tuple[float, ...]) -> None:
    found = described(drawn(count), count, 2 * count)
    names = ("alpha", "d_ks", "xmin", "tail", "alpha_weighted", "log_alpha_norm")
    np.testing.assert_allclose([found[name] for name in names], published, rtol=1e-10)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [5, 9, 25, 60])
def test_the_power_law_agrees_with_the_installed_weightwatcher(count: int) -> None:
    published = pytest.importorskip("weightwatcher.WW_powerlaw")
    values = drawn(count) * 1e-6
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        fit = published.WWFit(values)
    found = power_law(torch.from_numpy(values[::-1].copy())[None])
    assert found.alpha.item() == pytest.approx(fit.alpha, rel=1e-10)
    assert found.distance.item() == pytest.approx(fit.D, rel=1e-9)
    assert found.xmin.item() == pytest.approx(fit.xmin, rel=1e-12)
    assert found.tail.item() == np.sum(values >= fit.xmin)


# what WeightWatcher 0.7.7's `mp_fit` says (printed with 12 digits; numpy 2.4.6, scipy 1.17.1 and
# scikit-learn 1.9.1) of the eigenvalues of a matrix as below: the soft rank, and the spikes
BULK: list[tuple[tuple[int, int, int | str | None, int], tuple[float, int]]] = [
    ((30, 30, None, 0), (0.0581525689087, 1)),
    ((30, 90, None, 1), (0.0105864807129, 1)),
    ((200, 50, None, 2), (0.00423694202042, 1)),
    ((8, 320, None, 3), (0.00802179126358, 1)),
    ((40, 24, 3, 5), (0.0025, 3)),
    ((64, 64, 4, 6), (0.0201318409576, 4)),
    ((12, 7, "noise", 7), (1.04570749572, 0)),
    ((100, 100, "noise", 8), (1.0633879413, 0)),
]


def spectrum(rows: int, cols: int, kind: int | str | None, seed: int) -> Array:
    """Draw noise, a product of rank `kind`, or noise with one direction that stands out."""
    rng = np.random.default_rng(seed)
    if isinstance(kind, int):
        w = rng.normal(size=(rows, kind)) @ rng.normal(size=(kind, cols))
    else:
        w = rng.normal(size=(rows, cols))
    if kind is None:
        w = w + 4 * np.outer(rng.normal(size=rows), rng.normal(size=cols))
    values = np.linalg.svd(w, compute_uv=False) ** 2
    if isinstance(kind, int):
        values[kind:] = 0
    return np.asarray(values[::-1], np.float64)


@pytest.mark.parametrize(("drawn_as", "published"), BULK, ids=str)
def test_soft_rank_and_spikes_are_what_weightwatcher_says(
    drawn_as: tuple[int, int, int | str | None, int], published: tuple[float, int]
) -> None:
    rows, cols, kind, _ = drawn_as
    values = spectrum(*drawn_as)
    found = described(values, rows, cols, "fitted")
    assert found["mp_soft_rank"] == pytest.approx(published[0], rel=1e-9)
    assert found["spikes"] == published[1]
    # of an update only its rank's eigenvalues are known: the others are 0
    known = values[-kind:] if isinstance(kind, int) else values
    known_alone = described(known, rows, cols, "fitted")
    assert known_alone["mp_soft_rank"] == pytest.approx(published[0], rel=1e-9)
    assert described(values * 2.0**-30, rows, cols, "fitted")["spikes"] == published[1]


@pytest.mark.parametrize(("rows", "cols"), [(30, 30), (30, 90), (200, 50)])
def test_plain_soft_rank_and_spikes_follow_the_marchenko_pastur_edge(rows: int, cols: int) -> None:
    values = spectrum(rows, cols, None, rows + cols)
    short, q = min(rows, cols), max(rows, cols) / min(rows, cols)
    own = values * short / values.sum()
    edge = (1 + 1 / math.sqrt(q)) ** 2
    width = math.sqrt(1 / math.sqrt(q) * edge ** (2 / 3) * short ** (-2 / 3))
    found = described(values, rows, cols)
    assert found["mp_soft_rank"] == pytest.approx(edge / own.max(), rel=1e-9)
    assert found["spikes"] == np.sum(own > edge + width) == 1


@pytest.mark.parametrize("view", ["factors", "delta"])
def test_a_fitted_bulk_is_finite_whatever_comes(view: str) -> None:
    found = check_one(HeavyTail(bulk="fitted"), "degenerate-layers-are-finite", view)
    assert found.status == "ok", found.detail


def test_a_fit_of_the_bulk_knows_no_other_row() -> None:
    rows = [spectrum(24, 60, None, seed)[::-1].copy() for seed in range(70)]
    together = bulk_deviation(scaled(np.stack(rows)), 24, 60)
    alone = [bulk_deviation(scaled(row[None]), 24, 60) for row in rows[::23]]
    assert together[::23].tolist() == [each.item() for each in alone]


def scaled(rows: Array) -> torch.Tensor:
    return torch.from_numpy(rows / rows.mean(1, keepdims=True))


def test_a_batch_of_spectra_is_fitted_row_by_row() -> None:
    rows = [np.pad(drawn(n), (40 - n, 0)) for n in (0, 1, 2, 7, 12, 40)]
    together = power_law(torch.from_numpy(np.stack(rows)[:, ::-1].copy()))
    for i, row in enumerate(rows):
        alone = power_law(torch.from_numpy(row[::-1].copy())[None])
        assert [each[i].item() for each in together] == [each.item() for each in alone]


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.0, 3.0], [2.0, 2.0]], ids=str)
def test_where_there_is_no_tail_the_power_law_is_0(values: list[float]) -> None:
    found = described(np.array(values), 2, 5)
    assert [found[name] for name in FEATURES[:6]] == [0.0] * 6
    assert all(math.isfinite(each) for each in found.values())


@pytest.mark.parametrize("view", ["factors", "delta"])
def test_features_of_a_population_are_those_of_its_singular_values(view: str) -> None:
    population = build(((40, 40, 8), (24, 48, 4)), adapters=("gaussian", "heavy"))
    columns = HeavyTail().columns(population.catalogue.layers(view))
    found = HeavyTail().extract(population.batch(view))
    for number, layer in enumerate(population.catalogue.layers(view)):
        subject = population.subject(1, number, view)
        values = np.linalg.svd(subject.entries, compute_uv=False)[: subject.rank] ** 2
        expected = described(np.asarray(values[::-1], np.float64), layer.rows, layer.cols)
        places = [i for i, column in enumerate(columns) if column.layer == layer.name]
        assert [columns[i].feature for i in places] == list(FEATURES)
        np.testing.assert_allclose(found[1, places], list(expected.values()), rtol=1e-5)
