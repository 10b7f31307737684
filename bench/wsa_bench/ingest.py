"""Ingest: from files of 256 tensors, a packed store or columns to one flat buffer, warm."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from wsa import Case, Setting, Target
from wsa.case import COPY, Answer, Contender
from wsa.layers import Catalogue, catalogue
from wsa.population.buffers import Buffers
from wsa.population.packing import pack
from wsa.population.population import Group, Population
from wsa.population.source import open_population
from wsa.population.tables import TablePopulation
from wsa.progress import amount
from wsa.zoo.folder import write
from wsa_bench import populations
from wsa_bench.e2e import Folder, table_of
from wsa_kernels.layout import Layout
from wsa_kernels.matrices import Factors

# One shard of 51 MB, at whatever rank: the answer is that shard, and costs nobody another copy.
ADAPTERS = {("cpu", "factors"): 64, ("cuda", "factors"): 64}
# `datasets` takes 20 ms for each adapter's columns of two blocks: 128 columns would take minutes.
COLUMN_WIDTHS = populations.WIDTHS[:2]
# Transformer blocks beside one another in each of the flagship's sixteen: 2 x 128 tensors.
BLOCKS = 2
# What decides where files are cut into shards is their names; one in three leaves 64 together.
MOST_NAMES = 100
# A file of 256 tensors of up to 1.6 MB costs others what opening and asking cost. A larger one
# costs everybody its bytes more and more: there the yardstick is the memory's own rate.
SMALL = {"fp32": (1, 2), "fp16": (1, 2, 4), "bf16": (1, 2, 4)}
# How often the disk is asked for its rate; the best counts.
TRIES = 3

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Material:
    """Adapters on disk, where the population's layout wants them, and what they are."""

    setting: Setting
    folder: Folder
    population: Population
    weights: Factors  # as they must be found
    buffers: Buffers  # of every contender but ours, which has its own: fresh pages are dear
    rows: Sequence[int]  # the adapters asked for

    @property
    def files(self) -> list[Path]:
        """Return the files of the adapters asked for."""
        found = sorted((self.folder.path / "loose").glob("*.safetensors"))
        return [found[row] for row in self.rows]

    @property
    def places(self) -> dict[str, int]:
        """Return where in a row each stored tensor begins."""
        return dict(zip(_catalogue(self.setting).keys, self.weights.layout.offsets, strict=True))


@lru_cache(maxsize=1)
def loose(setting: Setting) -> Material:
    """Write adapters as diffusers does, a file each."""
    folder, weights = Folder(), _weights(setting, _catalogue(setting))
    root = folder.path / "loose"
    root.mkdir()
    _write_files(root, setting, weights)
    everyone = range(setting.adapters)
    return Material(setting, folder, _in_few_shards(root), weights, Buffers(), everyone)


@lru_cache(maxsize=1)
def packed(setting: Setting) -> Material:
    """Write the same adapters, and pack them."""
    given = loose(setting)
    root = given.folder.path / "packed"
    pack(given.population, "random adapters", root)
    return replace(given, population=open_population(str(root)))


@lru_cache(maxsize=1)
def columns(setting: Setting) -> Material:
    """Write adapters of 16 matrices as a `datasets` folder, lists of lists."""
    folder = Folder()
    found = populations.flagship_catalogue(COLUMN_WIDTHS, setting.rank)
    weights = _weights(setting, found)
    write(table_of(found, weights), {}, folder.path / "table")
    population = open_population(str(folder.path / "table"))
    return Material(setting, folder, population, weights, Buffers(), range(setting.adapters))


def part(given: Material, rows: Sequence[int]) -> Material:
    """Return the material with some adapters asked for; what lies on disk stays."""
    weights = populations.part(given.weights, rows)
    assert isinstance(weights, Factors)
    return replace(given, weights=weights, rows=rows)


def read(given: Material) -> Answer:
    """Read every shard as `wsa run` does: digests, and the look for what is not finite, too."""
    shards = given.population.shards(given.population.ranges())
    flats = [shard.flat for shard in shards]
    return {"flat": flats[0] if len(flats) == 1 else torch.cat(flats)}


def by_tensor(given: Material) -> Answer:
    """Open every file and get its tensors one by one, as most scripts do."""

    def tensors(path: Path) -> Tensors:
        with safetensors.safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    return _filled(given, tensors)


def by_file(given: Material) -> Answer:
    """Load every file whole."""
    return _filled(given, safetensors.torch.load_file)


def by_column(given: Material) -> Answer:
    """Ask `datasets` for one column of tensors after the other, as its guide says."""
    assert isinstance(given.population, TablePopulation)
    dataset = given.population.dataset.select(given.rows).with_format("torch")
    flat = _buffer(given)
    layout = given.weights.layout
    for key, offset in zip(given.population.catalogue.keys, layout.offsets, strict=True):
        values = dataset[key][:].flatten(1)
        flat[:, offset : offset + values.shape[1]] = values
    return {"flat": flat}


