"""One random generator per purpose: neither order nor company changes what it draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsa.storage import digest

if TYPE_CHECKING:
    import torch


def own_seed(purpose: str, seed: int, part: int = 0) -> int:
    """Return the 60-bit seed of one purpose ("weights", "images", ...) and part of the work."""
    return int(digest(f"{purpose}/{seed}/{part}".encode())[:15], 16)


def generator(
    purpose: str, seed: int, part: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the generator of one purpose, seed and part: an epoch, or the row of an adapter."""
    import torch

    return torch.Generator(device).manual_seed(own_seed(purpose, seed, part))
