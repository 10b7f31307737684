"""Header: what a safetensors file says it holds, proved before a byte of it is believed.

The format: 8 bytes of length, a JSON object {name: {dtype, shape, data_offsets}}, the tensors.
Headers of one population differ in their metadata only; what describes the tensors is parsed once
for each distinct text.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from wsa.errors import cause
from wsa.formats.refusal import BadFile, quoted
from wsa.storage import digest

PREFIX = 8
# Metadata of sd-scripts lists every tag of the training set and may reach megabytes.
LONGEST_HEADER = 16 << 20
# JSON of this size that is no header became 32 MB of Python objects (lists in lists); a larger one
# is first held to the format by safetensors' own parser, which builds none.
TRUSTED_HEADER = 1 << 20
# Texts in a larger one: 100,000 tensors have five each, and take 200 MB until they are described.
MOST_TEXTS = 500_000
MOST_DIMENSIONS = 8
METADATA = "__metadata__"
# what is downloaded or renamed by mistake, by its first bytes
_OTHERS = {
    b"version ": "it is a pointer of Git LFS; `git lfs pull` puts the file in its place",
    b"PK\3\4": "it is a zip, as torch.save writes, under another name",
}
_METADATA_FIRST = re.compile(r'\s*\{\s*"__metadata__"\s*:\s*')
# one JSON text, or what is left of one: never tried again from inside
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"?+', re.DOTALL)
# Bytes of an element, by the name safetensors has for its type.
ITEM_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1},
    **{"I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4},
    **{"F64": 8, "I64": 8, "U64": 8, "C64": 8},
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a file: its type, its shape, and the bytes `start` to `stop` of the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Structure:
    """The tensors of a file by name; equal for all files whose headers describe them equally."""

    tensors: Mapping[str, Stored]
    digest: str

    @cached_property
    def data_bytes(self) -> int:
        """Count the bytes of all tensors, which lie without a gap."""
        return max((each.stop for each in self.tensors.values()), default=0)


@dataclass(frozen=True)
class Header:
    """What one file holds, what it says of itself, and where its tensors begin."""

    structure: Structure
    metadata: Mapping[str, str]
    data_start: int
    digest: str  # of its text, metadata included


class HeaderReader:
    """Reads headers, and parses each distinct description of tensors once."""

    def __init__(self) -> None:
        self._structures: dict[str, Structure] = {}

    def read(self, path: Path) -> Header:
        """Return a file's header; raises BadFile for what is no sound safetensors file."""
        refuse_irregular(path)
        try:
            with path.open("rb", buffering=0) as file:
                text, size = _text(file)
        except OSError as problem:
            raise BadFile(f"it cannot be read: {problem.strerror or problem}") from problem
        if len(text) > TRUSTED_HEADER:
            _refuse_crowd(text)
            _prove(path)
        header = self.parse(text)
        _refuse_other_size(header.data_start + header.structure.data_bytes, size)
        return header

    def parse(self, text: bytes) -> Header:
        """Return the header that a JSON text describes."""
        try:
            metadata, described = _split(text.decode())
            key = digest(described.encode())
            if key not in self._structures:
                self._structures[key] = _structure(described, key)
        except (ValueError, RecursionError) as problem:
            raise BadFile(f"its header is not the JSON it must be: {cause(problem)}") from problem
        structure = self._structures[key]
        if metadata is None:
            metadata = json.loads(text).get(METADATA, {})
        return Header(structure, _checked_metadata(metadata), PREFIX + len(text), digest(text))


def _refuse_other_size(needed: int, size: int) -> None:
    if size < needed:
        raise BadFile(
            f"its header describes {needed} bytes, the file has {size}: it is cut, {needed - size} "
            f"bytes are missing"
        )
    if size > needed:
        raise BadFile(
            f"its header describes {needed} bytes, the file has {size}: {size - needed} bytes lie "
            f"behind the last tensor"
        )


