"""The oracle of the presets: the features of published work on weight spaces."""

from __future__ import annotations

import numpy as np
from tests.plugins.oracle_entries import percentiles, shape
from tests.plugins.subject import Array, Expected, Features, Subject

TOKEN = 64


def unterthiner(subject: Subject) -> Features:
    return centre(subject) | percentiles(subject, (0, 25, 50, 75, 100))


def statnn(subject: Subject) -> Features:
    skewness = {"skewness": shape(subject)["skewness"]}
    return centre(subject) | skewness | percentiles(subject, (1, 25, 50, 75, 99))


def centre(subject: Subject) -> Features:
    mean, size = float(subject.flat.mean()), float(np.abs(subject.flat).max())
    return {
        "mean": Expected(mean, 1e-6, 1e-6 * size),
        "variance": Expected(subject.std**2, 4e-6, 1e-12 * size**2),
    }


def sane_s(subject: Subject) -> Features:
    tokens = np.array([token for row in subject.entries for token in pieces(row)])
    size = float(np.abs(tokens).max())
    found = {
        "mean": tokens.mean(1),
        "std": tokens.std(1),
        "norm": np.linalg.norm(tokens, axis=1),
    }
    return {
        f"token_{name}_{over}": Expected(value, 1e-5, 4e-6 * size * TOKEN**0.5)
        for name, values in found.items()
        for over, value in spread(values).items()
    }


def pieces(row: Array) -> list[Array]:
    width = min(TOKEN, len(row))
    filled = np.append(row, np.zeros(-len(row) % width))
    return np.split(filled, len(filled) // width)


def spread(values: Array) -> dict[str, float]:
    names = ("min", "q25", "median", "q75", "max")
    steps = np.quantile(values, np.linspace(0, 1, 5))
    quartiles = {name: float(step) for name, step in zip(names, steps, strict=True)}
    return {"mean": float(values.mean()), "std": float(values.std())} | quartiles
