"""Batch: one shard on its device, as a representation sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import xxhash

from wsa.layers import DELTA

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsa.layers import Layers
    from wsa_kernels.layout import Layout
    from wsa_kernels.matrices import Matrices, Tile

Result = TypeVar("Result")
_WIDE = 1024


def _digest(tensor: Tensor) -> object:
    """Return what changes with any byte; None where the memory itself was taken away."""
    import torch

    if tensor.untyped_storage().nbytes() < tensor.nbytes:
        return None
    whole = tensor.detach().contiguous()
    # of one entry the stride may be any, and is no matter
    bits = whole.as_strided((whole.numel(),), (1,)).view(torch.uint8)
    if not tensor.is_cuda:
        return xxhash.xxh3_64_intdigest(bits.numpy().data)
    # sums by row and by column: bytes that change places are found, too
    table = bits[: len(bits) // _WIDE * _WIDE].view(-1, _WIDE)
    sums = (table.sum(0), table.sum(1), bits[table.numel() :].long())
    return tuple(int((each * torch.arange(1, 1 + len(each)).to(each)).sum()) for each in sums)


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
    _digests: list[object] = field(default_factory=list, repr=False)  # of what is watched

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
            if self._digests:
                self.seal()
        found: Result = self._computed[key]
        return found

    def lent(self) -> Batch:
        """Return the same batch for one representation: what it does to the object is its own.

        Weights and intermediates are shared; it must not write to them, which `intact` tells.
        """
        flat, scale = self.flat.detach(), self.scale.detach()
        found = Batch(flat, self.layout, self.layers, scale, self.backend)
        shared = ("_computed", "_watched", "_digests", "source")
        found.__dict__.update({name: getattr(self, name) for name in shared})
        return found

    def seal(self) -> None:
        """Digest what is shared, for `intact` to find writes that torch does not count.

        One pass over the weights: 16 ms for 128 MiB on one core of an AMD EPYC.
        """
        self._digests += [_digest(tensor) for tensor, _ in self._watched[len(self._digests) :]]

    def intact(self, trusted: bool = False) -> bool:
        """Tell whether nobody wrote to the weights, or to an intermediate others share.

        Of who is trusted, writes that torch counts are found; of others all since the seal.
        """
        counted = all(tensor._version == version for tensor, version in self._watched)
        sealed = () if trusted else zip(self._watched, self._digests, strict=False)
        return counted and all(_digest(tensor) == before for (tensor, _), before in sealed)

    def _watch(self, result: Any) -> None:
        tensors = (result,) if hasattr(result, "_version") else result
        found = tensors if isinstance(tensors, tuple) else ()
        self._watched += [(each, each._version) for each in found if hasattr(each, "_version")]

    def matrices(self) -> Iterator[Tile]:
        """Yield every layer once, equal shapes together, in tiles `[n, G, rows, cols]`.

        Stored matrices are zero-copy views; updates are formed a bounded tile at a time.
        """
        return self.source.tiles()
