"""Speed comparisons that ship with wsa, registered like a stranger's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsa import hookimpl

if TYPE_CHECKING:
    from wsa import Case


@hookimpl
def wsa_bench_cases() -> list[Case]:
    """Offer one case a kernel."""
    return []
