"""Ensemble: five representations side by side, read from the cache and never recomputed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsa import Composite, hookimpl

if TYPE_CHECKING:
    from wsa import Representation

PARTS = ("spectral", "matrix_norms", "distribution", "frequency", "info_theoretic")


@hookimpl
def wsa_representations() -> list[Representation | Composite]:
    """Offer one composite."""
    return [Composite("ensemble", 1, PARTS)]
