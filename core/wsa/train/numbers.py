"""What predicted numbers are worth, for one split; finite numbers or None, never NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.train.metrics import finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsa.train.split import Split

    Numbers = NDArray[np.float64]

TENTHS = 10
RESIDUALS = (5, 25, 50, 75, 95)  # per cent
ERRORS = (50, 75, 90, 95, 99)
PINBALLS = (0.1, 0.25, 0.5, 0.75, 0.9)
NEAR = (0.05, 0.1, 0.25, 0.5)  # of a standard deviation of the truth


def measure_numbers(truth: Numbers, found: Numbers) -> dict[str, Any]:
    """Score [n] predictions against [n] true numbers."""
    residual = found - truth
    scores = {
        "adapters": float(len(truth)),
        **_errors(truth, residual),
        **_agreement(truth, found),
        **_residuals(residual),
        **_distributions(truth, found),
    }
    return finite(scores) | {"per_tenth": _tenths(truth, residual)}


def _errors(truth: Numbers, residual: Numbers) -> dict[str, float]:
    """Return the sizes of the errors, and beside those of the mean and of the median."""
    size, square = np.abs(residual), np.square(residual)
    spread, reach = truth.std(), np.ptp(truth)
    plain = np.abs(truth - np.median(truth)).mean()
    mse, mae, rmse = square.mean(), size.mean(), float(np.sqrt(square.mean()))
    return {
        "r2": _one_less(mse, spread**2),
        "explained_variance": _one_less(residual.var(), spread**2),
        "d2_absolute_error": _one_less(mae, plain),
        "mse": mse,
        "rmse": rmse,
        "mae": mae,
        "median_absolute_error": float(np.median(size)),
        "max_error": size.max(),
        "rmse_of_std": rmse / spread if spread else np.nan,
        "mae_of_std": mae / spread if spread else np.nan,
        "rmse_of_range": rmse / reach if reach else np.nan,
        "mae_of_range": mae / reach if reach else np.nan,
        **{f"near_{part:g}_std": float((size <= part * spread).mean()) for part in NEAR},
        **{f"absolute_error_q{q}": float(np.percentile(size, q)) for q in ERRORS},
        **{f"pinball_{q:g}": _pinball(-residual, q) for q in PINBALLS},
    }


def _one_less(error: float, plain: float) -> float:
    return 1 - float(error) / float(plain) if plain else np.nan


def _pinball(short: Numbers, quantile: float) -> float:
    return float(np.maximum(quantile * short, (quantile - 1) * short).mean())


def _agreement(truth: Numbers, found: Numbers) -> dict[str, float]:
    """Return how far predictions go with the truth: in value, in order, and along a line."""
    from scipy import stats

    names = ("kendall_tau", "spearman", "pearson", "slope", "intercept", "concordance")
    if not np.ptp(truth) or not np.ptp(found):
        return dict.fromkeys(names, np.nan)
    covariance = float(np.cov(truth, found, ddof=0)[0, 1])
    slope = covariance / found.var()
    apart = (truth.mean() - found.mean()) ** 2
    concordance = 2 * covariance / (truth.var() + found.var() + apart)
    return {
        "kendall_tau": float(stats.kendalltau(truth, found).statistic),
        "spearman": float(stats.spearmanr(truth, found).statistic),
        "pearson": float(np.corrcoef(truth, found)[0, 1]),
        "slope": slope,
        "intercept": float(truth.mean() - slope * found.mean()),
        "concordance": concordance,
    }


def _residuals(residual: Numbers) -> dict[str, float]:
    """Return where the residuals lie and how they are spread."""
    std = residual.std()
    scaled = (residual - residual.mean()) / std if std else np.zeros(len(residual))
    return {
        "bias": residual.mean(),
        "residual_std": std,
        "residual_skewness": float((scaled**3).mean()),
        "residual_kurtosis": float((scaled**4).mean()),
        "overestimated": float((residual > 0).mean()),
        **{f"residual_q{q:02d}": float(np.percentile(residual, q)) for q in RESIDUALS},
    }


def _distributions(truth: Numbers, found: Numbers) -> dict[str, float]:
    """Return how predictions are spread beside the truth, and who is rightly among the best."""
    from scipy import stats

    best = max(1, len(truth) // TENTHS)
    top = [set(np.argsort(-each, kind="stable")[:best].tolist()) for each in (truth, found)]
    spread = truth.std()
    return {
        "prediction_mean": found.mean(),
        "prediction_std": found.std(),
        "truth_mean": truth.mean(),
        "truth_std": spread,
        "std_ratio": found.std() / spread if spread else np.nan,
        "wasserstein": float(stats.wasserstein_distance(truth, found)),
        "kolmogorov_smirnov": _farthest(truth, found),
        "best_tenth_found": len(top[0] & top[1]) / best,
    }


def _farthest(truth: Numbers, found: Numbers) -> float:
    """Return the greatest gap of the two distributions: the statistic of Kolmogorov-Smirnov."""
    both = np.concatenate([truth, found])
    shares = [
        np.searchsorted(np.sort(each), both, side="right") / len(each) for each in (truth, found)
    ]
    return float(np.abs(shares[0] - shares[1]).max())


def _tenths(truth: Numbers, residual: Numbers) -> dict[str, list[float | None]]:
    """Return bias and mean absolute error of each tenth of the adapters, the lowest truth first."""
    parts = np.array_split(residual[np.argsort(truth, kind="stable")], TENTHS)
    bias = [float(part.mean()) if len(part) else None for part in parts]
    return {"bias": bias, "mae": [float(np.abs(p).mean()) if len(p) else None for p in parts]}


def mean_control(values: Numbers, split: Split) -> dict[str, float]:
    """Return the test errors of always naming the mean of the training labels."""
    residual = values[split.train].mean() - values[split.test]
    spread = values[split.test].var()
    return {
        "r2": _one_less(np.square(residual).mean(), spread) if spread else 0.0,
        "mae": float(np.abs(residual).mean()),
        "rmse": float(np.sqrt(np.square(residual).mean())),
    }
