"""One random generator per purpose, derived from the seed and the epoch and from nothing else."""

from __future__ import annotations

import torch

from wsa.storage import digest


def generator(
    purpose: str, seed: int, epoch: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the generator of one purpose ("weights", "order", ...), seed and epoch.

    A resumed epoch and a seed trained alone draw the same numbers as in any other company.
    """
    key = digest(f"{purpose}/{seed}/{epoch}".encode())
    return torch.Generator(device).manual_seed(int(key[:15], 16))
