"""Wan 2.1 and 2.2, in the original names, which musubi-tuner and ComfyUI store, and diffusers'."""

from __future__ import annotations

from wsa.formats.grammar import Grammar, Shape, same

_ENDS = {"0": "linear_1", "2": "linear_2"}
_RULES = {
    f"blocks.#.{stored}.{short}": f"blocks.#.{canonical}.{name}"
    for stored, canonical in (("self_attn", "attn1"), ("cross_attn", "attn2"))
    for short, name in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))
} | {
    "blocks.#.cross_attn.k_img": "blocks.#.attn2.add_k_proj",
    "blocks.#.cross_attn.v_img": "blocks.#.attn2.add_v_proj",
    "blocks.#.ffn.0": "blocks.#.ffn.net.0.proj",
    "blocks.#.ffn.2": "blocks.#.ffn.net.2",
    **{f"text_embedding.{n}": f"condition_embedder.text_embedder.{e}" for n, e in _ENDS.items()},
    **{f"time_embedding.{n}": f"condition_embedder.time_embedder.{e}" for n, e in _ENDS.items()},
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "head.head": "proj_out",
    "patch_embedding": "patch_embedding",
}
_GRAMMAR = Grammar(_RULES | same(_RULES.values()))
# without a prefix `head.head` says too little
_BLOCKS = Grammar({name: found for name, found in _RULES.items() if name.startswith("blocks.")})


def find(name: str, _shape: Shape) -> str | None:
    """Return the canonical name."""
    found = _GRAMMAR.find(name)
    return found and f"transformer.{found}"


def find_block(name: str, _shape: Shape) -> str | None:
    """Return the canonical name of a module of a block, whose stored name has no prefix."""
    found = _BLOCKS.find(name)
    return found and f"transformer.{found}"
