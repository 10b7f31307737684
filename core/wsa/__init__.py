"""Weight-space analysis: what do trained weights know about how they were trained?

What a plugin author imports, and what a program calls instead of the command line.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsa.case import Case, Setting, Target
    from wsa.errors import WsaError
    from wsa.experiment import FeatureTable, RunConfig, compare, extract, run
    from wsa.hookspecs import hookimpl
    from wsa.layers import Layer, Layers
    from wsa.population.batch import Batch
    from wsa.representation import (
        Column,
        Composite,
        LayerwiseRepresentation,
        Representation,
        columns_of,
    )

__all__ = [
    "Batch",
    "Case",
    "Column",
    "Composite",
    "FeatureTable",
    "Layer",
    "Layers",
    "LayerwiseRepresentation",
    "Representation",
    "RunConfig",
    "Setting",
    "Target",
    "WsaError",
    "columns_of",
    "compare",
    "extract",
    "hookimpl",
    "run",
]

_HOMES = {
    "wsa.case": ["Case", "Setting", "Target"],
    "wsa.errors": ["WsaError"],
    "wsa.experiment": ["FeatureTable", "RunConfig", "compare", "extract", "run"],
    "wsa.hookspecs": ["hookimpl"],
    "wsa.layers": ["Layer", "Layers"],
    "wsa.population.batch": ["Batch"],
    "wsa.representation": [
        "Column",
        "Composite",
        "LayerwiseRepresentation",
        "Representation",
        "columns_of",
    ],
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `wsa --help` then needs no torch."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'wsa' has no attribute {name!r}")
