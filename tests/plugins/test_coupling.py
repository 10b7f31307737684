from __future__ import annotations

import numpy as np
import pytest
from tests.plugins.oracle_spectra import singular_values
from tests.plugins.populations import MODULES, Population, build
from tests.plugins.subject import Array, Subject, ratio

from wsa.layers import DELTA
from wsa_plugins.coupling import FEATURES, Coupling

KINDS = ("gaussian", "heavy", "rank_deficient", "up_is_zero", "zero")


def cosine(one: Array, other: Array) -> float:
    return ratio(float(one @ other), float(np.linalg.norm(one) * np.linalg.norm(other)))


def profile(energy: Array, groups: int) -> Array:
    bounds = [i * len(energy) // groups for i in range(1, groups)]
    return np.sqrt([part.mean() for part in np.split(energy, bounds)])


def spread(energy: Array) -> float:
    return ratio(energy.sum() ** 2, len(energy) * np.sum(energy**2))


def expected(population: Population, adapter: int, module: int, groups: int = 32) -> list[float]:
    up, down = (population.matrix(adapter, layer) for layer in population.layout.pairs[module])
    energy = population.subject(adapter, module, DELTA).entries ** 2
    rows, columns = energy.sum(1), energy.sum(0)
    count = min(groups, len(rows), len(columns))
    left, right = spread(rows), spread(columns)
    a, b = up.T @ up, down @ down.T
    rank = len(down)
    spectra = [singular_values(Subject(each)) for each in (up, down)]
    spectra = [np.pad(each, (0, rank - len(each))) for each in spectra]
    return [
        cosine(profile(rows, count), profile(columns, count)),
        left,
        right,
        float(np.log(left / right)) if left and right else 0.0,
        cosine(*spectra),
        cosine(a.ravel(), b.ravel()),
    ]


@pytest.mark.parametrize("groups", [4, 32])
def test_features_of_a_module_agree_with_numpy(groups: int) -> None:
    population = build(MODULES, adapters=KINDS)
    representation = Coupling(groups=groups)
    found = representation.extract(population.batch(DELTA)).view(len(KINDS), len(MODULES), -1)
    for adapter in range(len(KINDS)):
        for module in range(len(MODULES)):
            wanted = expected(population, adapter, module, groups)
            np.testing.assert_allclose(found[adapter, module], wanted, rtol=1e-5, atol=2e-6)


def test_columns_are_six_a_module() -> None:
    population = build(MODULES, adapters=KINDS)
    columns = Coupling().columns(population.catalogue.layers(DELTA))
    assert [column.feature for column in columns] == list(FEATURES) * len(MODULES)


def test_alignment_is_the_share_of_the_update_its_factors_could_reach() -> None:
    population = build(((24, 48, 4),), adapters=("gaussian",))
    found = Coupling().extract(population.batch(DELTA))[0, -1].item()
    up, down = (population.matrix(0, layer) for layer in population.layout.pairs[0])
    reached = np.linalg.norm(up @ down) ** 2
    assert found == pytest.approx(
        reached / np.linalg.norm(up.T @ up) / np.linalg.norm(down @ down.T), rel=1e-5
    )
