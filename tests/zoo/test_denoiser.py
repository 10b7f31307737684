from __future__ import annotations

import torch

from wsa.zoo.denoiser import NO_CLASS, Denoiser, blend, levels, new_denoiser


def test_a_new_denoiser_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, two = (new_denoiser(torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for weight, same in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(weight, same)
        assert torch.isfinite(weight).all()


def test_the_guess_depends_on_the_prompt_and_on_the_noise_level(net: Denoiser) -> None:
    noisy = torch.randn(1, 16, 4, generator=torch.Generator().manual_seed(1)).expand(3, 16, 4)
    level, label = torch.tensor([0.3, 0.3, 0.9]), torch.tensor([4, NO_CLASS, 4])
    guess = net(noisy, level, label)
    assert guess.shape == noisy.shape
    assert not torch.allclose(guess[0], guess[1])
    assert not torch.allclose(guess[0], guess[2])


def test_level_zero_is_the_digit_and_level_one_is_noise() -> None:
    clean, noise = torch.full((2, 16, 4), -1.0), torch.full((2, 16, 4), 3.0)
    mixed = blend(clean, noise, torch.tensor([0.0, 1.0]))
    assert torch.equal(mixed[0], clean[0])
    assert torch.equal(mixed[1], noise[1])


def test_every_step_has_a_level_in_each_part_of_the_range() -> None:
    drawn = levels(8, 0.2, torch.Generator().manual_seed(0), steps=50)
    assert torch.equal(((drawn - 0.2) / 0.1).floor(), torch.arange(8.0).expand(50, 8))
