"""Extraction: population x representations -> cache, each shard read once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wsa.cache import KEY_SCHEME, Cache, Store
from wsa.errors import PluginFailure
from wsa.isolation import Isolation
from wsa.population.batch import Batch
from wsa.population.identity import Identity, IdentityMemo
from wsa.progress import Progress, progress, say
from wsa.registry import Offer
from wsa.representation import Column, Composite
from wsa.storage import canonical_digest

if TYPE_CHECKING:
    from wsa.population.population import Population, Shard, Span


@dataclass(frozen=True)
class Request:
    """One representation in one view."""

    view: str
    offer: Offer

    @property
    def name(self) -> str:
        """Return the request as it is called in messages and results."""
        return f"{self.offer.name} (view {self.view})"


@dataclass(frozen=True)
class Features:
    """A representation of the whole population; adapters that are not finite have zero rows."""

    values: Tensor  # [N, C] float32
    columns: list[Column]


@dataclass
class Extraction:
    """What is asked of a population, and what became of it."""

    population: Population
    requests: list[Request]
    store: Store
    device: torch.device
    backend: str | None = None
    verify: bool = False  # read every shard, whatever is remembered of its files
    isolation: Isolation = field(default_factory=Isolation)
    skip_bad: bool = True  # or compute nothing from the first adapter on that is not finite
    failures: dict[Request, str] = field(default_factory=dict)
    identities: dict[int, Identity] = field(default_factory=dict)
    computed: int = 0
    found: int = 0
    shards_read: int = 0
    bytes_written: int = 0

    def __post_init__(self) -> None:
        self.population.pinned = self.device.type == "cuda"
        self._columns: dict[Request, list[Column]] = {}
        self._columns_digests: dict[Request, str] = {}
        self._committed: dict[Request, list[str]] = {}
        directory = self.store.identities if isinstance(self.store, Cache) else None
        self.memo = IdentityMemo(directory, self.population) if directory else None

    def ensure(self) -> None:
        """Compute every entry the store does not have, reading each shard at most once.

        A shard whose identity is remembered and whose entries are all there is not read. After a
        bad adapter that may not be skipped the others are only read, to name all that are bad.
        """
        for request in self.computable():
            self._try_columns(request)
        waiting = [span for span in self.population.ranges() if not self._complete(*span)]
        total = sum(stop - start for start, stop in waiting)
        with progress("features", total, "adapters") as bar, closing(self.isolation):
            for shard in self.population.shards(waiting):
                self._visit(shard, bar)
        for request, problem in self.failures.items():
            say(f"{request.name} failed: {problem}; the others go on")

    def features(self, request: Request, spans: Sequence[Span] | None = None) -> Features:
        """Return a request's features, of all N adapters or of some shards.

        A damaged entry is computed again. Raises PluginFailure where the plugin failed.
        """
        spans = self.population.ranges() if spans is None else spans
        representation = request.offer.representation
        if isinstance(representation, Composite):
            return self._side_by_side(request, representation, spans)
        shards = [self._shard_features(request, span) for span in spans]
        return Features(torch.cat(shards), self.columns(request))

    def columns(self, request: Request) -> list[Column]:
        """Name a request's columns; raises PluginFailure where its plugin cannot."""
        representation = request.offer.representation
        if isinstance(representation, Composite):
            return [column for column, _ in self._interleaved(request, representation)]
        if request not in self._columns:
            layers = self.population.catalogue.layers(request.view)
            columns = self.isolation.columns(request.offer, layers)
            self._columns[request] = columns
            # 2 ms for 8,192 names, and every shard's key asks
            self._columns_digests[request] = canonical_digest([each.name for each in columns])
        return self._columns[request]

    def cached(self, request: Request, span: Span) -> bool:
        """Tell whether a shard's features are in the store, as far as no weight need be read."""
        identity = self.memo.recall(*span) if self.memo else None
        return identity is not None and self.store.has(self.key(request, span, identity))

    def digests(self) -> list[str]:
        """Return the digest of every adapter's weights, in order."""
        ordered = (self.identities[start] for start, _ in self.population.ranges())
        return [row for identity in ordered for row in identity.digests]

    def valid(self) -> np.ndarray:
        """Return which adapters have finite weights, [N] bool."""
        valid = np.ones(self.population.count, dtype=bool)
        for start, identity in self.identities.items():
            valid[[start + row for row in identity.not_finite]] = False
        return valid

    def key_inputs(self, request: Request, span: Span, identity: Identity) -> dict[str, Any]:
        """Return everything that decides a shard's features, as the cache key sees it."""
        dtype = self.population.group(span[0]).dtype
        plugin, representation = request.offer.plugin, request.offer.representation
        self.columns(request)
        return {
            "scheme": KEY_SCHEME,
            "shard": identity.digest,
            "layout": self.population.layout_digest(span[0]),
            "view": request.view,
            "representation": representation.name,
            "version": request.offer.version,
            "parameters": request.offer.parameters,
            "distribution": f"{plugin.distribution} {plugin.version}",
            "columns": self._columns_digests[request],
            "dtype": str(dtype).removeprefix("torch."),
        }

    def key(self, request: Request, span: Span, identity: Identity) -> str:
        """Return the cache key of a request's features of one shard."""
        return canonical_digest(self.key_inputs(request, span, identity))

    def account(self) -> str:
        """Say in one line what was computed, what was found, and whether a weight was read."""
        read = f"{self.shards_read} shards read" if self.shards_read else "no weight read"
        return (
            f"features: {self.computed} shard entries computed, {self.found} found in the cache, "
            f"{read}"
        )

    def computable(self) -> list[Request]:
        """Return the requests that are computed from weights: all but the composites."""
        return [
            request
            for request in self.requests
            if not isinstance(request.offer.representation, Composite)
        ]

    def _try_columns(self, request: Request) -> None:
        try:
            self.columns(request)
        except PluginFailure as problem:
            self.failures[request] = str(problem)

    def _complete(self, start: int, stop: int) -> bool:
        identity = self.memo.recall(start, stop) if self.memo else None
        if identity is None or self.verify:
            return False
        keys = self._keys((start, stop), identity)
        complete = all(self.store.has(key) for key in keys.values())
        if complete:
            self.identities[start] = identity
            self.found += len(keys)
        return complete

    def _keys(self, span: Span, identity: Identity) -> dict[Request, str]:
        working = [request for request in self.computable() if request not in self.failures]
        return {request: self.key(request, span, identity) for request in working}

    def _visit(self, shard: Shard, bar: Progress) -> None:
        identity = self._identify(shard)
        keys = self._keys(shard.span, identity)
        missing = [request for request, key in keys.items() if not self.store.has(key)]
        self.found += len(keys) - len(missing)
        if self.skip_bad or not any(each.not_finite for each in self.identities.values()):
            self._compute(shard, identity, missing)
        bar.advance(shard.stop - shard.start)

    def _identify(self, shard: Shard) -> Identity:
        self.shards_read += 1
        found = self.identities[shard.start] = Identity.of(shard)
        if self.memo:
            before = self.memo.recall(*shard.span)
            if before is not None and before != found:
                names = [self.population.name(shard.start + row) for row in found.edited(before)]
                say(f"edited without a new size or time: {', '.join(names)}; described anew")
            self.memo.remember(shard)
        return found

    def _compute(self, shard: Shard, identity: Identity, requests: Sequence[Request]) -> None:
        batches: dict[str, Batch] = {}
        for request in requests:
            if request in self.failures:
                continue
            batch = batches.get(request.view) or self._batch(shard, request.view)
            batches[request.view] = batch
            try:
                values = self.isolation.features(request.offer, batch, self.columns(request))
            except PluginFailure as problem:
                self.failures[request] = str(problem)
                self._withdraw(request)
                if not batch.intact():
                    shard = self.population.read(*shard.span)
                    batches.clear()
                continue
            self._commit(request, shard, identity, values)

    def _batch(self, shard: Shard, view: str) -> Batch:
        layers = self.population.catalogue.layers(view)
        flat, scale = shard.flat.to(self.device), shard.scale.to(self.device)
        layout = self.population.group(shard.start).layout
        return Batch(flat, layout, layers, scale, self.backend)

    def _commit(self, request: Request, shard: Shard, identity: Identity, values: Tensor) -> None:
        valid = torch.from_numpy(shard.valid)
        kept = torch.where(valid[:, None], values.cpu(), torch.zeros(()))
        inputs = self.key_inputs(request, shard.span, identity)
        key = canonical_digest(inputs)
        self.bytes_written += self.store.commit(key, kept, inputs)
        self._committed.setdefault(request, []).append(key)
        self.computed += 1

    def _withdraw(self, request: Request) -> None:
        """Remove what a plugin that failed wrote before it did: none of its output is kept."""
        for key in self._committed.pop(request, []):
            self.store.remove(key)
            self.computed -= 1

    def _shard_features(self, request: Request, span: Span) -> Tensor:
        self._raise_failure(request)
        identity = self.identities[span[0]]
        key = self.key(request, span, identity)
        features = self.store.read(key)
        if features is None:
            shard = self.population.read(*span)
            self._compute(shard, self._identify(shard), [request])
            self._raise_failure(request)
            features = self.store.read(key)
        if features is None:
            raise RuntimeError(f"{request.name}: entry {key} is gone right after its commit")
        return features

    def _raise_failure(self, request: Request) -> None:
        if request in self.failures:
            raise PluginFailure(self.failures[request])

    def _side_by_side(
        self, request: Request, composite: Composite, spans: Sequence[Span]
    ) -> Features:
        parts = self._parts(request, composite)
        values = torch.cat([self.features(part, spans).values for part in parts], 1)
        columns, order = zip(*self._interleaved(request, composite), strict=True)
        return Features(values[:, list(order)], list(columns))

    def _interleaved(self, request: Request, composite: Composite) -> list[tuple[Column, int]]:
        """Order the parts' columns layer by layer; each comes with its place part by part."""
        names = self.population.catalogue.layers(request.view).names
        place = {name: index for index, name in enumerate(names)}
        columns = [
            Column(column.layer, f"{part.offer.name}.{column.feature}")
            for part in self._parts(request, composite)
            for column in self.columns(part)
        ]
        order = sorted(range(len(columns)), key=lambda i: place[columns[i].layer])
        return [(columns[i], i) for i in order]

    def _parts(self, request: Request, composite: Composite) -> list[Request]:
        known = {each.offer.name: each for each in self.requests if each.view == request.view}
        for name in composite.parts:
            if name not in known:
                raise PluginFailure(f"{composite.name!r} needs {name!r}, which did not load")
            if isinstance(known[name].offer.representation, Composite):
                raise PluginFailure(f"{composite.name!r} needs {name!r}, itself made of others")
        return [known[name] for name in composite.parts]