def refuse_irregular(path: Path) -> None:
    """Raise BadFile for what is no regular file: a pipe would be waited for, for ever."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as problem:
        raise BadFile(f"it cannot be read: {problem.strerror}") from problem
    if not regular:
        raise BadFile("it is no regular file")


def _text(file: BinaryIO) -> tuple[bytes, int]:
    size = os.fstat(file.fileno()).st_size
    start = file.read(PREFIX)
    if len(start) < PREFIX:
        raise BadFile(f"it has {size} bytes; a safetensors file needs {PREFIX} and a header")
    length = int.from_bytes(start, "little")
    if length > size - PREFIX:
        told = f"its header claims {length} bytes, the file has {size}; it is cut?"
        raise BadFile(_other_format(start) or told)
    if not 2 <= length <= LONGEST_HEADER:
        raise BadFile(f"its header claims {length} bytes; needed 2 to {LONGEST_HEADER}")
    return file.read(length), size


def _other_format(start: bytes) -> str | None:
    """Say what a file is by its first bytes, where they are no length of a header."""
    known = next((told for magic, told in _OTHERS.items() if start.startswith(magic)), None)
    if known or not start.isascii() or not "".join(start.decode().split()).isprintable():
        return known
    return f"it is a text that begins with {start.decode()!r}, no safetensors file"


def _refuse_crowd(text: bytes) -> None:
    if next(islice(_TEXT.finditer(text), MOST_TEXTS, None), None):
        raise BadFile(f"its header has more than {MOST_TEXTS} texts")


def _prove(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        safe_open(path, "numpy")
    except (SafetensorError, OSError) as problem:
        raise BadFile(f"its header is not what it must be: {cause(problem)}") from problem


def _split(text: str) -> tuple[Any, str]:
    """Part the metadata, which differs from file to file, from what describes the tensors.

    The metadata is None where it does not come first, as every known writer puts it.
    """
    first = _METADATA_FIRST.match(text)
    if not first:
        return None, text
    metadata, end = _DECODER.raw_decode(text, first.end())
    rest = text[end:].lstrip()
    if not re.match(r',\s*"|}', rest):
        raise ValueError("no name after the metadata")
    if METADATA in (described := "{" + rest.removeprefix(",")):
        return None, text
    return metadata, described


def _structure(text: str, key: str) -> Structure:
    described = _DECODER.decode(text)
    if not isinstance(described, dict):
        raise BadFile(f"its header is a {type(described).__name__}; needed a JSON object")
    described.pop(METADATA, None)
    _encoded(described)
    tensors = {name: _stored(name, entry) for name, entry in described.items()}
    _refuse_gaps(tensors)
    return Structure(tensors, key)


def _stored(name: str, entry: Any) -> Stored:
    needed = "needed dtype, shape and data_offsets"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise BadFile(f"its header describes {quoted(name)} badly: {needed}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise BadFile(f"{quoted(name)} has type {quoted(str(dtype))}, which nobody can read")
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
        raise BadFile(f"its header describes {quoted(name)} badly: {needed}, whole numbers")
    if 0 in shape or len(shape) > MOST_DIMENSIONS:
        told = "no element at all" if 0 in shape else f"more than {MOST_DIMENSIONS} dimensions"
        raise BadFile(f"{quoted(name)} has shape {quoted(str(shape))}: {told}")
    start, stop = offsets
    if stop - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise BadFile(f"{quoted(name)} needs other bytes for {dtype} {shape} than {start}..{stop}")
    return Stored(dtype, tuple(shape), start, stop)


def _whole(values: Any) -> bool:
    # bool is an int; a number above 2^63 is no size
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in values)


def _refuse_gaps(tensors: Mapping[str, Stored]) -> None:
    end, before = 0, "the header"
    for name, each in sorted(tensors.items(), key=lambda item: item[1].start):
        if each.start != end:
            what = "overlaps" if each.start < end else "leaves a gap after"
            raise BadFile(f"{quoted(name)} {what} {quoted(before)}: it starts at byte {each.start}")
        end, before = each.stop, name


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadFile(f"its header names {quoted(name)} twice")
        found[name] = value
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _checked_metadata(metadata: Any) -> Mapping[str, str]:
    texts = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    if not texts:
        raise BadFile("its header's metadata needs texts by name")
    _encoded([*metadata, *metadata.values()])
    found: Mapping[str, str] = metadata
    return found


def _encoded(texts: Iterable[str]) -> None:
    """Refuse half a character, which JSON can escape and no label or message can hold."""
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError as problem:
        raise BadFile(f"its header holds a text that is no text: {cause(problem)}") from problem
