"""Session: the checks of everything an installed plugin offers, in a process of their own.

`wsa.checking` starts it and says what became of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from wsa import registry
from wsa.cache import keep_compiled_code
from wsa.child import Message, answering
from wsa.conformance.probe import Probe, taken
from wsa.conformance.run import check_one, checks_of
from wsa.errors import EnvironmentProblem, WsaError, unknown
from wsa.layers import VIEWS
from wsa.registry import Offer
from wsa.representation import Composite, Representation

Send = Callable[[Message], None]


def serve(asked: dict[str, Any], send: Send) -> None:
    """Send a line before each check and a verdict after it, and at last whether all were made."""
    send({"kind": "started"})
    try:
        _checked(**asked, send=send)
    except WsaError as problem:
        send({"kind": "problem", "text": str(problem), "exit_code": problem.exit_code})
    else:
        send({"kind": "done"})


def _checked(word: str, dataset: str | None, views: Sequence[str], device: str, send: Send) -> None:
    """Check what a plugin offers, by representation; raises WsaError for bad input.

    A composite has nothing of its own to check: its parts are checked by their own names.
    """
    for view in views:
        if view not in VIEWS:
            raise unknown("view", view, VIEWS)
    probe = taken(dataset) if dataset else None
    place = _device(device)
    keep_compiled_code()
    send({"kind": "started"})  # a data set's time is not the plugin's
    for plugin in registry.named([word]):
        for offer in registry.load(plugin):
            if not isinstance(offer.representation, Composite):
                _check(offer, offer.representation, probe, views, place, send)


def _check(
    offer: Offer,
    found: Representation,
    probe: Probe | None,
    views: Sequence[str],
    device: str,
    send: Send,
) -> None:
    for check, view in checks_of(found):
        if not views or view in views:
            about = {"representation": offer.name, "check": check, "view": view}
            send({"kind": "begun", "row": about})
            verdict = check_one(found, check, view, probe, device)
            send({"kind": "verdict", "row": about | asdict(verdict)})


def _device(name: str) -> str:
    import torch

    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise EnvironmentProblem("--device cuda needs a CUDA device; none found: use --device cpu")
    return ("cuda" if found else "cpu") if name == "auto" else name


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), answering()[1])
