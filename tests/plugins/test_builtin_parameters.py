from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.plugins.oracle_spectra import singular_values
from tests.plugins.populations import dense, mixed
from tests.plugins.subject import padded

from wsa.layers import DELTA, FACTORS
from wsa_plugins.distribution import Distribution
from wsa_plugins.profile import Profile
from wsa_plugins.spectral import Spectral

SOME: list[Any] = [Spectral(top=3), Spectral(top=20), Distribution(bins=64)]


def features(representation: Any, population: Any, view: str) -> dict[str, torch.Tensor]:
    columns = representation.columns(population.catalogue.layers(view))
    found = representation.extract(population.batch(view))
    return {column.name: found[:, i] for i, column in enumerate(columns)}


@pytest.mark.parametrize("view", [FACTORS, DELTA])
@pytest.mark.parametrize("top", [1, 3, 10, 11, 20])
def test_as_many_singular_values_as_asked_for_agree_with_numpy(top: int, view: str) -> None:
    population = mixed()
    found = features(Spectral(top=top), population, view)
    for number, layer in enumerate(population.catalogue.layers(view)):
        values = np.array([found[f"{layer.name}/sv_{i}"].tolist() for i in range(1, top + 1)])
        for adapter in range(len(population)):
            expected = padded(singular_values(population.subject(adapter, number, view)), top)
            allowed = 2e-6 * max(expected[0], 1e-30)
            np.testing.assert_allclose(values[:, adapter], expected, atol=allowed, rtol=0)


@pytest.mark.parametrize("representation", SOME, ids=repr)
@pytest.mark.parametrize("view", [FACTORS, DELTA])
def test_what_a_parameter_leaves_alone_is_as_without_it(representation: Any, view: str) -> None:
    usual = features(type(representation)(), mixed(), view)
    found = features(representation, mixed(), view)
    free = [name for name in usual.keys() & found.keys() if "hist" not in name]
    assert free
    assert all(torch.equal(usual[name], found[name]) for name in free)


def test_bins_are_halved_by_half_as_many() -> None:
    fine, coarse = (features(Distribution(bins=b), dense(), FACTORS) for b in (32, 16))
    for name, counts in coarse.items():
        head, _, number = name.rpartition("_")
        if head.endswith("/hist"):
            pair = [fine[f"{head}_{2 * int(number) - 1}"], fine[f"{head}_{2 * int(number)}"]]
            torch.testing.assert_close(pair[0] + pair[1], counts)


@pytest.mark.parametrize("view", [FACTORS, DELTA])
@pytest.mark.parametrize("groups", [1, 5, 64])
def test_a_profile_of_any_number_of_groups_agrees_with_numpy(groups: int, view: str) -> None:
    population = mixed()
    found = features(Profile(groups=groups), population, view)
    for number, layer in enumerate(population.catalogue.layers(view)):
        energy = np.square(population.subject(0, number, view).entries).sum(1)
        bounds = [i * len(energy) // groups for i in range(1, groups)]
        parts = [energy] if groups == 1 else np.split(energy, bounds)
        means = energy if len(energy) < groups else np.array([part.mean() for part in parts])
        got = [found[f"{layer.name}/row_{i}"][0].item() for i in range(1, groups + 1)]
        np.testing.assert_allclose(got, padded(np.sqrt(means), groups), rtol=2e-6, atol=1e-12)
