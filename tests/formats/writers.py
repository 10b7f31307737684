"""Writers: adapter files by the libraries that own the formats, and what wsa makes of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from wsa.population.reading import EVERYTHING, Reading
from wsa.population.source import open_population
from wsa_kernels.matrices import Delta

Tensors = dict[str, Tensor]
ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.v_proj = nn.Linear(12, 8), nn.Linear(12, 10)
        self.conv, self.point = nn.Conv2d(6, 8, 3), nn.Conv2d(6, 4, 1)


class Small(nn.Module):
    """One module of every kind that an adapter may have."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.tokens = nn.Embedding(20, 6)
        self.joined = Conv1D(10, 12)
        self.line, self.volume = nn.Conv1d(4, 6, 3), nn.Conv3d(3, 4, 2)
        self.classifier = nn.Linear(8, 3)


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Fill everything that an adapter added, so that no update is zero."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            values = torch.randn(parameter.shape, generator=draw)
            parameter.data.copy_(values / 2)


@dataclass(frozen=True)
class Written:
    """A file, and the updates that its library makes of it, as matrices by module."""

    path: Path
    updates: Tensors


def by_peft(folder: Path, config: Any, dtype: torch.dtype = torch.float32) -> Written:
    """Save an adapter of a small model with peft, and let peft read it again."""
    model = get_peft_model(Small(), config).to(dtype)
    randomise(model)
    model.save_pretrained(folder)
    # read, not kept: peft sorts the patterns it saves, and the first that matches decides
    return Written(folder / ADAPTER, peft_updates(PeftModel.from_pretrained(Small(), folder)))


def peft_updates(model: nn.Module) -> Tensors:
    """Return the updates that peft would merge, in float64."""
    found = {}
    for name, module in model.double().named_modules():
        for adapter in getattr(module, "scaling", {}):
            update = module.get_delta_weight(adapter).detach()
            # transposed for the sake of Conv1D, whose weight is [in, out]
            update = update.T if getattr(module, "fan_in_fan_out", False) else update
            found[name.removeprefix("base_model.model.")] = update.flatten(1)
    return found


def read(path: Path, reading: Reading = EVERYTHING) -> Tensors:
    """Form every update of the first adapter as wsa sees it, in float64."""
    population = open_population(str(path), reading)
    shard = population.read(*population.ranges()[0])
    delta = Delta(shard.flat.double(), population.groups[0].layout, shard.scale)
    names = population.catalogue.layers("delta").names
    return {name: delta.update(0, index) for index, name in enumerate(names)}


def assert_same(found: Tensors, expected: Tensors) -> None:
    """Hold updates to those of a library: the same modules, each within 1e-6 of its norm."""
    assert found.keys() == expected.keys()
    for name, update in expected.items():
        assert found[name].shape == update.shape, name
        error = (found[name] - update.double()).norm() / update.double().norm()
        assert error < 1e-6, f"{name}: {error}"


def rewrite(
    path: Path, change: Callable[[Tensors], Tensors], metadata: dict[str, str] | None = None
) -> Path:
    """Store a file's tensors again, changed."""
    save_file(change(load_file(path)), path, metadata)
    return path


def reconfigure(folder: Path, **changes: Any) -> None:
    """Change what `adapter_config.json` says; None takes a setting out."""
    settings = json.loads((folder / CONFIG).read_text()) | changes
    kept = {name: value for name, value in settings.items() if value is not None}
    (folder / CONFIG).write_text(json.dumps(kept))


def lora(
    out: int = 4, width: int = 3, rank: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Draw up [out, r] and down [r, in]."""
    draw = torch.Generator().manual_seed(seed)
    up, down = torch.randn(out, rank, generator=draw), torch.randn(rank, width, generator=draw)
    return up.to(dtype), down.to(dtype)


def write_peft(path: Path, seed: int = 0, modules: int = 2, out: int = 4) -> Path:
    """Write a sound adapter in peft's names, without a configuration."""
    tensors: Tensors = {}
    for number in range(modules):
        up, down = lora(out, seed=seed + number)
        stem = f"base_model.model.blocks.{number}.q_proj"
        tensors |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"format": "pt"})
    return path


def raw(header: bytes | Mapping[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    """Return the bytes of a file with any header at all."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], start: int, dtype: str = "F32", size: int = 4) -> dict[str, Any]:
    """Describe one tensor as a header does."""
    count = size
    for side in shape:
        count *= side
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + count]}
