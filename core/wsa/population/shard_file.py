"""Shard file: adapters as two tensors of a safetensors file, flat [n, P] and scale [n, M].

The weights come first and begin on a boundary of 64 bytes, so that they are read into place. The
digest of all rows stands in the metadata: a finished shard tells what it is without being read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wsa.errors import WsaError
from wsa.formats.header import METADATA, PREFIX, HeaderReader
from wsa.formats.reading import read_exactly
from wsa.formats.refusal import BadFile
from wsa.population.examination import Loaded, examined, loaded, parts_of
from wsa.population.manifest import StoredShard
from wsa.storage import digest, write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wsa.formats.header import Header
    from wsa.population.population import Group

BOUNDARY = 64
AGAIN = "remove that file and pack the population again: the rest is kept"
OTHER_BYTES = "its bytes do not have the recorded digest"
STORED_AS = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}


def write_shard(path: Path, flat: Tensor, scale: Tensor) -> StoredShard:
    """Write a shard whole or not at all, and return what the manifest says of it."""
    proof = proof_of(examined(flat, scale).digests)
    tensors = {"flat": flat, "scale": scale} if scale.shape[1] else {"flat": flat}
    parts = [_header(tensors, proof)]
    parts += [_bytes(each) for each in tensors.values()]
    write_bytes(path, b"".join(parts))
    return StoredShard(path.name, len(flat), sum(map(len, parts)), proof)


def find_shard(path: Path, rows: int, group: Group) -> StoredShard | None:
    """Return what a finished shard is, from its header; None where there is none that fits."""
    if not path.is_file():
        return None
    try:
        header = HeaderReader().read(path)
    except BadFile:
        return None
    proof = header.metadata.get("digest")
    if proof is None or not _fits(header, rows, group):
        return None
    return StoredShard(path.name, rows, header.data_start + header.structure.data_bytes, proof)


def load_shard(
    path: Path, stored: StoredShard, group: Group, buffer: Callable[[int], Tensor]
) -> Loaded:
    """Read a shard into one buffer, its parts side by side, each examined as it comes.

    Raises WsaError where it is not as recorded.
    """
    try:
        header = HeaderReader().read(path)
        if header.metadata.get("digest") != stored.digest or not _fits(header, stored.rows, group):
            raise BadFile("it is not the one that the manifest names")
        found = _loaded(path, header, stored.rows, group, buffer(header.structure.data_bytes))
    except BadFile as problem:
        raise WsaError(f"{path} is damaged: {problem}; {AGAIN}") from problem
    if proof_of(found.digests) != stored.digest:
        raise WsaError(f"{path} is damaged: {OTHER_BYTES}; {AGAIN}")
    return found


def proof_of(digests: Sequence[str]) -> str:
    """Return one digest of all rows of a shard, in order."""
    return digest("".join(digests).encode())


def _loaded(path: Path, header: Header, rows: int, group: Group, data: Tensor) -> Loaded:
    memory, weights = data.numpy(), rows * group.row_bytes
    flat, scale = _tensors(data, rows, group)
    # what scales a row is examined with it
    read_exactly(path, memory[weights:], header.data_start + weights)

    def fill(part: slice) -> None:
        place = slice(part.start * group.row_bytes, part.stop * group.row_bytes)
        read_exactly(path, memory[place], header.data_start + place.start)

    return loaded(flat, scale, parts_of(flat), fill)


def _tensors(data: Tensor, rows: int, group: Group) -> tuple[Tensor, Tensor]:
    weights = rows * group.row_bytes
    flat = data[:weights].view(group.dtype).view(rows, group.layout.size)
    modules = len(group.layout.pairs)
    if not modules:
        return flat, torch.ones(rows, 0)
    return flat, data[weights:].view(torch.float32).view(rows, modules)


def _header(tensors: dict[str, Tensor], proof: str) -> bytes:
    described: dict[str, object] = {METADATA: {"digest": proof}}
    start = 0
    for name, each in tensors.items():
        kind, offsets = STORED_AS[each.dtype], [start, start + each.nbytes]
        described[name] = {"dtype": kind, "shape": list(each.shape), "data_offsets": offsets}
        start += each.nbytes
    text = json.dumps(described, separators=(",", ":")).encode()
    length = -(-(PREFIX + len(text)) // BOUNDARY) * BOUNDARY - PREFIX
    return length.to_bytes(PREFIX, "little") + text.ljust(length)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _fits(header: Header, rows: int, group: Group) -> bool:
    modules, found = len(group.layout.pairs), header.structure.tensors
    needed = {"flat": (STORED_AS[group.dtype], (rows, group.layout.size))}
    if modules:
        needed["scale"] = ("F32", (rows, modules))
    told = {name: (each.dtype, each.shape) for name, each in found.items()}
    return told == needed and found["flat"].start == 0
