"""`wsa zoo`: populations that wsa trains itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

zoo = typer.Typer(no_args_is_help=True, help="Make really trained populations.")


@zoo.callback()
def _callback() -> None:
    """Make really trained populations."""


@zoo.command()
def make(
    kind: Annotated[str, typer.Argument(help="The zoo: digits or mlp.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    n: Annotated[
        int | None, typer.Option(help="How many. [digits: 400 adapters, mlp: 3000 networks]")
    ] = None,
    rank: Annotated[int, typer.Option(help="Their rank.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides everything that is drawn.")] = 0,
    classes: Annotated[int, typer.Option(help="Digit classes, from 0 up.")] = 10,
    shared_init: Annotated[
        bool, typer.Option("--shared-init", help="All adapters start from the same A.")
    ] = False,
) -> None:
    """Train N adapters of a small model, or N small models from scratch, and save them."""
    from wsa.zoo import MlpRecipe, Recipe, make

    if kind == MlpRecipe.kind:
        print(make(MlpRecipe(n=MlpRecipe.n if n is None else n, seed=seed), out))
        return
    n = Recipe.n if n is None else n
    recipe = Recipe(kind=kind, n=n, rank=rank, seed=seed, classes=classes, shared_init=shared_init)
    print(make(recipe, out))
