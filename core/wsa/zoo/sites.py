"""Sites: the 64 modules of an adapter, named as in a Stable Diffusion 1.5 file."""

from __future__ import annotations

PROJECTIONS = ("attn1.to_q", "attn1.to_v", "attn2.to_q", "attn2.to_v")
# The projection that reads prompt tokens, which are not as wide as image tokens.
TEXT_PROJECTION = "attn2.to_v"

BLOCKS = (
    *(f"unet.down_blocks.{block}.attentions.{layer}" for block in (0, 1, 2) for layer in (0, 1)),
    "unet.mid_block.attentions.0",
    *(f"unet.up_blocks.{block}.attentions.{layer}" for block in (1, 2, 3) for layer in (0, 1, 2)),
)


def module(block: int, projection: str) -> str:
    """Return the published name of one adapted projection of block 0..15."""
    return f"{BLOCKS[block]}.transformer_blocks.0.{projection}"


def column(module: str, half: str) -> str:
    """Return the column that holds the `down` or `up` matrix of a module."""
    return f"{module}.lora.{half}.weight"
