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
#: Marks a function of a plugin's module as the implementation of the hook of its name.
hookimpl = pluggy.HookimplMarker("wsa")


@hookspec
def wsa_representations() -> list[Representation | Composite]:
    """Offer representations; entry-point group `wsa`.

    Called once, when the plugin is asked for by name; the list must not be empty.
    """
    return []


@hookspec
def wsa_bench_cases() -> list[Case]:
    """Offer cases for `wsa bench`; entry-point group `wsa.bench`.

    Called once, whenever cases are listed or timed; the list must not be empty.
    """
    return []
