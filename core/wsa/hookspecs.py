"""Every hook a plugin may implement, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from wsa.case import Case
    from wsa.representation import Composite, Representation

# A plugin's module may say `wsa_api_version = 1`; raised when these hooks or the protocols change.
API_VERSION = 1

hookspec = pluggy.HookspecMarker("wsa")
hookimpl = pluggy.HookimplMarker("wsa")


@hookspec
def wsa_representations() -> list[Representation | Composite]:
    """Offer representations; entry-point group `wsa`."""
    return []


@hookspec
def wsa_bench_cases() -> list[Case]:
    """Offer cases for `wsa bench`; entry-point group `wsa.bench`."""
    return []
