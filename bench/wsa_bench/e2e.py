"""End to end: the stages of a whole run, each timed by itself on generated flagship shards."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from wsa import Case, Setting
from wsa.cache import Cache
from wsa.case import Answer
from wsa.layers import Catalogue
from wsa.population.source import open_population
from wsa.population.tables import TablePopulation
from wsa.storage import canonical_digest
from wsa.train import Run, Split, TrainConfig, make_split, train
from wsa.zoo.folder import write
from wsa.zoo.table import nested
from wsa_bench import populations
from wsa_bench.contenders import KERNELS
from wsa_kernels.matrices import Matrices
from wsa_kernels.operation import Operation

# As many columns as the ensemble has, the widest representation: 115 features of 128 layers.
COLUMNS = 115 * 128
# The trainer's share of them: as many as `stats` has. Ten seeds, so many epochs.
TRAINED_COLUMNS, SEEDS, EPOCHS = 7 * 128, 10, 10
HIDDEN = TrainConfig().hidden_dim
LEAST_IN_CLASS, MOST_CLASSES = 10, 10


class Folder:
    """A directory that goes when nobody holds it any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="wsa-bench-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class Material:
    """What the stages work on."""

    setting: Setting
    folder: Folder
    population: TablePopulation
    matrices: Matrices  # on the setting's device
    features: Tensor  # [N, C] float32
    rows: Sequence[int]  # the adapters asked for

    @property
    def cache(self) -> Cache:
        """Return the cache that the features lie in."""
        return Cache(self.folder.path / "cache")

    @property
    def weights(self) -> Tensor:
        """Return the generated weights as they are stored, [N, P]."""
        return self.matrices.flat.cpu()


# the stages of one setting work on the same material
@lru_cache(maxsize=1)
def material(setting: Setting) -> Material:
    """Generate adapters, write them as a `datasets` folder, and features into a cache."""
    matrices = populations.flagship(setting)
    folder = Folder()
    place = folder.path / "population"
    flagship = populations.flagship_catalogue(populations.WIDTHS, setting.rank)
    write(table_of(flagship, matrices), {}, place)
    generator = torch.Generator().manual_seed(setting.seed)
    features = torch.randn(setting.adapters, COLUMNS, generator=generator)
    everyone = range(setting.adapters)
    found = Material(setting, folder, _opened(place), matrices, features, everyone)
    for half, values in enumerate(features.chunk(2)):
        found.cache.commit(_key(half), values, {"half": half})
    return found


def _opened(place: Path) -> TablePopulation:
    population = open_population(str(place))
    assert isinstance(population, TablePopulation)
    return population


def part(given: Material, rows: Sequence[int]) -> Material:
    """Return the material with some adapters asked for; what lies on disk stays."""
    matrices = populations.part(given.matrices, rows)
    return replace(given, matrices=matrices, features=given.features[list(rows)], rows=rows)


def read(given: Material) -> Answer:
    """Read every shard, columns through Arrow, as `wsa run` does."""
    shards = given.population.shards(given.population.ranges())
    return {"flat": torch.cat([shard.flat for shard in shards])}


def read_rows(given: Material) -> Answer:
    """Read row by row through Python lists, as the original system did."""
    population = given.population
    flat = torch.zeros(len(given.rows), population.layout.size, dtype=population.groups[0].dtype)
    for place, row in enumerate(given.rows):
        adapter = population.dataset[row]
        for key, offset in zip(population.catalogue.keys, population.layout.offsets, strict=True):
            values = torch.tensor(adapter[key]).flatten()
            flat[place, offset : offset + len(values)] = values
    return {"flat": flat}


def upload(given: Material) -> Answer:
    """Move the weights to the device."""
    return {"flat": given.weights.to(given.setting.device)}


def cache_write(given: Material) -> Answer:
    """Commit the features: serialise, digest, write, sync."""
    written = given.cache.commit(_key("all"), given.features, {"half": "all"})
    return {"bytes": torch.tensor(float(written))}


def concat(given: Material) -> Answer:
    """Read two shards' features back, proved by their digests, and put them together."""
    found = [given.cache.read(_key(half)) for half in (0, 1)]
    return {"features": torch.cat([half for half in found if half is not None])}


def training(given: Material) -> Answer:
    """Train ten seeds; the answer is what every outcome must satisfy: probabilities sum to one."""
    labels, split = _labelled(len(given.features))
    features = given.features[:, :TRAINED_COLUMNS].to(given.setting.device)
    config = TrainConfig(max_epochs=EPOCHS, patience=EPOCHS)
    classes = int(labels.max()) + 1
    runs = [Run(seed) for seed in range(SEEDS)]
    found = train(features, labels.to(features.device), split, runs, classes, config)
    return {"sums": torch.from_numpy(found.probabilities["test"].sum(-1))}


