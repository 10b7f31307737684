import pytest
import torch
from tests.plugins.agreement import disagreements, offered, representation
from tests.plugins.oracle import ENSEMBLE, REPRESENTATIONS
from tests.plugins.populations import Population, dense, mixed

from wsa.layers import DELTA, FACTORS
from wsa.representation import Composite

HALVES = [torch.float16, torch.bfloat16]


def check(name: str, population: Population, view: str) -> None:
    found = disagreements(name, population, view)
    assert not found, f"{len(found)} values, the worst:\n" + "\n".join(found[:12])


@pytest.mark.parametrize("view", [FACTORS, DELTA])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_features_of_fp32_adapters_agree_with_the_oracle(name: str, view: str) -> None:
    check(name, mixed(), view)


@pytest.mark.parametrize("view", [FACTORS, DELTA])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_features_of_half_precision_adapters_agree_with_the_oracle(
    name: str, dtype: torch.dtype, view: str
) -> None:
    check(name, mixed(dtype), view)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_features_of_unpaired_matrices_agree_with_the_oracle(name: str) -> None:
    check(name, dense(), FACTORS)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_representation_goes_by_the_name_of_its_plugin(name: str) -> None:
    assert representation(name).name == name
    assert representation(name).version >= 1


def test_the_ensemble_is_its_five_parts_side_by_side() -> None:
    ensemble = offered("ensemble")
    assert isinstance(ensemble, Composite)
    assert ensemble.parts == ENSEMBLE
    layers = mixed().catalogue.layers(FACTORS)
    assert sum(len(representation(part).columns(layers)) for part in ENSEMBLE) == 115 * len(layers)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_features_are_float32_one_row_an_adapter(name: str) -> None:
    population = mixed(torch.float16)
    features = representation(name).extract(population.batch(DELTA))
    columns = representation(name).columns(population.catalogue.layers(DELTA))
    assert features.dtype == torch.float32
    assert features.shape == (len(population), len(columns))
