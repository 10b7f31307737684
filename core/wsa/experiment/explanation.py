"""Explain: whether a run's representations would be found in the cache, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsa.cache import Cache
from wsa.errors import PluginFailure, WsaError, differences
from wsa.experiment.config import RunConfig
from wsa.experiment.folder import RunFolder
from wsa.experiment.preparation import prepare_extraction
from wsa.extraction import Extraction, Request


def explain(run: Path, cache_dir: Path | None) -> list[dict[str, Any]]:
    """Return, for every representation of a run, how many shards would hit and why others miss."""
    config = replace(stored_config(run), cache_dir=cache_dir)
    extraction, _, _ = prepare_extraction(config)
    store = extraction.store
    assert isinstance(store, Cache)
    records = [record["inputs"] for _, record in store.records()]
    return [_row(extraction, request, records) for request in extraction.computable()]


def stored_config(run: Path) -> RunConfig:
    """Read back the configuration of a run folder; raises WsaError where there is none."""
    stored = RunFolder(run).stored_config()
    if stored is None:
        raise WsaError(f"{run} is no run folder; needed one that wsa run has written")
    return RunConfig.from_json(stored)


def _row(extraction: Extraction, request: Request, records: list[dict[str, Any]]) -> dict[str, Any]:
    try:
        reasons = list(_misses(extraction, request, records))
    except PluginFailure as problem:
        reasons = [str(problem)] * len(extraction.population.ranges())
    shards = len(extraction.population.ranges())
    return {
        "representation": request.offer.name,
        "view": request.view,
        "shards": shards,
        "hits": shards - len(reasons),
        "reason": reasons[0] if reasons else None,
    }


def _misses(
    extraction: Extraction, request: Request, records: list[dict[str, Any]]
) -> Iterator[str]:
    for span in extraction.population.ranges():
        identity = extraction.memo.recall(*span) if extraction.memo else None
        if identity is None:
            yield f"adapters {span[0]} to {span[1]}: their files are new or have changed"
        elif not extraction.store.has(extraction.key(request, span, identity)):
            yield _nearest(extraction.key_inputs(request, span, identity), records)


def _nearest(inputs: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """Say in which inputs the most similar entry differs."""
    same = [r for r in records if r["representation"] == inputs["representation"]]
    if not same:
        return f"no entry of {inputs['representation']!r} was ever committed"
    nearest = min((differences(record, inputs) for record in same), key=len)
    return f"the nearest entry differs in {'; '.join(nearest)}"