def told(given: Material) -> str:
    """Say what is read, and how fast the system gives the same bytes to one who only asks."""
    return f"{populations.told(given.weights)}; disk {amount(disk_rate(given))}/s"


def disk_rate(given: Material) -> float:
    """Return bytes per second of plain reads of everything into one buffer."""
    root = Path(given.folder.path) / _home(given)
    paths = [path for path in root.rglob("*") if path.is_file()]
    memory = memoryview(bytearray(max(path.stat().st_size for path in paths)))
    return max(_rate(paths, memory) for _ in range(TRIES))


def cases() -> list[Case]:
    """Return the three ways that populations come."""
    by_others = {"load_file": by_file, "safe_open": by_tensor}
    return [
        _case("loose", loose, by_others, [*_targets("safe_open", 10), *_of_copy(0.1)]),
        _case("packed", packed, by_others, [*_targets("safe_open", 20), *_of_copy(0.2)]),
        _case("columns", columns, {"with_format": by_column}, _targets("with_format", 50)),
    ]


def _case(
    name: str,
    inputs: Callable[[Setting], Material],
    others: Mapping[str, Contender],
    targets: Sequence[Target],
) -> Case:
    return Case(
        name=f"ingest/{name}",
        inputs=inputs,
        reference=lambda given: {"flat": given.weights.flat},
        contenders={"wsa": read, **others},
        shape=told,
        bytes=lambda given: populations.weight_bytes(given.weights),
        tolerance={"": 0.0},  # every byte as it is stored
        adapters=ADAPTERS,
        enough=_one_shard,
        part=part,
        scaled={},  # every contender reads them all
        needs={},
        targets=tuple(targets),
        on_request=True,
    )


def _targets(yardstick: str, times: float) -> list[Target]:
    small = SMALL.items()
    return [Target(("wsa",), yardstick, times, dtype=dtype, ranks=ranks) for dtype, ranks in small]


def _of_copy(times: float) -> list[Target]:
    return [Target(("wsa",), COPY, times, dtype=dtype) for dtype in SMALL]


def _one_shard(setting: Setting) -> int:
    """Return as many adapters as make one shard, and no more than the setting's."""
    layout = _layout(_catalogue(setting))
    group = Group(setting.adapters, layout, populations.DTYPES[setting.dtype])
    return min(setting.adapters, group.shard_adapters)


def _filled(given: Material, tensors: Callable[[Path], Tensors]) -> Answer:
    flat, places = _buffer(given), given.places
    for row, path in zip(flat, given.files, strict=True):
        for key, values in tensors(path).items():
            row[places[key] : places[key] + values.numel()] = values.flatten()
    return {"flat": flat}


def _buffer(given: Material) -> Tensor:
    rows, cols = given.weights.flat.shape
    flat = given.buffers.lend(rows, cols, given.weights.flat.dtype)
    return flat if given.weights.layout.parameters == cols else flat.zero_()


def _weights(setting: Setting, found: Catalogue) -> Factors:
    layout = _layout(found)
    return Factors(populations.drawn(layout, replace(setting, device="cpu")), layout)


def _layout(found: Catalogue) -> Layout:
    return Layout.plan([(layer.rows, layer.cols) for layer in found.factors], found.pairs)


def _catalogue(setting: Setting) -> Catalogue:
    """Return the flagship's layers, two transformer blocks in each of its sixteen."""
    one = populations.flagship_catalogue(populations.WIDTHS, setting.rank)
    return catalogue(
        {
            key.replace("blocks.0.attn", f"blocks.{block}.attn"): (layer.rows, layer.cols)
            for block in range(BLOCKS)
            for key, layer in zip(one.keys, one.factors, strict=True)
        }
    )


def _write_files(root: Path, setting: Setting, weights: Factors) -> None:
    found, layout = _catalogue(setting), weights.layout
    for number, row in enumerate(weights.flat):
        tensors = {
            key: row[offset : offset + rows * cols].view(rows, cols).clone()
            for key, offset, (rows, cols) in zip(
                found.keys, layout.offsets, layout.shapes, strict=True
            )
        }
        safetensors.torch.save_file(tensors, root / f"{number:05}.safetensors")


def _in_few_shards(root: Path) -> Population:
    """Open files under names that cut them into no more shards than must be."""
    for salt in range(MOST_NAMES):
        for path in sorted(root.iterdir()):
            path.rename(root / f"{salt:03}-{path.name[-len('00000.safetensors') :]}")
        found = open_population(str(root))
        if len(found.ranges()) == -(-found.count // found.groups[0].shard_adapters):
            break
    return found


def _home(given: Material) -> str:
    kinds = {"FilePopulation": "loose", "PackedPopulation": "packed/shards"}
    return kinds.get(type(given.population).__name__, "table")


def _rate(paths: Sequence[Path], memory: memoryview) -> float:
    started, size = time.perf_counter(), 0
    for path in paths:
        with path.open("rb", buffering=0) as file:
            size += file.readinto(memory) or 0
    return size / (time.perf_counter() - started)
