"""Base model: a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Guess:
    """What the base model probably is, and why."""

    name: str
    reason: str


def base_model(modules: Mapping[str, tuple[int, int]], metadata: Mapping[str, str]) -> Guess:
    """Guess."""
    return Guess("unknown", "nothing decides")
