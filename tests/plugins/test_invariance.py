import numpy as np
import pytest
import torch
from numpy.random import Generator
from tests.plugins.agreement import allowance, extracted, oracle_row, representation
from tests.plugins.oracle import REPRESENTATIONS
from tests.plugins.populations import DENSE, MODULES, Population, build, dense, mixed
from tests.plugins.subject import Array

from wsa.layers import DELTA, FACTORS

# what survives rounding: a layer that is constant in exact arithmetic only has noise for moments
GENERIC = ("gaussian", "heavy", "up_is_zero", "rank_deficient", "zero", "another_gaussian")


def rotate(rng: Generator, up: Array, down: Array) -> tuple[Array, Array]:
    """Apply A -> G A, B -> B G^-1, G random with a condition of at most 16.

    Rounding of the new factors to fp32 moves D by 1e-7 of the condition.
    """
    rank = len(down)
    left, right = (np.linalg.qr(rng.normal(size=(rank, rank)))[0] for _ in range(2))
    g = (left * rng.uniform(0.25, 4.0, rank)) @ right
    return up @ np.linalg.inv(g), g @ down


def widen(rng: Generator, up: Array, down: Array) -> tuple[Array, Array]:
    """Pad the rank with three zeros."""
    return np.pad(up, ((0, 0), (0, 3))), np.pad(down, ((0, 3), (0, 0)))


def close(name: str, population: Population, changed: Population) -> None:
    """Assert equality to 1e-4 of a column's scale, beside entries counted on an edge."""
    rows = [oracle_row(name, population, n, DELTA) for n in range(len(population))]
    expected = np.array([[feature.value for feature in row.values()] for row in rows])
    scale = np.abs(expected).max(axis=0)
    difference = np.abs(extracted(name, population, DELTA) - extracted(name, changed, DELTA))
    allowed = np.maximum(1e-4 * np.maximum(scale, 1e-3), allowance(expected, rows))
    worst = np.argmax(difference - allowed) % len(scale)
    assert np.all(difference <= allowed), f"{list(rows[0])[worst]}: {difference.max():.3g}"


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_delta_features_do_not_know_the_gauge_of_the_factors(name: str) -> None:
    population = build(MODULES, adapters=GENERIC)
    close(name, population, population.replaced(rotate))


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_delta_features_do_not_know_zeros_in_the_rank(name: str) -> None:
    population = build(MODULES)
    close(name, population, population.replaced(widen))


@pytest.mark.parametrize("view", [FACTORS, DELTA])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_an_adapters_bytes_do_not_depend_on_its_shard(name: str, view: str) -> None:
    population, extract = mixed(), representation(name).extract
    whole = extract(population.batch(view))
    for size in (1, 5):
        starts = range(0, len(population), size)
        parts = [extract(population.batch(view, slice(i, i + size))) for i in starts]
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("view", [FACTORS, DELTA])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_extraction_writes_to_nothing_it_was_given(name: str, view: str) -> None:
    population = mixed()
    flat, scale = population.flat.clone(), population.scale.clone()
    representation(name).extract(population.batch(view))
    assert torch.equal(population.flat, flat)
    assert torch.equal(population.scale, scale)


@pytest.mark.parametrize("exponent", [-40, 40])
@pytest.mark.parametrize("shapes", [MODULES, DENSE], ids=["pairs", "dense"])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_features_of_very_small_and_large_weights_are_finite(
    name: str, shapes: tuple[tuple[int, int, int], ...], exponent: int
) -> None:
    population = build(shapes, magnitude=2.0**exponent)
    for view in population.views:
        assert np.isfinite(extracted(name, population, view)).all()


@pytest.mark.parametrize("name", ["stats", "rank_based", "distribution", "info_theoretic"])
def test_shape_features_do_not_know_the_magnitude_of_the_weights(name: str) -> None:
    usual, small = (build(MODULES, magnitude=m) for m in (1.0, 2.0**-40))
    layers = usual.catalogue.layers(FACTORS)
    of_scale = {"mean", "std", "median", "min", "max", "iqr", "mad", "mad_median", "trimmed_mean"}
    names = [column.feature for column in representation(name).columns(layers)]
    free = [i for i, f in enumerate(names) if f not in of_scale and not f.startswith("q")]
    found = [extracted(name, p, FACTORS)[:, free] for p in (usual, small)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_features_of_unpaired_matrices_do_not_depend_on_the_shard(name: str) -> None:
    whole = representation(name).extract(dense().batch(FACTORS))
    last = representation(name).extract(dense().batch(FACTORS, slice(7, None)))
    assert torch.equal(last, whole[7:])
