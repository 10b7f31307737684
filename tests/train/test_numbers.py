from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as oracle
from torchmetrics.functional import concordance_corrcoef, kendall_rank_corrcoef

from wsa.train import Split
from wsa.train.numbers import mean_control, measure_numbers


def predicted(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    truth = draw.normal(size=n)
    return truth, 0.8 * truth + 0.3 * draw.normal(size=n) + 0.1


def test_metrics_of_numbers_are_those_of_scikit_learn_and_scipy() -> None:
    truth, found = predicted()
    expected = {
        "r2": oracle.r2_score(truth, found),
        "explained_variance": oracle.explained_variance_score(truth, found),
        "d2_absolute_error": oracle.d2_absolute_error_score(truth, found),
        "mse": oracle.mean_squared_error(truth, found),
        "rmse": oracle.root_mean_squared_error(truth, found),
        "mae": oracle.mean_absolute_error(truth, found),
        "median_absolute_error": oracle.median_absolute_error(truth, found),
        "max_error": oracle.max_error(truth, found),
        "pinball_0.1": oracle.mean_pinball_loss(truth, found, alpha=0.1),
        "pinball_0.75": oracle.mean_pinball_loss(truth, found, alpha=0.75),
        "pearson": stats.pearsonr(truth, found).statistic,
        "spearman": stats.spearmanr(truth, found).statistic,
        "slope": stats.linregress(found, truth).slope,
        "intercept": stats.linregress(found, truth).intercept,
        "kolmogorov_smirnov": stats.ks_2samp(truth, found).statistic,
        "residual_skewness": stats.skew(found - truth),
        "residual_kurtosis": stats.kurtosis(found - truth, fisher=False),
    }
    scores = measure_numbers(truth, found)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=1e-10)


def test_order_and_concordance_are_those_of_torchmetrics() -> None:
    truth, found = (torch.tensor(each) for each in predicted())
    scores = measure_numbers(truth.numpy(), found.numpy())
    tau = kendall_rank_corrcoef(found, truth)
    assert isinstance(tau, torch.Tensor)
    assert scores["kendall_tau"] == pytest.approx(tau.item())
    # torchmetrics divides by n - 1 where the definition (Lin 1989) divides by n
    assert scores["concordance"] == pytest.approx(
        concordance_corrcoef(found, truth).item(), rel=1e-2
    )


def test_numbers_have_at_least_sixty_metrics() -> None:
    scores = measure_numbers(*predicted())
    tenths = sum(len(values) for values in scores["per_tenth"].values())
    assert sum(isinstance(value, float) for value in scores.values()) + tenths >= 60


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_or_equal_numbers_give_finite_metrics_or_none(n: int) -> None:
    scores = measure_numbers(np.ones(n), np.full(n, 2.0))
    assert scores["r2"] is None
    assert scores["mae"] == 1.0
    json.dumps(scores, allow_nan=False)


def test_naming_the_mean_explains_nothing() -> None:
    truth, _ = predicted(100)
    split = Split(np.repeat([0, 2], 50).astype(np.int8))
    control = mean_control(truth, split)
    assert -0.1 < control["r2"] <= 0
    assert control["mae"] == pytest.approx(np.abs(truth[50:] - truth[:50].mean()).mean())
