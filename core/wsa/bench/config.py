"""Every knob of `wsa bench`, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from wsa.errors import WsaError, need, unknown
from wsa.layers import VIEWS

DTYPES = ("fp32", "fp16", "bf16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """What is compared, on what; empty and None mean: what each case says itself."""

    names: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ("fp32",)
    adapters: int | None = None
    device: str = "auto"
    threads: int = 1
    seconds: float = 0.3  # of rounds for each contender; three rounds at least

    def __post_init__(self) -> None:
        for kind, found, known in (
            ("view", self.views, VIEWS),
            ("dtype", self.dtypes, DTYPES),
            ("device", (self.device,), DEVICES),
        ):
            for each in found:
                if each not in known:
                    raise unknown(kind, each, known)
        need(bool(self.dtypes), "--dtype", "at least one name", "none")
        need(self.adapters is None or self.adapters >= 1, "--adapters", "1 or more", self.adapters)
        need(all(rank >= 1 for rank in self.ranks), "--rank", "1 or more", self.ranks)
        need(self.threads >= 1, "--threads", "1 or more", self.threads)
        need(0 < self.seconds < float("inf"), "--seconds", "above 0", self.seconds)


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Split `1,4,16`; raises WsaError for what is no whole number."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise WsaError(f"{option} needs whole numbers with commas; got {text!r}")
    return tuple(int(part) for part in parts)
