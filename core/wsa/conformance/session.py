"""Session: the checks of everything an installed plugin offers, for `wsa plugins check`."""

from __future__ import annotations

from collections.abc import Sequence

from wsa import registry
from wsa.cache import keep_compiled_code
from wsa.conformance.probe import Probe, taken
from wsa.conformance.run import Verdict, check_one, checks_of
from wsa.errors import EnvironmentProblem, unknown
from wsa.layers import VIEWS
from wsa.representation import Composite, Representation

Found = list[tuple[str, Verdict]]


def plugin_verdicts(word: str, dataset: str | None, views: Sequence[str], device: str) -> Found:
    """Check what a plugin offers, by representation; raises WsaError for bad input.

    A composite has nothing of its own to check: its parts are checked by their own names.
    """
    for view in views:
        if view not in VIEWS:
            raise unknown("view", view, VIEWS)
    probe = taken(dataset) if dataset else None
    place = _device(device)
    keep_compiled_code()
    found: Found = []
    for plugin in registry.named([word]):
        for offer in registry.load(plugin):
            if not isinstance(offer.representation, Composite):
                found += _verdicts(offer.name, offer.representation, probe, views, place)
    return found


def _verdicts(
    name: str,
    representation: Representation,
    probe: Probe | None,
    views: Sequence[str],
    device: str,
) -> Found:
    return [
        (name, check_one(representation, check, view, probe, device))
        for check, view in checks_of(representation)
        if not views or view in views
    ]


def _device(name: str) -> str:
    import torch

    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise EnvironmentProblem("--device cuda needs a CUDA device; none found: use --device cpu")
    return ("cuda" if found else "cpu") if name == "auto" else name
