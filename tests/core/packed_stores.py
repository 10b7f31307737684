"""Adapter files for tests, as diffusers writes them, and the packed store made of them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

MODULE = "unet.down_blocks.0.attentions.{block}.transformer_blocks.0.attn{kind}.to_{projection}"
KEYS = [
    f"{MODULE.format(block=block, kind=kind, projection=projection)}.lora"
    for block in range(2)
    for kind in (1, 2)
    for projection in "qv"
]
WIDTH = 24


def adapter(
    seed: int, rank: int = 2, dtype: torch.dtype = torch.float16
) -> dict[str, torch.Tensor]:
    """Draw the matrices of one adapter, by their stored keys."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for key in KEYS:
        for half, shape in (("down", (rank, WIDTH)), ("up", (WIDTH, rank))):
            found[f"{key}.{half}.weight"] = torch.randn(shape, generator=generator).to(dtype)
    return found


def write_adapters(
    root: Path, count: int, rank: int = 2, dtype: torch.dtype = torch.float16, prefix: str = "a"
) -> Path:
    """Write adapter files and the table of their labels, and return their folder."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        save_file(adapter(number, rank, dtype), root / f"{prefix}{number:03}.safetensors")
    names = sorted(path.name for path in root.glob("*.safetensors"))
    rows = [f"{name},{row % 2},{row / 4}" for row, name in enumerate(names)]
    (root / "labels.csv").write_text("\n".join(["path,category_label,score", *rows]) + "\n")
    return root
