"""Agreement: a contender's answer held against the truth; who disagrees is not timed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from wsa.case import Answer
from wsa.errors import PluginFailure


class Disagreement(PluginFailure):
    """A contender found something else than the truth, or not all of it."""


def greatest_error(found: Any, truth: Answer, tolerance: Mapping[str, float]) -> float:
    """Return the greatest error, relative to the greatest true value of its name.

    Raises Disagreement for a name missing or unknown, another shape, a value that is not finite,
    and an error above the tolerance.
    """
    if not isinstance(found, Mapping):
        raise Disagreement(f"needed tensors by name, got {type(found).__name__}")
    if found.keys() != truth.keys():
        missing, strange = truth.keys() - found.keys(), found.keys() - truth.keys()
        raise Disagreement(f"names missing: {_listed(missing)}; unknown: {_listed(strange)}")
    errors = {name: _error(name, found[name], truth[name]) for name in truth}
    for name, error in errors.items():
        allowed = tolerance.get(name, tolerance.get("", 0.0))
        if error > allowed:
            raise Disagreement(
                f"{name} is off by {error:.2g} of its greatest true value; {allowed:.2g} is allowed"
            )
    return max(errors.values(), default=0.0)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _error(name: str, found: Tensor, truth: Tensor) -> float:
    if not isinstance(found, Tensor) or found.shape != truth.shape:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise Disagreement(f"{name} needs shape {list(truth.shape)}, got {shape}")
    exact, values = truth.double(), found.to(truth.device).double()
    for whose, numbers in (("the truth of ", exact), ("", values)):
        bad = int((~torch.isfinite(numbers)).sum())
        if bad:
            raise Disagreement(f"{whose}{name} has {bad} values that are not finite")
    if not exact.numel():
        return 0.0
    off, scale = float((values - exact).abs().max()), float(exact.abs().max())
    return off / scale if scale else off
