from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wsa.errors import WsaError
from wsa.zoo import NAMED, Recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "digit"},
            "no kind of zoo called 'digit'; known: digits, mlp; did you mean 'digits'",
        ),
        ({"n": 0}, "--n needs at least 1; got 0"),
        ({"rank": 0}, "--rank needs 1 to 16; got 0"),
        ({"rank": 17}, "--rank needs 1 to 16; got 17"),
        ({"classes": 0}, "--classes needs 1 to 10; got 0"),
        ({"classes": 11}, "--classes needs 1 to 10; got 11"),
        ({"n": 9}, "a zoo of 10 classes needs at least as many adapters, got n=9"),
        ({"steps": 0}, "--steps needs at least 1; got 0"),
        ({"base_steps": 0}, "--base_steps needs at least 1; got 0"),
    ],
    ids=str,
)
def test_a_recipe_that_cannot_be_trained_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(WsaError, match=message):
        Recipe(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 50},
        {"rank": 2},
        {"seed": 1},
        {"shared_init": True},
        {"classes": 5},
        {"steps": 7},
        {"base_steps": 7},
    ],
    ids=str,
)
def test_every_field_of_a_recipe_is_in_its_digest(change: dict[str, Any]) -> None:
    assert replace(Recipe(), **change).digest() != Recipe().digest()


def test_equal_recipes_have_equal_digests() -> None:
    assert Recipe().digest() == NAMED["digits"].digest()
    assert len(Recipe().digest()) == 32


def test_the_sanity_check_has_one_adapter_in_each_of_ten_groups_per_class() -> None:
    recipe = NAMED["sanity-check"]
    assert isinstance(recipe, Recipe)
    assert (recipe.n, recipe.classes) == (20, 2)
