"""Zoos: populations that wsa trains itself, made on first use and kept."""

from __future__ import annotations

from pathlib import Path

from wsa.errors import unknown
from wsa.progress import say
from wsa.storage import private_directory
from wsa.zoo.folder import alone, holds
from wsa.zoo.recipe import NAMED, MlpRecipe, Recipe

__all__ = ["NAMED", "MlpRecipe", "Recipe", "cached", "make"]


def make(recipe: Recipe | MlpRecipe, destination: Path) -> Path:
    """Train a zoo and save it as a `datasets` folder; one that is there already is kept.

    Raises WsaError where the destination holds anything else.
    """
    destination = Path(destination)
    if not holds(destination, recipe):
        _grow(recipe, destination)
    return destination


def cached(wanted: str | Recipe | MlpRecipe) -> Path:
    """Return the folder of a zoo in the user's cache, made on first use.

    Two processes that ask at once wait for one of them to make it.
    """
    from platformdirs import user_cache_path

    recipe = _named(wanted) if isinstance(wanted, str) else wanted
    shelf = private_directory(user_cache_path("wsa") / "zoo")
    destination = shelf / recipe.digest()
    if holds(destination, recipe):
        return destination
    with alone(destination):
        if not holds(destination, recipe):
            name = wanted if isinstance(wanted, str) else recipe.kind
            say(f"training the zoo {name!r}, {recipe.n} of them, once: kept in {destination}")
            make(recipe, destination)
    return destination


def _grow(recipe: Recipe | MlpRecipe, destination: Path) -> None:
    if isinstance(recipe, MlpRecipe):
        from wsa.zoo import mlp

        mlp.grow(recipe, destination)
    else:
        from wsa.zoo import digits

        digits.grow(recipe, destination)


def _named(name: str) -> Recipe | MlpRecipe:
    if name not in NAMED:
        raise unknown("zoo", name, NAMED)
    return NAMED[name]
