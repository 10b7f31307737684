"""Representations that each break one promise, and the check that must catch them."""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wsa import Batch, Column, Layers, LayerwiseRepresentation, columns_of
from wsa_kernels.moments import moments


class Honest(LayerwiseRepresentation):
    """The share of positive entries, and the root of the mean square."""

    name = "honest"
    version = 1
    feature_names: tuple[str, ...] = ("positive", "size")

    def features(self, matrices: Tensor) -> Tensor:
        share = (matrices > 0).float().mean((1, 2))
        return torch.stack([share, matrices.square().mean((1, 2)).sqrt()], 1)


class Twice(Honest):
    feature_names = ("positive", "positive")


class Unnamed(Honest):
    feature_names = ("positive", "")


class Strange(Honest):
    def columns(self, layers: Layers) -> list[Column]:
        return [Column("nowhere", "positive"), *super().columns(layers)[1:]]


class Forgetful(Honest):
    def columns(self, layers: Layers) -> list[Column]:
        self.asked = not getattr(self, "asked", False)
        return super().columns(layers)[:: 1 if self.asked else -1]


class Narrow(Honest):
    def extract(self, batch: Batch) -> Tensor:
        return super().extract(batch)[:, 1:]


class Exact(Honest):
    def extract(self, batch: Batch) -> Tensor:
        return super().extract(batch).double()


class Listing(Honest):
    def extract(self, batch: Batch) -> Any:
        return super().extract(batch).tolist()


class Alias(Honest):
    feature_names = ("first",)

    def extract(self, batch: Batch) -> Tensor:
        return batch.flat[:, : len(batch.layers)]


class Unkeyable(Honest):
    @property
    def parameters(self) -> dict[str, Any]:
        return {"sizes": {1, 2}}


class Vandal(Honest):
    def extract(self, batch: Batch) -> Tensor:
        found = super().extract(batch)
        batch.flat.mul_(2)
        return found


class Sneak(Honest):
    def extract(self, batch: Batch) -> Tensor:
        found = super().extract(batch)
        batch.flat.numpy()[0, 0] += 1  # which torch does not count as a write
        return found


class Scribbler(Honest):
    def features(self, matrices: Tensor) -> Tensor:
        return super().features(matrices.abs_())


class Slim(Honest):
    def features(self, matrices: Tensor) -> Tensor:
        return super().features(matrices)[:, :1]


class Double(Honest):
    def features(self, matrices: Tensor) -> Tensor:
        return super().features(matrices).double()


class Sharer(Honest):
    def extract(self, batch: Batch) -> Tensor:
        batch.once(moments).mean.add_(1)
        return super().extract(batch)


class Talker(Honest):
    def extract(self, batch: Batch) -> Tensor:
        print("hello")
        return super().extract(batch)


class Gambler(Honest):
    def extract(self, batch: Batch) -> Tensor:
        found = super().extract(batch)
        return found + torch.rand(found.shape)


class Meddler(Honest):
    def extract(self, batch: Batch) -> Tensor:
        found = super().extract(batch)
        torch.set_num_threads(torch.get_num_threads() + 1)
        return found


class Patcher(Honest):
    def extract(self, batch: Batch) -> Tensor:
        torch.linalg.svdvals = len
        return super().extract(batch)


class Counter(Honest):
    calls = 0

    def extract(self, batch: Batch) -> Tensor:
        Counter.calls += 1
        return super().extract(batch) + Counter.calls


class Sorter(Honest):
    def extract(self, batch: Batch) -> Tensor:
        return super().extract(batch).sort(0).values


class Normaliser(Honest):
    def extract(self, batch: Batch) -> Tensor:
        found = super().extract(batch)
        return found - found.mean(0)


class Neighbour(Honest):
    def extract(self, batch: Batch) -> Tensor:
        found = super().extract(batch)
        return found - found.mean(1, keepdim=True)


class Fragile(Honest):
    feature_names = ("skewness",)

    def features(self, matrices: Tensor) -> Tensor:
        flat = matrices.flatten(1)
        rest = flat - flat.mean(1, keepdim=True)
        return (rest**3).mean(1, keepdim=True) / (rest**2).mean(1, keepdim=True) ** 1.5


