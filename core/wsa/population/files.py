"""Files: a population of adapter files, read in bulk, grouped by the shapes they store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
import xxhash
from torch import Tensor

from wsa.errors import WsaError
from wsa.formats.algebra import LowRank
from wsa.formats.reading import DTYPES, Filler
from wsa.formats.refusal import BadFile, quoted, shown
from wsa.layers import Catalogue, catalogue
from wsa.population.examination import Loaded, loaded
from wsa.population.population import Group, Population, Span
from wsa_kernels.layout import Layout

if TYPE_CHECKING:
    from wsa.formats.adapter import Form, Module
    from wsa.formats.refusal import Refused
    from wsa.population.members import Member

# Where ranks were chosen for each module, by its spectrum, every adapter would have a layout of its
# own: from so many layouts on, an adapter of unequal ranks has all of them padded to one.
MOST_LAYOUTS = 64
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Lying:
    """How the adapters of a group lie: the type and the width of every module's factors."""

    dtype: str
    widths: tuple[int, ...]  # 0 for a dense matrix

    def padded(self) -> Lying:
        """Return one width for all, a power of two, where they are not equal."""
        if len(set(self.widths)) <= 1:
            return self
        return Lying(self.dtype, (1 << (max(self.widths) - 1).bit_length(),) * len(self.widths))


class FilePopulation(Population):
    """N adapter files, those of one layout side by side, each group in the order of names."""

    is_strict = True

    def __init__(
        self,
        members: Sequence[Member],
        modules: tuple[str, ...],
        labels: pa.Table,
        refused: Sequence[Refused],
        notes: Sequence[str],
        num_workers: int,
    ) -> None:
        self.members, self.modules, self.labels = list(members), modules, labels
        self.refused, self.notes, self.num_workers = tuple(refused), tuple(notes), num_workers
        self.catalogue, self.groups = _placed(self.members, modules)
        self._fillers: dict[tuple[int, int], Filler] = {}

    def head(self, count: int) -> FilePopulation:
        """Return the first adapters only."""
        found = copy(self)
        found.members, found.labels = self.members[:count], self.labels.slice(0, count)
        kept = [group for group in self.groups if group.stop <= count]
        beyond = [group for group in self.groups if group.stop > count][:1]
        found.groups = (*kept, *(replace(group, stop=count) for group in beyond))
        return found

    def name(self, row: int) -> str:
        """Return an adapter's path below the folder."""
        return shown(self.members[row].name)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one label column; raises WsaError, with where labels come from, for no such."""
        if self.labels.num_columns == 1 and name not in self.labels.column_names:
            raise WsaError(
                f"these files have no label {name!r}: needed labels.csv, .parquet or .jsonl beside "
                f"them, or --label-from folder or metadata:KEY"
            )
        return super().column(name)

    @property
    def identifiers(self) -> pa.Array:
        """Return every adapter's path below the folder, [N]."""
        return pa.array([member.name for member in self.members], pa.string())

    def state(self, start: int, stop: int) -> list[Any]:
        """Tell name, size, time and header of every file of a shard."""
        return [member.state for member in self.members[start:stop]]

    def load(self, start: int, stop: int) -> Loaded:
        """Read a shard, runs of files of one form together, `num_workers` runs at once."""
        group = self.group(start)
        flat = self.buffers.lend(stop - start, group.layout.size, group.dtype, self.pinned)
        scale = torch.ones(stop - start, len(group.layout.pairs))

        def fill(rows: slice) -> None:
            run = (start + rows.start, start + rows.stop)
            self._fill(run, flat[rows], scale[rows])

        runs = [slice(run[0] - start, run[1] - start) for run in self._runs(start, stop)]
        return loaded(flat, scale, runs, fill, self.num_workers)

    def _fill(self, run: Span, flat: Tensor, scale: Tensor) -> None:
        members = self.members[slice(*run)]
        _refuse_changed(members)
        try:
            self._filler(run[0]).fill(members, flat, scale)
        except BadFile as problem:
            raise WsaError(f"{problem}; run again when nobody writes there") from problem

    def _runs(self, start: int, stop: int) -> Iterator[Span]:
        """Cut a shard into runs of files of one form that fit one buffer."""
        for _, rows in groupby(range(start, stop), key=lambda row: id(self.members[row].form)):
            run = list(rows)
            step = self._filler(run[0]).files_at_once
            for at in range(0, len(run), step):
                part = run[at : at + step]
                yield part[0], part[-1] + 1

    def _filler(self, row: int) -> Filler:
        form = self.members[row].form
        key = (self.group_number(row), id(form))
        if key not in self._fillers:
            self._fillers[key] = Filler(form, self.group(row).layout, self._ordered(form))
        return self._fillers[key]

    def _ordered(self, form: Form) -> tuple[Module, ...]:
        """Return a form's modules as the layout numbers them."""
        named = {module.name: module for module in form.modules}
        factors, pairs = self.catalogue.factors, self.catalogue.pairs
        names = [factors[up].module for up, _ in pairs] or [layer.module for layer in factors]
        return tuple(named[name] for name in names)

    def _cut(self, start: int, group: Group) -> list[Span]:
        """Cut where names say so, so that a file more or less changes one shard, not all after it.

        A name starts a shard with a chance of one in `shard_adapters`; none has more than twice
        as many.
        """
        spans, step = [], group.shard_adapters
        for row in range(start + 1, group.stop):
            if self._starts_shard[row] % step == 0 or row - start == 2 * step:
                spans.append((start, row))
                start = row
        return [*spans, (start, group.stop)]

    @cached_property
    def _starts_shard(self) -> list[int]:
        return [xxhash.xxh3_64_intdigest(member.name.encode()) for member in self.members]


