from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import mse_loss

from wsa.zoo import Recipe
from wsa.zoo.adapters import STACKS, Lessons, Trained, Weights, first_weights, lessons, train
from wsa.zoo.denoiser import NO_CLASS, Denoiser
from wsa.zoo.images import Images
from wsa.zoo.plan import Plan, plan

STEPS, RANK = 4, 2


def plans(images: Images, first: int, last: int) -> list[Plan]:
    return plan(Recipe(n=20), images)[first:last]


def fine_tune(
    net: Denoiser,
    images: Images,
    first: int,
    last: int,
    steps: int = STEPS,
    start: int | None = None,
) -> Trained:
    return train(net, images, plans(images, first, last), RANK, steps, start)


def prepared(images: Images, row: int) -> tuple[Weights, Lessons]:
    (adapter,) = plans(images, row, row + 1)
    draw = torch.Generator().manual_seed(adapter.seed)
    return first_weights(RANK, draw, None), lessons(adapter, images, STEPS, draw)


def adapted_error(net: Denoiser, factors: Weights, seen: Lessons, step: int) -> Tensor:
    weights: Weights = dict(net.named_parameters())
    for stack, sites in STACKS.items():
        for site, (block, projection) in enumerate(sites):
            name = f"blocks.{block}.{projection}.weight"
            update = factors[f"{stack}.up"][site] @ factors[f"{stack}.down"][site]
            weights[name] = weights[name] + update
    inputs = (seen.noisy[step], seen.level[step], torch.full(seen.level[step].shape, NO_CLASS))
    return mse_loss(functional_call(net, weights, inputs), seen.clean[step])


def test_an_adapter_does_not_depend_on_its_company(net: Denoiser, images: Images) -> None:
    together, alone = fine_tune(net, images, 0, 7), fine_tune(net, images, 3, 4)
    for name, weight in alone.weights.items():
        torch.testing.assert_close(weight[0], together.weights[name][3], rtol=0, atol=1e-5)
    torch.testing.assert_close(alone.losses[0], together.losses[3])


def test_updates_start_at_zero_so_the_first_error_is_the_base_models(
    net: Denoiser, images: Images
) -> None:
    losses = fine_tune(net, images, 0, 3).losses
    for row in range(3):
        _, seen = prepared(images, row)
        label = torch.full(seen.level[0].shape, NO_CLASS)
        wanted = mse_loss(net(seen.noisy[0], seen.level[0], label), seen.clean[0])
        torch.testing.assert_close(losses[row, 0], wanted)


def by_torch(net: Denoiser, images: Images, row: int) -> Weights:
    factors, seen = prepared(images, row)
    for factor in factors.values():
        factor.requires_grad_()
    optimizer = torch.optim.Adam(factors.values(), lr=plans(images, row, row + 1)[0].learning_rate)
    for step in range(STEPS):
        optimizer.zero_grad()
        adapted_error(net, factors, seen, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {name: factor.detach() for name, factor in factors.items()}


def test_each_adapter_agrees_with_torchs_own_adam_at_its_own_rate(
    net: Denoiser, images: Images
) -> None:
    rows = {adapter.learning_rate: row for row, adapter in enumerate(plans(images, 0, 20))}
    assert len(rows) == 3
    together = fine_tune(net, images, 0, 20).weights
    for row in rows.values():
        for name, wanted in by_torch(net, images, row).items():
            torch.testing.assert_close(together[name][row], wanted, rtol=0, atol=1e-4)


def test_every_factor_of_every_module_is_trained(net: Denoiser, images: Images) -> None:
    weights = fine_tune(net, images, 0, 3).weights
    for stack in STACKS:
        assert (weights[f"{stack}.up"].abs().amax((2, 3)) > 0).all()
        for row in range(3):
            start, _ = prepared(images, row)
            moved = weights[f"{stack}.down"][row] - start[f"{stack}.down"]
            assert (moved.abs().amax((1, 2)) > 0).all()


def test_starts_are_independent_unless_they_are_shared(net: Denoiser, images: Images) -> None:
    # B is zero at the first step, so A has no gradient yet
    own = fine_tune(net, images, 0, 2, steps=1).weights["image.down"]
    shared = fine_tune(net, images, 0, 2, steps=1, start=5).weights["image.down"]
    other = fine_tune(net, images, 0, 2, steps=1, start=6).weights["image.down"]
    assert not torch.allclose(own[0], own[1])
    assert torch.equal(shared[0], shared[1])
    assert not torch.allclose(shared, other)
