"""Representation: what a plugin offers, a named and versioned map from layers to features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from wsa.errors import Told, printable

if TYPE_CHECKING:
    from torch import Tensor

    from wsa.layers import Layers
    from wsa.population.batch import Batch


class Column(NamedTuple):
    """One feature of one layer."""

    layer: str
    feature: str

    @property
    def name(self) -> str:
        """Return the column's name, `<layer>/<feature>`."""
        return f"{self.layer}/{self.feature}"


@runtime_checkable
class Representation(Protocol):
    """A map from every layer of n adapters to C features.

    `version` is part of the cache key: raise it when the numbers change. What a user may choose
    are the annotated fields of a frozen dataclass, each with a default: `top: int = 10` is written
    `--plugins 'spectral(top=20)'`, and is part of the key where it is not at its default.

    Three more attributes may be there. `views`: the views it describes, of `factors` and `delta`.
    `invariances`, of `scale`, `gauge` and `permutation`: what its features do not know, which
    `wsa plugins check` holds it to. `parameters`, a dict of JSON values for the cache key, where
    the class is no dataclass.
    """

    name: str
    version: int

    def columns(self, layers: Layers) -> list[Column]:
        """Name the C columns, in the order `extract` returns them."""
        ...

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, C] float32 on `batch.device`; the batch must not be written."""
        ...


@dataclass(frozen=True)
class Composite:
    """Representations side by side: put together from their cached features, never recomputed."""

    name: str
    version: int
    parts: tuple[str, ...]


def columns_of(layers: Layers, features: Sequence[str]) -> list[Column]:
    """Name the columns of [n, L, F] features flattened to [n, L * F]."""
    return [Column(layer.name, feature) for layer in layers for feature in features]


class LayerwiseRepresentation:
    """A representation in plain torch: subclasses name their features and map matrices to them.

    Called with equally shaped matrices of many adapters at a time, so no loop over layers or
    adapters is needed; in view `delta` they are the updates, formed a bounded tile at a time.
    """

    name: str
    version: int
    feature_names: tuple[str, ...]

    def features(self, matrices: Tensor) -> Tensor:
        """Map equally shaped matrices [B, rows, cols] to their features [B, F], float32."""
        raise NotImplementedError(f"{type(self).__name__} must define features(matrices)")

    def columns(self, layers: Layers) -> list[Column]:
        """Name one column per layer and feature."""
        return columns_of(layers, self.feature_names)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * F]."""
        import torch

        shape = (len(batch), len(batch.layers), len(self.feature_names))
        out = torch.empty(shape, device=batch.device)  # [N, L, F]
        features = self._compiled if batch.compiled else self.features
        for adapters, layers, values in batch.matrices():
            matrices = values.flatten(0, 1).float()
            version = matrices._version
            found = features(matrices)
            # of some shapes they are a copy: whether others read what was written is chance
            if matrices._version != version:
                raise Told("features wrote to its matrices, which others read: work on a copy")
            self._refuse_breach(found, len(matrices))
            out[adapters, layers] = found.reshape(*values.shape[:2], -1)
        return out.flatten(1)

    def _refuse_breach(self, found: Any, count: int) -> None:
        import torch

        width = len(self.feature_names)
        needed = f"features needs [B, {width}] float32 (feature_names has {width})"
        if not isinstance(found, torch.Tensor):
            raise Told(f"{needed}, got {printable(type(found).__name__)}")
        if found.shape != (count, width) or found.dtype != torch.float32:
            sizes = ["B" if not i and size == count else size for i, size in enumerate(found.shape)]
            shape = ", ".join(map(str, sizes))
            raise Told(f"{needed}, got [{shape}] {str(found.dtype).removeprefix('torch.')}")

    def _compiled(self, matrices: Tensor) -> Tensor:
        from wsa_kernels.compilation import compiled

        found: Tensor = compiled(self.features)(matrices)
        return found
