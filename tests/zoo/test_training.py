from __future__ import annotations

import pytest
import torch

from wsa.zoo import Recipe
from wsa.zoo.adapters import train
from wsa.zoo.denoiser import Denoiser
from wsa.zoo.images import Images
from wsa.zoo.plan import plan
from wsa.zoo.training import one_thread_each, train_all

RECIPE = Recipe(n=10, steps=2)


def test_workers_do_not_change_a_byte(
    net: Denoiser, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.zoo.training.CHUNK", 3)
    one, many = (
        train_all(net, images, plan(RECIPE, images), RECIPE, workers) for workers in (1, 4)
    )
    assert one.losses.shape == (10, 2)
    assert torch.equal(one.losses, many.losses)
    assert all(torch.equal(weight, many.weights[name]) for name, weight in one.weights.items())


def test_adapters_stay_in_the_order_of_their_plans(
    net: Denoiser, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.zoo.training.CHUNK", 3)
    plans = plan(RECIPE, images)
    parted = train_all(net, images, plans, RECIPE, workers=2).weights
    whole = train(net, images, plans, RECIPE.rank, RECIPE.steps, None).weights
    for name, weight in whole.items():
        torch.testing.assert_close(parted[name], weight, rtol=0, atol=1e-5)


def test_the_number_of_threads_is_given_back() -> None:
    torch.set_num_threads(2)
    with pytest.raises(KeyError), one_thread_each() as workers:
        assert (workers, torch.get_num_threads()) == (2, 1)
        raise KeyError
    assert torch.get_num_threads() == 2


def test_a_failing_chunk_ends_the_work(
    net: Denoiser, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ArithmeticError("no gradient")

    monkeypatch.setattr("wsa.zoo.training.train", fail)
    with pytest.raises(ArithmeticError, match="no gradient"):
        train_all(net, images, plan(RECIPE, images), RECIPE, workers=2)
