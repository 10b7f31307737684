from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

# names of SD-1.5, each with the widths of a much smaller model
SITES = [
    f"down_blocks.{block}.attentions.0.transformer_blocks.0.{attention}.{projection}"
    for block in range(2)
    for attention in ("attn1", "attn2")
    for projection in ("to_q", "to_v")
]
WIDTH, PROMPT_WIDTH = 12, 7


def factors(
    seed: int, rank: int, sites: Iterable[str] = SITES, width: int = WIDTH
) -> dict[str, tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for site in sites:
        inner = PROMPT_WIDTH if site.endswith("attn2.to_v") else width
        up = torch.randn(width, rank, generator=draw)
        found[site] = up, torch.randn(rank, inner, generator=draw)
    return found


def write_diffusers(
    path: Path,
    seed: int = 0,
    rank: int = 2,
    dtype: torch.dtype = torch.float32,
    sites: Iterable[str] = SITES,
    width: int = WIDTH,
    metadata: dict[str, str] | None = None,
) -> Path:
    tensors = {}
    for site, (up, down) in factors(seed, rank, sites, width).items():
        tensors[f"unet.{site}.lora.up.weight"] = up.to(dtype)
        tensors[f"unet.{site}.lora.down.weight"] = down.to(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata)
    return path


def write_kohya(path: Path, seed: int = 0, rank: int = 2, alpha: float = 1.0) -> Path:
    tensors = {}
    for site, (up, down) in factors(seed, rank).items():
        stem = f"lora_unet_{site.replace('.', '_')}"
        tensors[f"{stem}.lora_up.weight"] = up
        tensors[f"{stem}.lora_down.weight"] = down
        tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path
