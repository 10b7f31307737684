"""Export: the features themselves, with the labels, in the population's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsa.errors import PluginFailure, WsaError
from wsa.experiment.offers import refuse_failures
from wsa.experiment.preparation import prepare_extraction
from wsa.experiment.soundness import settle
from wsa.progress import say
from wsa.storage import replaced

if TYPE_CHECKING:
    from pathlib import Path

    from wsa.experiment.config import RunConfig
    from wsa.extraction import Extraction, Request
    from wsa.population.population import Span
    from wsa.provenance import Given


# what tells adapters apart; a label column of that name becomes `label.adapter`
ROW = "adapter"


@dataclass(frozen=True)
class Exported:
    """How much was written, and which plugins failed instead."""

    rows: int
    columns: int
    failures: dict[str, str]


def export(config: RunConfig, out: Path) -> Exported:
    """Write adapter row, label columns and features to .parquet or .npz.

    A column is `<layer>/<feature>`, `<layer>/<representation>.<feature>` where several
    representations are asked for. Adapters that are not finite have no features: null in Parquet,
    NaN in .npz.
    """
    table, failures = computed(config)
    with replaced(out) as partial:
        (_write_npz if out.suffix == ".npz" else _write_parquet)(table, partial)
    return Exported(table.extraction.population.count, len(table.names()), failures)


def computed(config: RunConfig, given: Sequence[Given] = ()) -> tuple[Table, dict[str, str]]:
    """Return the features of what is asked for, and the plugins that failed instead."""
    extraction, requests, failures = prepare_extraction(config, given)
    extraction.ensure()
    settle(extraction, config)
    say(extraction.account())
    refuse_failures(config, extraction)
    failures |= {each.name: text for each, text in extraction.failures.items()}
    table = Table(extraction, [r for r in requests if _works(extraction, r, failures)])
    if not table.requests:
        raise PluginFailure(f"no features to write: {'; '.join(failures.values())}")
    return table, failures


@dataclass(frozen=True)
class Table:
    """The features of several requests side by side, a shard at a time."""

    extraction: Extraction
    requests: Sequence[Request]

    def names(self) -> list[str]:
        """Return the name of every feature column."""
        several = len({request.offer.name for request in self.requests}) > 1
        names = []
        for request in self.requests:
            prefix = f"{request.offer.name}." if several else ""
            for column in self.extraction.columns(request):
                names.append(f"{column.layer}/{prefix}{column.feature}")
        if len(set(names)) != len(names):
            double = next(name for name in names if names.count(name) > 1)
            raise WsaError(f"two features are called {double!r}; extract them one at a time")
        return names

    def shards(self) -> Iterator[tuple[Span, np.ndarray]]:
        """Yield the features [n, C] of every shard, NaN where weights are not finite."""
        valid = self.extraction.valid()
        for span in self.extraction.population.ranges():
            parts = [self.extraction.features(each, [span]).values for each in self.requests]
            values = np.concatenate([part.numpy() for part in parts], 1)
            values[~valid[slice(*span)]] = np.nan
            yield span, values

    def labels(self) -> pa.Table:
        """Return the row number and every label column that holds one value an adapter."""
        labels = self.extraction.population.labels
        single = [f.name for f in labels.schema if not pa.types.is_nested(f.type)]
        row = self.extraction.population.identifiers
        single = [name for name in single if name != ROW or not _equal(labels.column(ROW), row)]
        chosen = labels.select(single)
        names = [f"label.{name}" if name == ROW else name for name in chosen.column_names]
        return chosen.rename_columns(names).add_column(0, ROW, row)


def _equal(column: pa.ChunkedArray, values: pa.Array) -> bool:
    return bool(column.combine_chunks().equals(values))


def _works(extraction: Extraction, request: Request, failures: dict[str, str]) -> bool:
    try:
        extraction.columns(request)
    except PluginFailure as problem:
        failures.setdefault(request.name, str(problem))
    return request.name not in failures


def _write_parquet(table: Table, path: Path) -> None:
    labels, names = table.labels(), table.names()
    kinds = [*labels.schema, *(pa.field(name, pa.float32()) for name in names)]
    # dictionaries save nothing on floats, and statistics double the footer of a wide table
    options = {"use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(path, pa.schema(kinds), **options) as writer:
        for (start, stop), values in table.shards():
            features = [pa.array(column, from_pandas=True) for column in values.T]
            head = [column.combine_chunks() for column in labels.slice(start, stop - start).columns]
            writer.write_table(pa.table([*head, *features], schema=pa.schema(kinds)))


def _write_npz(table: Table, path: Path) -> None:
    labels = table.labels()
    arrays: dict[str, Any] = {
        f"label/{name}": _plain(labels.column(name)) for name in labels.column_names
    }
    features = np.concatenate([values for _, values in table.shards()])
    with path.open("wb") as file:
        np.savez(file, features=features, columns=np.array(table.names()), **arrays)


def _plain(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as an array that needs no pickle: text as fixed-width unicode."""
    values: np.ndarray = column.to_numpy()
    return values.astype(str) if values.dtype == object else values
