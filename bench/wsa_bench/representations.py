"""Representations: the nine of the original system, each and all, from weights to features."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from wsa import Batch, Case, Composite, Layers, Representation, Setting, Target, registry
from wsa.case import Answer, Contender
from wsa_bench import contenders, per_layer, per_matrix, populations
from wsa_bench.contenders import OURS, by_layer, by_matrix
from wsa_kernels.matrices import Delta, Matrices

SEEDS = (*per_matrix.REPRESENTATIONS, "ensemble")
# As the operations': one entry on the other side of an edge, and differences in float32.
TOLERANCE = 1e-3
AT_EDGES = {
    "tail": 0.2,
    "near_zero": 0.4,
    **dict.fromkeys(("hist", "entropy", "entropy_normalised", "entropy_z", "kl_normal"), 0.06),
}


@dataclass(frozen=True)
class Shard:
    """Resident weights, and the names of their layers."""

    matrices: Matrices
    layers: Layers

    def batch(self, matrices: Matrices, backend: str | None) -> Batch:
        """Return what a representation is given, with nothing computed for it yet."""
        scale = matrices.scale if isinstance(matrices, Delta) else _ones(matrices)
        return Batch(matrices.flat, matrices.layout, self.layers, scale, backend)


def inputs(setting: Setting) -> Shard:
    """Draw a shard of the flagship's shape."""
    return Shard(populations.flagship(setting), populations.flagship_layers(setting))


@cache
def offered(name: str) -> Representation | Composite:
    """Return what the installed plugin of a name offers."""
    (plugin,) = registry.named([name])
    (offer,) = registry.load(plugin)
    return offer.representation


def extracted(names: tuple[str, ...], batch: Batch) -> dict[str, Tensor]:
    """Compute representations of one batch, [N, L, F] each; a composite is put side by side."""
    found: dict[str, Tensor] = {}
    for name in names:
        representation = offered(name)
        if isinstance(representation, Composite):
            missing = tuple(part for part in representation.parts if part not in found)
            parts = found | extracted(missing, batch)
            found[name] = torch.cat([parts[part] for part in representation.parts], -1)
        else:
            values = representation.extract(batch)
            found[name] = values.view(len(batch), len(batch.layers), -1)
    return found


def ours(names: tuple[str, ...], backend: str) -> Contender:
    """Return the representations as `wsa run` computes them, in one form of the operations.

    `triton`: on CUDA the device's own choice, which is Triton's form where an operation has one.
    """
    form = None if backend == "triton" else backend

    def contender(shard: Shard) -> Answer:
        batch = shard.batch(shard.matrices, form)
        return answered(extracted(names, batch), batch.layers)

    return contender


def answered(found: dict[str, Tensor], layers: Layers) -> Answer:
    """Cut features [N, L, F] by name: `sv_1` to `sv_10` are one column of ten."""
    return {
        f"{name}.{stem}": part.squeeze(-1)
        for name, values in found.items()
        for stem, part in zip(*_runs(name, layers, values), strict=True)
    }


def loop(names: tuple[str, ...]) -> Contender:
    """Take one matrix at a time; the ensemble is computed anew, as the original system did."""
    return _described(by_matrix, names, per_matrix.REPRESENTATIONS, anew=True)


def truth(names: tuple[str, ...]) -> Contender:
    """Take one matrix at a time in float64; the ensemble is put together."""
    return _described(contenders.truth, names, per_matrix.REPRESENTATIONS, anew=False)


def eager(names: tuple[str, ...]) -> Contender:
    """Take one layer of all adapters at a time; the ensemble is put together."""
    return _described(by_layer, names, per_layer.REPRESENTATIONS, anew=False)


def cases() -> list[Case]:
    """Return a case for each representation, and one for all of them."""
    slower = (Target(OURS, "eager", 1),)
    all_nine = (Target(OURS, "loop", 100), Target(OURS, "eager", 5))
    return [
        *(_case(name, (name,), slower) for name in SEEDS),
        _case("all", SEEDS, all_nine),
    ]


def _case(name: str, names: tuple[str, ...], targets: tuple[Target, ...]) -> Case:
    owners = [*SEEDS, *(f"ensemble.{each}" for each in SEEDS)]
    at_edges = {f"{owner}.{stem}": AT_EDGES[stem] for owner in owners for stem in AT_EDGES}
    return Case(
        name=f"representations/{name}",
        inputs=inputs,
        reference=truth(names),
        contenders={form: ours(names, form) for form in OURS}
        | {"eager": eager(names), "loop": loop(names)},
        shape=lambda shard: populations.told(shard.matrices),
        bytes=lambda shard: populations.weight_bytes(shard.matrices),
        tolerance={"": TOLERANCE} | at_edges,
        adapters=populations.ADAPTERS,
        part=lambda shard, rows: Shard(populations.part(shard.matrices, rows), shard.layers),
        targets=targets,
    )


def _described(
    by: Callable[[Any], Contender],
    names: tuple[str, ...],
    known: Mapping[str, Callable[[Any, int | None], Mapping[str, Any]]],
    anew: bool,
) -> Contender:
    """Return the contender that describes each matrix, or layer, by every representation."""

    def describe(values: Any, rank: int | None) -> Mapping[str, Any]:
        found: dict[str, Mapping[str, Any]] = {}
        for name in names:
            if name in known:
                found[name] = known[name](values, rank)
                continue
            parts = {each: None if anew else found.get(each) for each in _parts(name)}
            described = {each: part or known[each](values, rank) for each, part in parts.items()}
            found[name] = {
                f"{each}.{stem}": value
                for each, part in described.items()
                for stem, value in part.items()
            }
        return {f"{name}.{stem}": v for name, each in found.items() for stem, v in each.items()}

    contend = by(describe)
    return lambda shard: contend(shard.matrices)


def _parts(name: str) -> tuple[str, ...]:
    representation = offered(name)
    assert isinstance(representation, Composite)
    return representation.parts


def _runs(name: str, layers: Layers, values: Tensor) -> tuple[list[str], tuple[Tensor, ...]]:
    """Return the stems of a representation's features, and its values cut into them."""
    stems = [(stem, len(list(run))) for stem, run in groupby(_stems(name, layers))]
    return [stem for stem, _ in stems], torch.split(values, [size for _, size in stems], -1)


@cache
def _stems(name: str, layers: Layers) -> tuple[str, ...]:
    representation = offered(name)
    if isinstance(representation, Composite):
        parts = representation.parts
        return tuple(f"{part}.{stem}" for part in parts for stem in _stems(part, layers))
    columns = representation.columns(Layers(layers.view, layers.items[:1]))
    return tuple(re.sub(r"(_|(?<=^q))\d+$", "", column.feature) for column in columns)


def _ones(matrices: Matrices) -> Tensor:
    return torch.ones(len(matrices.flat), len(matrices.layout.pairs), device=matrices.flat.device)
