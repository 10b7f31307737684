"""The oracle: every feature of one layer of one adapter, in float64, with numpy and scipy alone.

Written from the formulas and from nothing that computes them elsewhere in this project. Each
feature comes with what an implementation may differ by.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.plugins.oracle_entries import (
    distribution,
    info_theoretic,
    rank_based,
    simple_stats,
    stats,
)
from tests.plugins.oracle_presets import sane_s, statnn, unterthiner
from tests.plugins.oracle_spectra import frequency, matrix_norms, profile, spectral
from tests.plugins.subject import Features, Subject

REPRESENTATIONS: dict[str, Callable[[Subject], Features]] = {
    "simple_stats": simple_stats,
    "stats": stats,
    "rank_based": rank_based,
    "spectral": spectral,
    "matrix_norms": matrix_norms,
    "distribution": distribution,
    "frequency": frequency,
    "info_theoretic": info_theoretic,
    "profile": profile,
    "unterthiner": unterthiner,
    "statnn": statnn,
    "sane_s": sane_s,
}
ENSEMBLE = ("spectral", "matrix_norms", "distribution", "frequency", "info_theoretic")
