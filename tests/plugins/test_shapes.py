import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plugins.agreement import disagreements
from tests.plugins.oracle import REPRESENTATIONS
from tests.plugins.populations import build

SIDE = st.integers(1, 37)
ADAPTERS = ("gaussian", "rank_deficient", "zero", "constant")


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(module=st.tuples(SIDE, SIDE, st.integers(0, 9)))
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_features_agree_with_the_oracle_on_any_shape(
    name: str, module: tuple[int, int, int]
) -> None:
    population = build((module,), torch.float32, ADAPTERS)
    for view in population.views:
        assert not disagreements(name, population, view)