def sums_of_one(given: Material) -> Answer:
    """Return what the probabilities of every seed and test adapter sum to."""
    _, split = _labelled(len(given.features))
    return {"sums": torch.ones(SEEDS, len(split.test), dtype=torch.float64)}


def cases() -> list[Case]:
    """Return the stages, in the order of a run."""
    read_case, upload_case = _weight_stages()
    operations = [_operation_stage(read_case, *kernel) for kernel in _kernels()]
    return [read_case, upload_case, *operations, *_feature_stages(), _training_stage()]


def _weight_stages() -> tuple[Case, Case]:
    read_case = Case(
        name="e2e/read",
        inputs=material,
        reference=lambda given: {"flat": given.weights},
        contenders={"wsa": read, "loop": read_rows},
        shape=lambda given: populations.told(given.matrices),
        bytes=lambda given: populations.weight_bytes(given.matrices),
        adapters=populations.ADAPTERS,
        part=part,
        on_request=True,
    )
    moved = replace(read_case, name="e2e/upload", contenders={"wsa": upload})
    return read_case, replace(moved, needs={"wsa": "cuda"})


def _feature_stages() -> tuple[Case, Case]:
    concat_case = Case(
        name="e2e/concat",
        inputs=material,
        reference=lambda given: {"features": given.features},
        contenders={"wsa": concat},
        shape=lambda given: f"{len(given.features)} x {COLUMNS} features",
        bytes=lambda given: given.features.nbytes,
        adapters=populations.ADAPTERS,
        on_request=True,
    )
    write_case = replace(
        concat_case,
        name="e2e/cache_write",
        reference=lambda given: {"bytes": torch.tensor(float(given.features.nbytes))},
        contenders={"wsa": cache_write},
        tolerance={"": 0.01},  # the header of the file
    )
    return write_case, concat_case


def _training_stage() -> Case:
    return Case(
        name="e2e/train",
        inputs=material,
        reference=sums_of_one,
        contenders={"wsa": training},
        shape=lambda given: f"{len(given.features)} x {TRAINED_COLUMNS}, {SEEDS} seeds",
        bytes=lambda given: 4 * EPOCHS * len(given.features) * TRAINED_COLUMNS,
        flops=_training_flops,
        adapters=populations.ADAPTERS,
        on_request=True,
    )


def _kernels() -> list[tuple[Operation[Any], Case]]:
    operations = (getattr(import_module(f"wsa_kernels.{name}"), name) for name in KERNELS)
    return [(each, import_module(f"wsa_bench.{each.name}").cases()[0]) for each in operations]


def _operation_stage(stage: Case, operation: Operation[Any], kernel: Case) -> Case:
    """Turn a kernel's case into a stage: in the form the device chooses."""

    def computed(given: Material) -> Answer:
        return kernel.contenders[operation.best(given.matrices)](given.matrices)

    return replace(
        stage,
        name=f"e2e/{kernel.name}",
        reference=lambda given: kernel.reference(given.matrices),
        contenders={"wsa": computed},
        flops=lambda given: kernel.flops(given.matrices),
        tolerance=kernel.tolerance,
    )


def _training_flops(given: Material) -> float:
    """Count the first layer's products, which decide: forward, and two backward."""
    return 6.0 * EPOCHS * SEEDS * 0.7 * len(given.features) * TRAINED_COLUMNS * HIDDEN


def _labelled(count: int) -> tuple[Tensor, Split]:
    """Label adapters by turns and split them, each class in every part."""
    classes = max(2, min(MOST_CLASSES, count // LEAST_IN_CLASS))
    labels = np.arange(count) % classes
    everyone = [str(row) for row in range(count)]
    split = make_split(labels, None, everyone, np.ones(count, dtype=bool))
    return torch.from_numpy(labels), split


def table_of(found: Catalogue, matrices: Matrices) -> pa.Table:
    """Return adapters as a table, a column of lists of lists for each of their layers."""
    flat, layout = matrices.flat.cpu().numpy(), matrices.layout
    columns = {}
    for key, (rows, cols), offset in zip(found.keys, layout.shapes, layout.offsets, strict=True):
        values = flat[:, offset : offset + rows * cols]
        columns[key] = nested(values.reshape(len(flat), rows, cols))
    return pa.table(columns)


def _key(half: object) -> str:
    return canonical_digest({"half": half})
