"""Digits: from a recipe to a saved zoo; the only place that knows the order of the work."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from wsa.zoo.folder import staged, write
from wsa.zoo.images import load
from wsa.zoo.plan import plan
from wsa.zoo.pretraining import pretrain, weights_digest
from wsa.zoo.table import table
from wsa.zoo.training import one_thread_each, train_all

if TYPE_CHECKING:
    from pathlib import Path

    from wsa.zoo.recipe import Recipe


def grow(recipe: Recipe, destination: Path) -> None:
    """Train the base model, then its adapters, and save them with the record of how."""
    images = load()
    with staged(destination) as partial, one_thread_each() as workers:
        net = pretrain(images, recipe.base_steps, recipe.seed)
        plans = plan(recipe, images)
        trained = train_all(net, images, plans, recipe, workers)
        record = {
            "recipe": recipe.identity(),
            "base_digest": weights_digest(net),
            "wsa_version": version("wsa"),
        }
        write(table(recipe, plans, trained), record, partial)
