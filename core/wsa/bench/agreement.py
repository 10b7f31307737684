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


def refuse_hollow(truth: Any) -> None:
    """Raise Disagreement for a truth that nothing, or anything, would agree with."""
    if not isinstance(truth, Mapping) or not truth:
        raise Disagreement(f"the truth needs tensors by name, got {_told(truth)}")
    for name, values in truth.items():
        if not isinstance(values, Tensor) or not values.numel():
            raise Disagreement(f"the truth of {name} needs values, got {_told(values)}")
        _refuse_not_finite(f"the truth of {name}", values)


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
        # so written, an error or a tolerance that is NaN agrees with nothing
        if not error <= allowed:
            raise Disagreement(
                f"{name} is off by {error:.2g} of its greatest true value; {allowed:.2g} is allowed"
            )
    return max(errors.values(), default=0.0)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _error(name: str, found: Tensor, truth: Tensor) -> float:
    if not isinstance(found, Tensor) or found.shape != truth.shape:
        raise Disagreement(f"{name} needs shape {list(truth.shape)}, got {_told(found)}")
    exact, values = _real(truth), _real(found.to(truth.device))
    if exact.shape != values.shape:
        raise Disagreement(f"{name} needs {truth.dtype}, got {found.dtype}")
    _refuse_not_finite(name, values)
    off, scale = float((values - exact).abs().max()), float(exact.abs().max())
    return off / scale if scale else off


def _real(values: Tensor) -> Tensor:
    # cast as it is, a complex number loses its imaginary part
    return (torch.view_as_real(values) if values.is_complex() else values).double()


def _refuse_not_finite(whose: str, values: Tensor) -> None:
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise Disagreement(f"{whose} has {bad} values that are not finite")


def _told(found: Any) -> str:
    if isinstance(found, Tensor):
        return str(list(found.shape))
    return type(found).__name__ + (" of none" if found == {} else "")
