from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tests.conftest import MakeDataset, lora_columns

import wsa
from wsa import Representation
from wsa.errors import WsaError
from wsa.sklearn import WeightFeatures
from wsa_plugins.profile import Profile

LAYERS = {"a.weight": (2, 3), "b.weight": (4, 1)}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([WeightFeatures()])  # type: ignore[untyped-decorator]
def test_every_check_of_scikit_learn_passes(estimator: Any, check: Any) -> None:
    check(estimator)


def adapters(count: int) -> list[dict[str, Any]]:
    columns = {k: v for k, v in lora_columns(count, 2, 3, 0).items() if k.endswith("weight")}
    return [{key: np.array(values[n]) for key, values in columns.items()} for n in range(count)]


def test_features_are_those_of_wsa_extract(make_dataset: MakeDataset) -> None:
    wanted: list[str | Representation] = ["stats", Profile(groups=4)]
    transformer = WeightFeatures(wanted, view="delta").fit(adapters(5))
    found = transformer.transform(adapters(5))
    folder = str(make_dataset(n=5, rank=2))
    expected = wsa.extract(dataset=folder, plugins=("stats", "profile(groups=4)"), view=("delta",))
    assert np.array_equal(found, expected.values)
    assert transformer.get_feature_names_out().tolist() == list(expected.columns)


def test_rows_are_cut_into_layers_in_their_order() -> None:
    rows = np.arange(20.0).reshape(2, 10)
    transformer = WeightFeatures(("simple_stats",), layers=LAYERS).fit(rows)
    names = transformer.get_feature_names_out().tolist()
    found = dict(zip(names, transformer.transform(rows)[1], strict=True))
    assert (found["a/mean"], found["b/mean"]) == (12.5, 17.5)


def test_a_pipeline_learns_from_weights() -> None:
    rows, labels = adapters(60), np.array(lora_columns(60, 2, 3, 0)["category_label"])
    pipeline = make_pipeline(WeightFeatures(("profile",), view="delta"), StandardScaler())
    features = pipeline.fit_transform(rows)
    model = LogisticRegression(max_iter=500).fit(features[:45], labels[:45])
    assert model.score(features[45:], labels[45:]) > 0.6


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: rows[0].popitem(), "every adapter needs the matrices of the first"),
        (lambda rows: rows[0].update({next(iter(rows[0])): np.ones((1, 1))}), "needs shape"),
    ],
)
def test_adapters_of_another_shape_are_refused(change: Any, problem: str) -> None:
    transformer = WeightFeatures().fit(adapters(2))
    rows = adapters(2)
    change(rows)
    with pytest.raises(ValueError, match=problem):
        transformer.transform(rows)


def test_layers_that_do_not_fill_a_row_are_refused() -> None:
    with pytest.raises(ValueError, match="layers needs 10 entries a row; X has 9"):
        WeightFeatures(layers=LAYERS).fit(np.ones((2, 9)))


def test_a_composite_is_named_by_its_parts() -> None:
    with pytest.raises(WsaError, match="'ensemble' is put together; name its parts: spectral"):
        WeightFeatures(("ensemble",)).fit(np.ones((2, 9)))


def test_names_and_objects_stand_in_one_list_as_they_do_in_extract() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    several = WeightFeatures(["stats", Profile()]).fit(rows).get_feature_names_out()
    assert {name.split("/")[1].split(".")[0] for name in several} == {"stats", "profile"}
    for alone in ("profile", Profile()):
        found = WeightFeatures(alone).fit(rows).transform(rows)
        assert np.array_equal(found, WeightFeatures([Profile()]).fit(rows).transform(rows))
    with pytest.raises(WsaError, match="representations needs at least one name or object"):
        WeightFeatures([]).fit(rows)