def in_groups(members: Iterable[Member], modules: tuple[str, ...]) -> list[Member]:
    """Order members by how they lie, then by name: each layout's adapters are neighbours."""
    lying = _lying(members, modules)

    def place(member: Member) -> tuple[str, tuple[int, ...], str]:
        found = lying[id(member.form)]
        return found.dtype, found.widths, member.name

    return sorted(members, key=place)


def _placed(
    members: Sequence[Member], modules: tuple[str, ...]
) -> tuple[Catalogue, tuple[Group, ...]]:
    """Return the layers that all adapters have, and the layout of each group."""
    lying = _lying(members, modules)
    groups, catalogues, stop = [], [], 0
    for found, run in groupby(members, key=lambda member: lying[id(member.form)]):
        first, *rest = run
        stop += 1 + len(rest)
        shapes = _shapes(first.form, modules, found.widths)
        catalogues.append(catalogue(shapes))
        layout = Layout.plan([shapes[key] for key in catalogues[-1].keys], catalogues[-1].pairs)
        groups.append(Group(stop, layout, DTYPES[found.dtype]))
    unequal = _unequal({id(m.form): m.form for m in members}.values(), groups)
    return replace(catalogues[0], unequal=unequal), tuple(groups)


def _lying(members: Iterable[Member], modules: tuple[str, ...]) -> dict[int, Lying]:
    """Return how the files of each form lie, by the form's identity."""
    forms = {id(member.form): member.form for member in members}
    exact = {key: Lying(form.dtype, _widths(form, modules)) for key, form in forms.items()}
    if len(set(exact.values())) <= MOST_LAYOUTS:
        return exact
    return {key: each.padded() for key, each in exact.items()}


def _widths(form: Form, modules: tuple[str, ...]) -> tuple[int, ...]:
    named = {module.name: module for module in form.modules}
    return tuple(named[name].extent.width for name in modules)


def _shapes(
    form: Form, modules: tuple[str, ...], widths: tuple[int, ...]
) -> dict[str, tuple[int, int]]:
    named, shapes = {module.name: module for module in form.modules}, {}
    for name, width in zip(modules, widths, strict=True):
        extent = named[name].extent
        if named[name].is_dense:
            shapes[name] = (extent.rows, extent.cols)
        else:
            shapes[name + DOWN], shapes[name + UP] = (width, extent.cols), (extent.rows, width)
    return shapes


def _unequal(forms: Iterable[Form], groups: Sequence[Group]) -> str | None:
    """Say why the stored matrices of these adapters cannot be compared, if they cannot."""
    computed = {
        module.kind.name
        for form in forms
        for module in form.modules
        if not (module.is_dense or isinstance(module.kind, LowRank))
    }
    if computed:
        return f"{', '.join(sorted(computed))} adapters store no up and down of the update"
    ranks = {group.layout.shapes for group in groups}
    padded = len(ranks) > 1
    return "the adapters have different ranks" if padded else None


def _refuse_changed(members: Sequence[Member]) -> None:
    for member in members:
        try:
            status = os.stat(member.path)
        except OSError as problem:
            name = quoted(member.name)
            raise WsaError(f"{name} can no longer be read: {problem.strerror}") from problem
        if (status.st_size, status.st_mtime_ns) != (member.size, member.mtime_ns):
            raise WsaError(
                f"{quoted(member.name)} has changed since the run began; run again when nobody "
                f"writes there"
            )