class Square(Honest):
    def features(self, matrices: Tensor) -> Tensor:
        if matrices.shape[1] == 1:
            raise ValueError("a matrix needs two rows")
        return super().features(matrices)


class Ranked(Honest):
    def columns(self, layers: Layers) -> list[Column]:
        names = [f"entry_{i}" for i in range(min(layers[0].rows, layers[0].cols))]
        return columns_of(layers, names)

    def extract(self, batch: Batch) -> Tensor:
        return torch.ones(len(batch), len(self.columns(batch.layers)))


class SmallOnly(Honest):
    def features(self, matrices: Tensor) -> Tensor:
        if min(matrices.shape[1:]) > 6 and max(matrices.shape[1:]) <= 24 and self.wide(matrices):
            raise ValueError("rank above 6")
        return super().features(matrices)

    def wide(self, matrices: Tensor) -> bool:
        return 7 in matrices.shape[1:] or 8 in matrices.shape[1:]


class HalfPrecise(Honest):
    def extract(self, batch: Batch) -> Tensor:
        size = batch.flat.square().mean(1).sqrt()  # in the dtype that is stored
        return size[:, None].float().repeat(1, 2 * len(batch.layers))


class FullOnly(Honest):
    def extract(self, batch: Batch) -> Tensor:
        if batch.flat.dtype != torch.float32:
            raise TypeError("needs fp32")
        return super().extract(batch)


class ClaimsScale(Honest):
    invariances = ("scale",)


class ClaimsPermutation(Honest):
    invariances = ("permutation",)

    def features(self, matrices: Tensor) -> Tensor:
        return matrices[:, 0, :1].repeat(1, 2)


class ClaimsGauge(Honest):
    """Sums, over directions, the products of their norms: the same however they are ordered."""

    invariances = ("gauge",)
    views = ("delta",)

    def extract(self, batch: Batch) -> Tensor:
        pairs = batch.source.pairs()  # type: ignore[union-attr]
        found = torch.empty(len(batch), len(batch.layers), 2)
        for modules, up, down, _ in pairs:
            size = (up.norm(dim=-2) * down.norm(dim=-1)).sum(-1)
            found[:, modules] = size[..., None].float()
        return found.flatten(1)


class ClaimsTheImpossible(Honest):
    invariances = ("time",)


class Compiled(Honest):
    def extract(self, batch: Batch) -> Tensor:
        found = super().extract(batch)
        return found * 1.01 if batch.compiled else found


class Hoarder(Honest):
    views = ("delta",)

    def extract(self, batch: Batch) -> Tensor:
        formed = [tile.values.clone() for tile in batch.matrices()]
        assert formed
        return super().extract(batch)


class Collector(Honest):
    def __init__(self) -> None:
        self.before: list[Tensor] = []

    def extract(self, batch: Batch) -> Tensor:
        self.before.append(super().extract(batch))
        return self.before[-1].clone()


class Clerk(Honest):
    def __init__(self) -> None:
        self.book: dict[int, str] = {}

    def extract(self, batch: Batch) -> Tensor:
        self.book[len(self.book)] = f"a call of {len(batch)} adapters, {'x' * 200}"
        return super().extract(batch)


class Leaker(Honest):
    def extract(self, batch: Batch) -> Tensor:
        size = 1 << 18  # what neither Python nor torch counts
        memory = ctypes.CDLL(None).malloc
        memory.restype = ctypes.c_void_p
        ctypes.memset(memory(size), 1, size)
        return super().extract(batch)


class Sluggish(Honest):
    def extract(self, batch: Batch) -> Tensor:
        if len(batch) > 16:  # the timed call alone
            time.sleep(0.6)
        return super().extract(batch)


class Quitter(Honest):
    def extract(self, batch: Batch) -> Tensor:
        sys.exit(3)


class Fault(NamedTuple):
    """A representation, the check that catches it, and what was expected and got."""

    representation: type[LayerwiseRepresentation]
    check: str
    message: str


