from __future__ import annotations

import pytest

from wsa.zoo.images import Images
from wsa.zoo.pretraining import pretrain, weights_digest


def test_the_base_model_learns_to_denoise_and_is_then_frozen(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[float] = []

    def advance(report: object, note: str) -> None:
        errors.append(float(note.split()[1]))

    monkeypatch.setattr("wsa.progress.Progress.advance", advance)
    net = pretrain(images, steps=60, seed=0)
    assert errors[0] > 0.8
    assert sum(errors[-5:]) / 5 < 0.4
    assert not any(weight.requires_grad for weight in net.parameters())


def test_the_seed_decides_the_base_model(images: Images) -> None:
    digests = [weights_digest(pretrain(images, steps=2, seed=seed)) for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]
