"""Stable Diffusion 3 and 3.5, in the original names, which sd-scripts stores, and diffusers'.

Fused qkv are parted, and the halves of what comes last swapped, as those of FLUX are.
"""

from __future__ import annotations

from wsa.formats.grammar import Grammar, Shape, same

_BLOCK = "transformer_blocks.#"
_STREAMS = {"x_block": ("", "ff"), "context_block": ("_context", "ff_context")}
_RULES = {
    "joint_blocks.#.x_block.attn.qkv": f"{_BLOCK}.attn.to_qkv",
    "joint_blocks.#.x_block.attn.proj": f"{_BLOCK}.attn.to_out.0",
    "joint_blocks.#.x_block.attn2.qkv": f"{_BLOCK}.attn2.to_qkv",
    "joint_blocks.#.x_block.attn2.proj": f"{_BLOCK}.attn2.to_out.0",
    "joint_blocks.#.context_block.attn.qkv": f"{_BLOCK}.attn.to_added_qkv",
    "joint_blocks.#.context_block.attn.proj": f"{_BLOCK}.attn.to_add_out",
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
for _stream, (_suffix, _ff) in _STREAMS.items():
    _RULES |= {
        f"joint_blocks.#.{_stream}.mlp.fc1": f"{_BLOCK}.{_ff}.net.0.proj",
        f"joint_blocks.#.{_stream}.mlp.fc2": f"{_BLOCK}.{_ff}.net.2",
        f"joint_blocks.#.{_stream}.adaLN_modulation.1": f"{_BLOCK}.norm1{_suffix}.linear",
    }
for _part, _name in (("t", "timestep"), ("y", "text")):
    for _stored, _linear in (("0", "linear_1"), ("2", "linear_2")):
        _RULES[f"{_part}_embedder.mlp.{_stored}"] = f"time_text_embed.{_name}_embedder.{_linear}"
_PARTS = [f"{_BLOCK}.attn2.{name}" for name in ("to_q", "to_k", "to_v")]
_GRAMMAR = Grammar(_RULES | same([*_RULES.values(), *_PARTS]))


def find(name: str, _shape: Shape) -> str | None:
    """Return the canonical name."""
    found = _GRAMMAR.find(name)
    return found and f"transformer.{found}"
