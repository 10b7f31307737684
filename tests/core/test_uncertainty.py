from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from wsa.experiment.uncertainty import (
    bootstrap,
    corrected,
    holm,
    over_adapters,
    over_draws,
    over_seeds,
)
from wsa.train import REGRESSION, Goal


def test_accuracys_interval_over_adapters_is_about_the_binomial_one() -> None:
    draw = np.random.default_rng(0)
    scores = (draw.random((3, 400)) < 0.7).astype(float)
    one_stratum = np.zeros(400, dtype=int)
    found = bootstrap(Goal(), scores[:1], np.zeros(400), one_stratum)["accuracy"]
    half = 1.96 * np.sqrt(0.21 / 400)
    assert found["over"] == "test adapters"
    assert found["low"] == pytest.approx(scores[0].mean() - half, abs=0.015)
    assert found["high"] == pytest.approx(scores[0].mean() + half, abs=0.015)


def test_strata_keep_their_sizes_and_narrow_the_interval() -> None:
    scores = np.repeat([[0.0, 1.0]], 50, axis=1).reshape(1, -1)
    classes = np.repeat([0, 1], 50)
    found = bootstrap(Goal(), scores, np.zeros(100), classes)["accuracy"]
    assert found["low"] == found["high"] == 0.5


def test_r2s_interval_holds_the_r2_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(size=300)
    found = truth + 0.4 * draw.normal(size=300)
    scores = -np.abs(found - truth)[None]
    given = bootstrap(Goal(REGRESSION, 1), scores, truth, np.zeros(300, dtype=int))
    assert given["r2"]["low"] < r2_score(truth, found) < given["r2"]["high"]
    assert given["r2"]["high"] - given["r2"]["low"] < 0.15


def test_over_seeds_is_the_paired_t_test_of_scipy() -> None:
    one, other = [0.8, 0.82, 0.79, 0.81], [0.78, 0.79, 0.78, 0.77]
    differences = [a - b for a, b in zip(one, other, strict=True)]
    assert over_seeds([differences], 0.2) == pytest.approx(stats.ttest_rel(one, other).pvalue)


def test_random_draws_are_compared_by_welchs_test_of_scipy() -> None:
    seeds, draws = [0.8, 0.82, 0.79], [0.9, 0.7, 0.85, 0.6, 0.75]
    wanted = stats.ttest_ind(seeds, draws, equal_var=False).pvalue
    assert over_draws(seeds, draws) == pytest.approx(wanted)
    assert over_draws([0.5, 0.5], draws) is not None
    assert over_draws([0.5, 0.5], [0.7, 0.7]) is over_draws([0.5], draws) is None


def test_overlapping_splits_are_less_sure_than_independent_ones() -> None:
    means = [0.02, 0.03, 0.01, 0.03, 0.02]
    splits = [[mean, mean] for mean in means]
    plain = stats.ttest_1samp(means, 0.0).pvalue
    assert over_seeds(splits, 0.2) > plain
    # Nadeau and Bengio: the variance grows by (1 / 5 + 0.25) / (1 / 5)
    statistic = stats.ttest_1samp(means, 0.0).statistic / np.sqrt(0.45 / 0.2)
    assert over_seeds(splits, 0.2) == pytest.approx(2 * stats.t.sf(statistic, 4))


def test_no_difference_has_no_significance() -> None:
    assert over_adapters(np.zeros(20)) == 1.0
    assert over_adapters(np.ones(40)) < 1e-6


@pytest.mark.parametrize(
    "differences", [[[0.0, 0.0, 0.0]], [[0.3]], [[0.1, 0.1, 0.1 + 1e-15]], [[0.2, 0.4], [0.3, 0.3]]]
)
def test_what_does_not_vary_over_seeds_has_no_p_value(differences: list[list[float]]) -> None:
    assert over_seeds(differences, 0.2) is None


def test_a_test_without_a_p_value_is_no_member_of_the_family() -> None:
    rows = [{"p_seeds": value, "p_test_adapters": 0.5} for value in (0.01, None, 0.04)]
    corrected(rows)
    assert [row["p_seeds_holm"] for row in rows] == [0.02, None, 0.04]


def test_holm_multiplies_the_smallest_by_all_and_never_lowers_a_later_one() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
