"""What a representation says of a population, held against the oracle column by column."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from tests.plugins.oracle import REPRESENTATIONS

if TYPE_CHECKING:
    from tests.plugins.populations import Population
    from tests.plugins.subject import Array, Features

    from wsa.representation import Composite, Representation


@lru_cache
def offered(name: str) -> Representation | Composite:
    """Return what the plugin of this name offers."""
    (found,) = import_module(f"wsa_plugins.{name}").wsa_representations()
    result: Representation | Composite = found
    return result


def representation(name: str) -> Representation:
    """Return the representation of this name, which extracts features itself."""
    found = offered(name)
    assert not hasattr(found, "parts"), f"{name} is put together from others"
    return found


def extracted(name: str, population: Population, view: str) -> Array:
    """Return a representation's features of a population, [N, C]."""
    found = representation(name).extract(population.batch(view))
    return np.asarray(found.double().numpy())


def disagreements(name: str, population: Population, view: str) -> list[str]:
    """List the features that are further from the oracle's than they may be, worst first."""
    layers = population.catalogue.layers(view)
    columns = [column.name for column in representation(name).columns(layers)]
    rows = [oracle_row(name, population, adapter, view) for adapter in range(len(population))]
    if columns != list(rows[0]):
        return [f"columns are {columns[:60]}..., not {list(rows[0])[:60]}..."]
    found = extracted(name, population, view)
    expected = np.array([[feature.value for feature in row.values()] for row in rows])
    allowed = allowance(expected, rows)
    excess = np.where(np.isfinite(found), np.abs(found - expected), np.inf)
    excess = np.where(excess <= allowed, 0, excess / np.maximum(allowed, 1e-300))
    worst = np.argsort(excess, axis=None)[::-1][: np.count_nonzero(excess)]
    places = zip(*np.unravel_index(worst, excess.shape), strict=True)
    return [
        f"{population.adapters[n]}: {columns[c]} is {found[n, c]:.9g}, "
        f"expected {expected[n, c]:.9g} +- {allowed[n, c]:.2g}"
        for n, c in places
    ]


def oracle_row(name: str, population: Population, adapter: int, view: str) -> Features:
    """Return what the oracle expects of one adapter, by column name."""
    row: Features = {}
    for number, layer in enumerate(population.catalogue.layers(view)):
        features = REPRESENTATIONS[name](population.subject(adapter, number, view))
        row |= {f"{layer.name}/{feature}": value for feature, value in features.items()}
    return row


def allowance(expected: Array, rows: list[Features]) -> Array:
    """Return the error allowed: a share of the column's scale over the population, and slack."""
    scale = np.maximum(np.abs(expected).max(axis=0), expected.std(axis=0))
    relative = np.array([[feature.relative for feature in row.values()] for row in rows])
    slack = np.array([[feature.absolute for feature in row.values()] for row in rows])
    return np.asarray(relative * scale + slack)
