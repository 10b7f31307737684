from __future__ import annotations

import pytest
import torch

from wsa.zoo import Recipe
from wsa.zoo.denoiser import Denoiser
from wsa.zoo.images import Images
from wsa.zoo.plan import plan
from wsa.zoo.training import one_thread_each, train_all

RECIPE = Recipe(n=10, steps=2)


def test_chunks_and_workers_do_not_change_a_byte(
    net: Denoiser, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = plan(RECIPE, images)
    whole = train_all(net, images, plans, RECIPE, workers=1)
    monkeypatch.setattr("wsa.zoo.training.CHUNK", 3)
    parted = train_all(net, images, plans, RECIPE, workers=3)
    assert torch.equal(whole.losses, parted.losses)
    assert all(torch.equal(weight, parted.weights[name]) for name, weight in whole.weights.items())


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
