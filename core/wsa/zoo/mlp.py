"""The zoo `mlp`: from a recipe to a saved population of small classifiers."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pyarrow as pa

from wsa.zoo.classifiers import ACTIVATIONS, draw_knobs, load_digits, train_classifiers
from wsa.zoo.folder import staged, write
from wsa.zoo.table import nested
from wsa.zoo.training import one_thread_each

if TYPE_CHECKING:
    from pathlib import Path

    from wsa.zoo.classifiers import Classifiers, Knobs
    from wsa.zoo.recipe import MlpRecipe


def grow(recipe: MlpRecipe, destination: Path) -> None:
    """Train the classifiers and save them with the record of how."""
    with staged(destination) as partial, one_thread_each() as workers:
        knobs = draw_knobs(recipe)
        trained = train_classifiers(recipe, knobs, load_digits(), workers)
        record = {"recipe": recipe.identity(), "wsa_version": version("wsa")}
        write(table(knobs, trained), record, partial)


def table(knobs: Knobs, trained: Classifiers) -> pa.Table:
    """Return one row per network: its matrices [out, in], biases as 1 x n, and its labels."""
    columns = {}
    for name, weight in trained.weights.items():
        matrices = weight.mT if name.endswith("bias") else weight
        columns[name] = nested(matrices.contiguous().numpy())
    floats = {
        "test_accuracy": trained.test_accuracy,
        "test_loss": trained.test_loss,
        "train_accuracy": trained.train_accuracy,
        "learning_rate": knobs.learning_rate,
        "init_scale": knobs.init_scale,
        "weight_decay": knobs.weight_decay,
        "train_fraction": knobs.train_fraction,
    }
    columns |= {name: pa.array(values.double().numpy()) for name, values in floats.items()}
    columns["steps"] = pa.array(knobs.steps.numpy())
    columns["activation"] = pa.array([ACTIVATIONS[int(tanh)] for tanh in knobs.tanh])
    return pa.table(columns)
