from __future__ import annotations

import json
import random
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from safetensors.torch import save as save_bytes
from tests.formats.writers import entry, lora, raw

from wsa.formats.adapter import AdapterReader
from wsa.formats.header import ITEM_BYTES, LONGEST_HEADER, MOST_TEXTS, HeaderReader
from wsa.formats.inspection import Inspected, inspect
from wsa.formats.refusal import BadFile

ONE = b"\0" * 4
LONGEST_REASON = 800
MOST_GROWTH = 256 << 10  # KiB


def described(path: Path, content: bytes) -> Inspected:
    # never emptied: ext4 waits for the disk where a file was, ten times as long as all else here
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(content)
        file.truncate()
    return inspect(path, AdapterReader())


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(BadFile) as refused:
        HeaderReader().read(path)
    assert len(str(refused.value)) < LONGEST_REASON
    assert str(refused.value).isprintable()
    return str(refused.value)


def pair(names: str = "a") -> bytes:
    one = json.dumps(entry([1], 0)).encode()
    return b"{" + b",".join(f'"{name}":'.encode() + one for name in names) + b"}"


ENTRY = json.dumps(entry([1], 0)).encode()
HEADERS: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "it has 0 bytes; a safetensors file needs 8 and a header"),
    "seven bytes": (b"\0" * 7, "it has 7 bytes"),
    "no header": (struct.pack("<Q", 0), "its header claims 0 bytes; needed 2"),
    "header larger than the file": (raw(b"{}", length=3), "claims 3 bytes, the file has 10"),
    "header of 2^64 - 1 bytes": (raw(b"{}", length=2**64 - 1), "claims 18446744073709551615"),
    "header shorter than its JSON": (raw(pair(), ONE, 20), "is not the JSON it must be"),
    "a pointer": (b"version https://git-lfs", "it is a pointer of Git LFS; `git lfs pull` puts"),
    "a page": (b"<html>\n<head>404", "it is a text that begins with '<html>\\n<', no safetensors"),
    "a zip": (b"PK\3\4" + bytes(40), "it is a zip, as torch.save writes, under another name"),
    "data cut": (raw(pair(), ONE[:3]), "describes 72 bytes, the file has 71: it is cut, 1 bytes"),
    "data too long": (
        raw(pair(), ONE + b"x"),
        "the file has 73: 1 bytes lie behind",
    ),
    "no object": (raw(b"[1]"), "its header is a list; needed a JSON object"),
    "not UTF-8": (raw(b'{"\xff\xfe":1}'), "is not the JSON it must be: UnicodeDecodeError"),
    "half a character": (raw(b'{"\\ud800":' + ENTRY + b"}", ONE), "a text that is no text"),
    "half a character of metadata": (
        raw(b'{"__metadata__":{"a":"\\udfff"},"a":' + ENTRY + b"}", ONE),
        "a text that is no text",
    ),
    "duplicate names": (raw(pair("aa"), ONE), "its header names 'a' twice"),
    "duplicate metadata": (
        raw(b'{"__metadata__":{},"__metadata__":{},"a":' + ENTRY + b"}", ONE),
        "its header names '__metadata__' twice",
    ),
    "duplicate metadata fields": (raw(b'{"__metadata__":{"a":"b","a":"c"}}'), "names 'a' twice"),
    "metadata and nothing": (raw(b'{"__metadata__":{},}'), "no name after the metadata"),
    "metadata of numbers": (raw(b'{"__metadata__":{"a":1}}'), "metadata needs texts by name"),
    "metadata null": (raw(b'{"__metadata__":null}'), "metadata needs texts by name"),
    "lists without an end": (raw(b"[" * 500_000), "RecursionError"),
    "objects without an end": (raw(b'{"a":' * 150_000), "RecursionError"),
    "NaN": (raw(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', ONE), "badly"),
    "a number of 5,000 digits": (raw(b'{"a":[' + b"9" * 5000 + b"]}"), "ValueError"),
    "40,000 dimensions": (
        raw({"a": {**entry([1], 0), "shape": [2**63 - 1] * 40_000}}, ONE),
        "more than 8 dimensions",
    ),
    "a type of 100,000 letters": (
        raw({"a": {**entry([1], 0), "dtype": "F" * 100_000}}),
        "type 'FFF",
    ),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_is_none_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    content, reason = HEADERS[case]
    assert reason in refusal(tmp_path / "one.safetensors", content)


ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "type unknown": ({"dtype": "F31"}, "has type 'F31', which nobody can read"),
    "type a list": ({"dtype": ["F32"]}, "which nobody can read"),
    "shape a number": ({"shape": 1}, "badly"),
    "side negative": ({"shape": [-1]}, "badly"),
    "side a fraction": ({"shape": [1.0]}, "badly"),
    "side true": ({"shape": [True]}, "badly"),
    "side huge": ({"shape": [2**63]}, "badly"),
    "side zero": ({"shape": [0, 3]}, r"has shape '[0, 3]': no element at all"),
    "sides whose product is huge": ({"shape": [2**62, 2**62]}, "needs other bytes"),
    "offsets three": ({"data_offsets": [0, 4, 8]}, "badly"),
    "offsets null": ({"data_offsets": None}, "badly"),
    "offsets negative": ({"data_offsets": [-4, 0]}, "badly"),
    "offsets reversed": ({"data_offsets": [4, 0]}, "needs other bytes"),
    "offsets too near": ({"data_offsets": [0, 3]}, "needs other bytes for F32 [1] than 0..3"),
    "a gap before": ({"data_offsets": [4, 8]}, "leaves a gap after 'the header'"),
    "a field more": ({"more": 1}, "needed dtype, shape and data_offsets"),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_a_tensor_that_cannot_be_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    change, reason = ENTRIES[case]
    content = raw({"a": entry([1], 0) | change}, ONE)
    assert reason in refusal(tmp_path / "one.safetensors", content)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (entry([1], 2), "'b' overlaps 'a': it starts at byte 2"),
        (entry([1], 5), "'b' leaves a gap after 'a': it starts at byte 5"),
        (entry([1], 0), "'b' overlaps 'a': it starts at byte 0"),
    ],
)
def test_tensors_that_overlap_or_leave_a_gap_are_refused(
    second: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    content = raw({"a": entry([1], 0), "b": second}, b"\0" * 9)
    assert refusal(tmp_path / "one.safetensors", content) == reason


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", "\t: ")])
@pytest.mark.parametrize("first", [True, False])
def test_metadata_is_found_wherever_and_however_it_is_written(
    separators: tuple[str, str], first: bool
) -> None:
    metadata, tensors = {"__metadata__": {"ss_tag": "a:b"}}, {"a": entry([1], 0)}
    parts = metadata | tensors if first else tensors | metadata
    header = HeaderReader().parse(json.dumps(parts, separators=separators).encode() + b"  ")
    assert header.metadata == {"ss_tag": "a:b"}
    assert list(header.structure.tensors) == ["a"]


def test_a_header_padded_with_spaces_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    path.write_bytes(raw(pair() + b" " * 7, ONE))
    assert HeaderReader().read(path).structure.data_bytes == 4


def test_equal_tensors_are_described_once_whatever_the_metadata() -> None:
    reader = HeaderReader()
    one, other = (
        reader.parse(json.dumps({"__metadata__": {"name": name}, "a": entry([1], 0)}).encode())
        for name in ("one", "other")
    )
    assert one.structure is other.structure
    assert one.digest != other.digest


names = st.text(max_size=8) | st.sampled_from(["__metadata__", "x.lora_A.weight", "x.alpha"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
numbers = st.lists(st.integers(-1, 9) | scalars, max_size=3)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*ITEM_BYTES]) | scalars,
        "shape": numbers,
        "data_offsets": numbers,
    },
    optional={"more": scalars},
)
headers = st.recursive(
    scalars | entries,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(headers, st.integers(0, 40))
def test_any_json_is_a_header_or_refused(header: Any, size: int) -> None:
    text = json.dumps(header).encode()
    try:
        found = HeaderReader().parse(text)
    except BadFile as problem:
        assert len(str(problem)) < LONGEST_REASON
    else:
        assert all(
            each.stop <= found.structure.data_bytes for each in found.structure.tensors.values()
        )


def sound() -> bytes:
    """Return the bytes of a sound file: eight modules of a UNet, with alphas and metadata."""
    tensors: dict[str, torch.Tensor] = {}
    for number in range(8):
        up, down = lora(4, 3, 2, number)
        stem = f"lora_unet_down_blocks_{number % 3}_attentions_0_transformer_blocks_0_attn1_to_q"
        stem = stem if number < 3 else f"lora_unet_mid_block_resnets_{number}_conv1"
        tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        tensors[f"{stem}.alpha"] = torch.tensor(1.0)
    return save_bytes(tensors, {"ss_network_dim": "2", "ss_tags": '{"a": 1}'})


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    draw = random.Random(seed)
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(count):
        changed = bytearray(content)
        kind = draw.randrange(6)
        if kind == 0:  # bytes of the header or the data
            start, stop = draw.choice([(0, 8 + length), (8 + length, len(content))])
            for _ in range(draw.randint(1, 8)):
                changed[draw.randrange(start, stop)] = draw.randrange(256)
        elif kind == 1:  # bytes of the header, for characters that JSON is made of
            for _ in range(draw.randint(1, 4)):
                changed[draw.randrange(8, 8 + length)] = draw.choice(b'"{}[]:,0123456789-.e\\ FUBI')
        elif kind == 2:
            del changed[draw.randrange(len(changed)) :]
        elif kind == 3:  # another length
            changed[:8] = struct.pack("<Q", max(0, length + draw.choice([-2, -1, 1, 9, 2**40])))
        elif kind == 4:  # a run of the header, twice or not at all
            start, stop = sorted(draw.randrange(8, 8 + length) for _ in range(2))
            changed[start:stop] = content[start:stop] * draw.choice([0, 2])
            changed[:8] = struct.pack("<Q", length + len(changed) - len(content))
        else:  # a number of the header
            text = bytes(changed[8 : 8 + length])
            places = [i for i, byte in enumerate(text) if byte in b"0123456789"]
            start = draw.choice(places)
            number = draw.choice([b"-1", b"0", b"1e9", b"9" * draw.choice([3, 25, 5000]), b"true"])
            text = text[:start] + number + text[start + 1 :]
            changed = bytearray(struct.pack("<Q", len(text)) + text + content[8 + length :])
        yield bytes(changed)


def test_10_000_mutated_files_end_in_a_reason_or_in_a_sound_file(tmp_path: Path) -> None:
    path, content = tmp_path / "one.safetensors", sound()
    assert not described(path, content).refused
    before, taken, reasons, slowest = forget_the_peak(), 0, set(), 0.0
    for changed in mutations(content, 10_000, seed=20):
        started = time.perf_counter()
        row = described(path, changed)
        slowest = max(slowest, time.perf_counter() - started)
        if row.refused:
            assert len(row.refused) < LONGEST_REASON and row.refused.isprintable()
            reasons.add(row.refused.split(" ")[0])
        else:
            taken += 1
            load_file(path)  # what is taken is a file to safetensors too
    assert slowest < 5
    assert held("VmHWM") - before < MOST_GROWTH
    # both outcomes are met: a changed weight or name is not seen, everything else is
    assert 500 < taken < 5000 and len(reasons) > 20


def held(what: str) -> int:
    """Return the memory that this process holds (VmRSS) or held at most (VmHWM), in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", status)[1])  # type: ignore[index]


def forget_the_peak() -> int:
    """Count the peak from now on; return what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return held("VmRSS")


def crowd(entries: int, before: bytes = b"", after: bytes = b"") -> bytes:
    one = b",".join(b'"%07x":""' % i for i in range(entries))
    return raw(b'{"__metadata__":{' + one + b'},"a":' + ENTRY + b"}", ONE)


def tensors(count: int) -> bytes:
    described = (
        b'"%x":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}' % (i, i, i + 1)
        for i in range(count)
    )
    return raw(b"{" + b",".join(described) + b"}", b"\0" * count)


BOMBS = {
    "as many tensors as are read": lambda: tensors(MOST_TEXTS // 5 - 1),
    "too many tensors": lambda: tensors(MOST_TEXTS // 5 + 1),
    "too many texts": lambda: crowd(MOST_TEXTS // 2),
    "lists": lambda: raw(b'{"a":[' + b",".join([b"[]"] * 4_000_000) + b"]}"),
    "sides": lambda: raw(
        b'{"a":{"dtype":"F32","data_offsets":[0,4],"shape":[' + b"1," * 6_000_000 + b"1]}}", ONE
    ),
    "too long": lambda: raw(b"{" + b" " * LONGEST_HEADER + b"}"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_header_that_would_fill_the_memory_is_refused_before_it_does(
    bomb: str, tmp_path: Path
) -> None:
    content = BOMBS[bomb]()
    before, started = forget_the_peak(), time.process_time()
    assert described(tmp_path / "one.safetensors", content).refused
    assert time.process_time() - started < 5
    assert held("VmHWM") - before < MOST_GROWTH


def test_a_header_of_megabytes_with_one_long_text_is_read(tmp_path: Path) -> None:
    tags = json.dumps({f"tag {i}": i for i in range(100_000)})
    path = tmp_path / "one.safetensors"
    path.write_bytes(save_bytes({"a": torch.ones(2)}, {"ss_tag_frequency": tags}))
    assert HeaderReader().read(path).metadata == {"ss_tag_frequency": tags}
