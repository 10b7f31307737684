"""Speed comparisons that ship with wsa, registered like a stranger's."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from wsa import hookimpl

if TYPE_CHECKING:
    from wsa import Case


@hookimpl
def wsa_bench_cases() -> list[Case]:
    """Offer the cases of every file here."""
    from wsa_bench.contenders import KERNELS

    files = (*KERNELS, "representations", "peers", "train", "ingest", "e2e")
    return [case for file in files for case in import_module(f"wsa_bench.{file}").cases()]