FAULTS = [
    Fault(Twice, "columns-are-unique", r"expected unique columns, got .*positive' twice"),
    Fault(Unnamed, "columns-are-unique", r"expected a feature name, .* got ''"),
    Fault(Strange, "columns-are-unique", r"expected a Column of a known layer, got .*nowhere"),
    Fault(Forgetful, "columns-are-unique", r"expected the same \d+ columns .*, got others"),
    Fault(Narrow, "output-matches-columns", r"expected float32 \[7, \d+\] on cpu, got float32 \["),
    Fault(Exact, "output-matches-columns", r"expected float32 .*, got float64"),
    Fault(Listing, "output-matches-columns", r"expected float32 .*, got list"),
    Fault(Alias, "output-matches-columns", r"expected features in memory of their own, got a view"),
    Fault(Slim, "output-matches-columns", r"\[B, 2\] float32 .*has 2\), got \[B, 1\] float32"),
    Fault(Double, "output-matches-columns", r"expected \[B, 2\] float32 .*, got \[B, 2\] float64"),
    Fault(Quitter, "output-matches-columns", r"expected an answer, got: it raised SystemExit: 3"),
    Fault(Unkeyable, "parameters-are-json", r"expected parameters of JSON values, got .*\{1, 2\}"),
    Fault(Vandal, "input-is-not-written", r"expected an input nobody writes to, got \d+ entries"),
    Fault(Sneak, "input-is-not-written", r"expected an input nobody writes to, got 1 entries"),
    Fault(Scribbler, "input-is-not-written", r"expected .*, got: features wrote to its matrices"),
    Fault(Sharer, "input-is-not-written", r"expected an input .*, got a write to what others"),
    Fault(Talker, "nothing-is-printed", r"expected silence on standard output, got 'hello"),
    Fault(Gambler, "torch-is-left-as-it-was", r"expected all .*, got a change of torch's rando"),
    Fault(Meddler, "torch-is-left-as-it-was", r"expected .*, got a change of .* from 1 to 2"),
    Fault(Patcher, "torch-is-left-as-it-was", r"expected .*, got a change of the function torch.l"),
    Fault(Counter, "second-call-gives-the-same-bytes", r"expected [\d.]+ for .* got [\d.]+"),
    Fault(Gambler, "second-call-gives-the-same-bytes", r"expected .* on a second call, got"),
    Fault(Sorter, "adapters-may-come-in-any-order", r"expected .* in another order, got"),
    Fault(Normaliser, "shards-may-be-split", r"expected .* in a shard of 1, got -?[\de.-]+"),
    Fault(Neighbour, "a-layer-set-is-cut-from-all", r"expected .* with the visual layers alone, g"),
    Fault(Fragile, "degenerate-layers-are-finite", r"layers that are zero, got: expected finite"),
    Fault(Square, "degenerate-layers-are-finite", r"1 x n and n x 1, got: it raised ValueError"),
    Fault(Ranked, "every-rank-has-as-many-columns", r"expected \d+ columns at rank 2.*, got \d+"),
    Fault(SmallOnly, "every-rank-has-as-many-columns", r"layers that are of rank 7, got: it rais"),
    Fault(HalfPrecise, "half-precision-is-upcast", r"expected .* with weights in float16, got"),
    Fault(FullOnly, "half-precision-is-upcast", r"features of float16 weights, got: it raised Typ"),
    Fault(ClaimsScale, "declared-invariances-hold", r"expected .* times 4, as invariances says"),
    Fault(ClaimsPermutation, "declared-invariances-hold", r"expected .* permuted, as invariances"),
    Fault(ClaimsGauge, "declared-invariances-hold", r"expected .* other factors of the same upd"),
    Fault(ClaimsTheImpossible, "declared-invariances-hold", r"invariances of scale, .* got 'time'"),
    Fault(Compiled, "compiled-equals-eager", r"expected .* without torch.compile, got"),
    Fault(Hoarder, "memory-is-bounded", r"expected at most 24 times, got [\d.]+ times an a"),
    Fault(Collector, "memory-does-not-grow", r"expected nothing kept .*, got \d+\.\d objects"),
    Fault(Clerk, "memory-does-not-grow", r"expected nothing kept .*, got \d\.\d objects"),
    Fault(Leaker, "memory-does-not-grow", r"expected .* 100 KiB .*, got .* 2\d\d KiB a call"),
    Fault(Sluggish, "time-is-told-against-stats", r"expected at most 5 times .*, got .* stats"),
]
