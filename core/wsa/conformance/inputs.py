"""Inputs: whatever a population may hold has finite features, in columns of one number."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from wsa.conformance.breach import Breach, refuse, refuse_difference
from wsa.conformance.probe import Probe, drawn
from wsa.conformance.subject import Subject
from wsa.errors import PluginFailure

RANKS = range(1, 9)
THIN = {"attn1.to_q": (1, 12), "attn1.to_k": (12, 1), "attn1.to_v": (1, 1)}
# of what a layer's features are with fp32 weights of the same values
HALF_TOLERANCE = 1e-4


def degenerate_layers_are_finite(subject: Subject) -> str:
    """Zero, constant, rank-deficient and one-entry layers, and 1 x n, have finite features."""
    for name, change in DEGENERATE.items():
        _finite(subject, drawn(adapters=2).changed(partial(_both, change)), name)
    _finite(subject, drawn(THIN, adapters=2, rank=1), "1 x n and n x 1")
    _finite(subject, drawn(THIN, adapters=2, rank=4), "1 x n of rank 4")
    return f"{len(DEGENERATE) + 2} kinds"


def every_rank_has_as_many_columns(subject: Subject) -> str:
    """Adapters of rank 1 to 8 have finite features, and as many of them."""
    expected = len(subject.columns(drawn(rank=1)))
    for rank in RANKS:
        probe = drawn(adapters=2, rank=rank)
        _finite(subject, probe, f"of rank {rank}")
        found = len(subject.columns(probe))
        refuse(found != expected, f"{expected} columns at rank {rank}, as at rank 1", found)
    return f"ranks {RANKS[0]} to {RANKS[-1]}"


def half_precision_is_upcast(subject: Subject) -> str:
    """Weights stored in fp16 or bf16 have the features of the same values in fp32."""
    for dtype in (torch.float16, torch.bfloat16):
        stored, name = subject.probe.to(dtype), str(dtype).removeprefix("torch.")
        expected = subject.features(stored.to(torch.float32))
        try:
            found = subject.features(stored)
        except PluginFailure as problem:
            raise Breach(f"expected features of {name} weights, got: {problem}") from problem
        when = f"with weights in {name}"
        refuse_difference(found, expected, subject.columns(), when, HALF_TOLERANCE)
    return "fp16, bf16"


def _finite(subject: Subject, probe: Probe, name: str) -> None:
    try:
        subject.features(probe)
    except PluginFailure as problem:
        raise Breach(f"expected finite features of layers that are {name}, got: {problem}") from (
            problem
        )


def _both(change: Callable[[Tensor], Tensor], up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    return change(up), change(down)


def _one_entry(values: Tensor) -> Tensor:
    single = torch.zeros_like(values)
    single[:, -1, 0] = 0.25
    return single


def _paired(values: Tensor) -> Tensor:
    return values[:, :1].expand_as(values).clone()


DEGENERATE: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "constant": lambda values: torch.full_like(values, 0.0625),
    "of one row, repeated": _paired,
    "zero but for one entry": _one_entry,
    "very small": lambda values: values * 2.0**-40,
}
