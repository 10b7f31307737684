"""Purity: an answer depends on the batch alone, and nothing but the answer is left behind."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch

from wsa.conformance.breach import refuse, refuse_difference
from wsa.conformance.probe import drawn
from wsa.conformance.subject import Subject


def input_is_not_written(subject: Subject) -> str:
    """Weights, scales and shared intermediates are as they were."""
    batch = subject.probe.batch(subject.view, subject.device)
    flat, scale = batch.flat.clone(), batch.scale.clone()
    subject.representation.extract(batch)
    written = int((batch.flat != flat).sum() + (batch.scale != scale).sum())
    refuse(written > 0, "an input nobody writes to", f"{written} entries with other values")
    refuse(not batch.intact(), "an input nobody writes to", "a write to what others share")
    return ""


def second_call_gives_the_same_bytes(subject: Subject) -> str:
    """The same batch again, another one between, gives the same bytes."""
    first = subject.features(subject.probe)
    subject.features(drawn(adapters=2, rank=1))
    second = subject.features(subject.probe)
    refuse_difference(second, first, subject.columns(), "on a second call")
    return ""


def nothing_is_printed(subject: Subject) -> str:
    """Standard output, where results go, stays empty."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        batch = subject.probe.batch(subject.view, subject.device)
        subject.representation.columns(batch.layers)
        subject.representation.extract(batch)
    text = printed.getvalue()
    refuse(bool(text), "silence on standard output", repr(text[:60]))
    return ""


def torch_is_left_as_it_was(subject: Subject) -> str:
    """Random state, default dtype, threads and gradient mode are as they were."""
    before = _state()
    try:
        subject.features(subject.probe)
        after = _state()
    finally:
        _restore(before)
    for name, value in before.items():
        told = "as it was" if name == "random state" else value
        now = "another" if name == "random state" else after[name]
        refuse(not _equal(value, after[name]), f"torch's {name} {told}", now)
    return ""


def _state() -> dict[str, Any]:
    return {
        "random state": torch.get_rng_state(),
        "default dtype": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "gradient mode": torch.is_grad_enabled(),
        "deterministic mode": torch.are_deterministic_algorithms_enabled(),
    }


def _restore(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["random state"])
    torch.set_default_dtype(state["default dtype"])
    torch.set_num_threads(state["number of threads"])
    torch.set_grad_enabled(state["gradient mode"])
    torch.use_deterministic_algorithms(state["deterministic mode"])


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
