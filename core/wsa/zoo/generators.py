"""One random generator per purpose and adapter, so that neither order nor company matters."""

from __future__ import annotations

import torch

from wsa.storage import digest


def own_seed(seed: int, purpose: str, row: int = 0) -> int:
    """Return the 60-bit seed of one purpose ("images", "adapter", ...) and row of a zoo."""
    return int(digest(f"{purpose}/{seed}/{row}".encode())[:15], 16)


def generator(seed: int, purpose: str, row: int = 0) -> torch.Generator:
    """Return the generator of one purpose and row."""
    return torch.Generator().manual_seed(own_seed(seed, purpose, row))
