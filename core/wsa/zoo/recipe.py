"""Recipe: everything that decides the bytes of a zoo, and the names of those made on first use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from wsa.errors import WsaError, need, unknown
from wsa.storage import digest, to_json

KINDS = ("digits", "mlp")
# Part of every recipe: raise it when the same recipe gives other numbers.
ZOO_VERSION = 1

MAX_RANK = 16
CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Identified:
    """What every recipe has: an identity, and a digest of it."""

    kind: str
    n: int

    def identity(self) -> dict[str, Any]:
        """Return the recipe as JSON, zoo version included: equal identities give equal bytes."""
        return asdict(self) | {"zoo_version": ZOO_VERSION}  # type: ignore[call-overload, no-any-return]

    def digest(self) -> str:
        """Return the 32 hexadecimal digits a zoo is kept under."""
        return digest(to_json(self.identity()).encode())


@dataclass(frozen=True)
class Recipe(Identified):
    """What to train: N adapters of one base model, and for how long."""

    kind: str = "digits"
    n: int = 400
    rank: int = 1
    seed: int = 0
    shared_init: bool = False
    classes: int = 10
    steps: int = 30
    base_steps: int = 300

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind of zoo", self.kind, KINDS)
        need(1 <= self.rank <= MAX_RANK, "--rank", f"1 to {MAX_RANK}", self.rank)
        most = len(CLASS_NAMES)
        need(1 <= self.classes <= most, "--classes", f"1 to {most}", self.classes)
        for field in ("n", "steps", "base_steps"):
            need(getattr(self, field) >= 1, f"--{field}", "at least 1", getattr(self, field))
        if self.n < self.classes:
            raise WsaError(
                f"a zoo of {self.classes} classes needs at least as many adapters, got n="
                f"{self.n}; raise n or lower classes"
            )


@dataclass(frozen=True)
class MlpRecipe(Identified):
    """What to train: N small classifiers of digits from scratch, for at most so many steps."""

    kind: str = "mlp"
    n: int = 3000
    seed: int = 0
    steps: int = 300

    def __post_init__(self) -> None:
        if self.kind != "mlp":
            raise unknown("kind of zoo", self.kind, KINDS)
        for field in ("n", "steps"):
            need(getattr(self, field) >= 1, f"--{field}", "at least 1", getattr(self, field))


NAMED: dict[str, Recipe | MlpRecipe] = {
    "digits": Recipe(),
    "mlp": MlpRecipe(),
    "sanity-check": Recipe(n=20, classes=2, steps=20, base_steps=100),
}
