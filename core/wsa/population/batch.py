"""Batch: one shard on its device, as a representation sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from wsa.layers import DELTA

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsa.layers import Layers
    from wsa_kernels.layout import Layout
    from wsa_kernels.matrices import Matrices, Tile

Result = TypeVar("Result")


@dataclass
class Batch:
    """n adapters of one population, every layer of them, with intermediates computed once.

    `len(batch)` is n. Nothing of it may be written to: others read it afterwards.
    """

    flat: Tensor  #: [N, P], the weights as they are stored: fp32, fp16 or bf16
    layout: Layout  #: where each stored matrix lies in a row of `flat`
    layers: Layers  #: of the view asked for, in the order of the columns
    scale: Tensor  #: [N, M], what the product of each module's factors is multiplied by
    backend: str | None = None  #: the form of operations that was asked for, if any
    _computed: dict[object, Any] = field(default_factory=dict, repr=False)
    _watched: list[tuple[Tensor, int]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._watch((self.flat, self.scale))

    @property
    def view(self) -> str:
        """Name the view: `factors` or `delta`."""
        return self.layers.view

    @property
    def device(self) -> torch.device:
        """Return the device the weights lie on, and features must."""
        return self.flat.device

    @property
    def compiled(self) -> bool:
        """Tell whether plain torch is compiled: where asked for, and on CUDA unless refused."""
        return self.backend == "compiled" or (self.backend is None and self.flat.is_cuda)

    def __len__(self) -> int:
        return len(self.flat)

    @cached_property
    def source(self) -> Matrices:
        """Return what an operation of `wsa_kernels` works on in this view: one for all of them."""
        from wsa_kernels.matrices import Delta, Factors

        if self.view == DELTA:
            return Delta(self.flat, self.layout, self.scale)
        return Factors(self.flat, self.layout)

    def once(self, operation: Callable[..., Result], *arguments: Any) -> Result:
        """Compute an operation at most once per shard, however many representations ask.

        Returns its named tuple of tensors, [N, L] or [N, L, F]; the further arguments are part of
        what is remembered.
        """
        key = (operation, arguments)
        if key not in self._computed:
            self._computed[key] = operation(self.source, *arguments, backend=self.backend)
            self._watch(self._computed[key])
        found: Result = self._computed[key]
        return found

    def intact(self) -> bool:
        """Tell whether nobody wrote to the weights, or to an intermediate others share."""
        return all(tensor._version == version for tensor, version in self._watched)

    def _watch(self, result: Any) -> None:
        tensors = (result,) if hasattr(result, "_version") else result
        found = tensors if isinstance(tensors, tuple) else ()
        self._watched += [(each, each._version) for each in found if hasattr(each, "_version")]

    def matrices(self) -> Iterator[Tile]:
        """Yield every layer once, equal shapes together, in tiles `[n, G, rows, cols]`.

        Stored matrices are zero-copy views; updates are formed a bounded tile at a time.
        """
        return self.source.tiles()
