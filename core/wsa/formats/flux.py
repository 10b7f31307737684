"""FLUX.1 and FLUX.2, in diffusers' names, the original ones and those of XLabs."""

from __future__ import annotations

from wsa.formats.grammar import Grammar, Place, Shape, UnknownModule, same

_DOUBLE, _SINGLE = "transformer_blocks.#", "single_transformer_blocks.#"
_STREAMS = {"img": ("", "ff"), "txt": ("_context", "ff_context")}
_IMAGE = ("to_q", "to_k", "to_v")
_TEXT = ("add_q_proj", "add_k_proj", "add_v_proj")
_EMBEDDERS = {"time": "timestep", "vector": "text", "guidance": "guidance"}
_ENDS = {"in_layer": "linear_1", "out_layer": "linear_2"}
# hidden widths that FLUX.2 has and FLUX.1 has not
_SECOND_WIDTHS = (4096, 6144)
# longer side / shorter side of what both models store under one name: FLUX.1, FLUX.2
_RATIOS = {
    "ff.net.0.proj": (4, 6),
    "ff_context.net.0.proj": (4, 6),
    "ff.net.2": (4, 3),
    "ff_context.net.2": (4, 3),
    "attn.to_qkv_mlp_proj": (7, 9),
    "proj_out": (5, 4),
}

_BOTH = Grammar(
    {
        "double_blocks.#.img_attn.qkv": f"{_DOUBLE}.attn.to_qkv",
        "double_blocks.#.img_attn.proj": f"{_DOUBLE}.attn.to_out.0",
        "double_blocks.#.txt_attn.qkv": f"{_DOUBLE}.attn.to_added_qkv",
        "double_blocks.#.txt_attn.proj": f"{_DOUBLE}.attn.to_add_out",
        "double_blocks.#.processor.qkv_lora1": f"{_DOUBLE}.attn.to_qkv",
        "double_blocks.#.processor.proj_lora1": f"{_DOUBLE}.attn.to_out.0",
        "double_blocks.#.processor.qkv_lora2": f"{_DOUBLE}.attn.to_added_qkv",
        "double_blocks.#.processor.proj_lora2": f"{_DOUBLE}.attn.to_add_out",
        "single_blocks.#.processor.qkv_lora": f"{_SINGLE}.attn.to_qkv",
        "single_blocks.#.processor.proj_lora": f"{_SINGLE}.proj_out",
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "final_layer.linear": "proj_out",
        "final_layer.adaLN_modulation.1": "norm_out.linear",
    }
)
_FIRST_RULES = {
    f"{part}_in.{layer}": f"time_text_embed.{name}_embedder.{linear}"
    for part, name in _EMBEDDERS.items()
    for layer, linear in _ENDS.items()
} | {
    "single_blocks.#.linear1": f"{_SINGLE}.attn.to_qkv_mlp_proj",
    "single_blocks.#.linear2": f"{_SINGLE}.proj_out",
    "single_blocks.#.modulation.lin": f"{_SINGLE}.norm.linear",
}
_SECOND_RULES = {
    f"{part}_in.{layer}": f"time_guidance_embed.{_EMBEDDERS[part]}_embedder.{linear}"
    for part in ("time", "guidance")
    for layer, linear in _ENDS.items()
} | {
    "single_blocks.#.linear1": f"{_SINGLE}.attn.to_qkv_mlp_proj",
    "single_blocks.#.linear2": f"{_SINGLE}.attn.to_out",
    "single_stream_modulation.lin": "single_stream_modulation.linear",
}
for _stream, (_suffix, _ff) in _STREAMS.items():
    _FIRST_RULES |= {
        f"double_blocks.#.{_stream}_mlp.0": f"{_DOUBLE}.{_ff}.net.0.proj",
        f"double_blocks.#.{_stream}_mlp.2": f"{_DOUBLE}.{_ff}.net.2",
        f"double_blocks.#.{_stream}_mod.lin": f"{_DOUBLE}.norm1{_suffix}.linear",
    }
    _SECOND_RULES |= {
        f"double_blocks.#.{_stream}_mlp.0": f"{_DOUBLE}.{_ff}.linear_in",
        f"double_blocks.#.{_stream}_mlp.2": f"{_DOUBLE}.{_ff}.linear_out",
        f"double_stream_modulation_{_stream}.lin": f"double_stream_modulation_{_stream}.linear",
    }
_FIRST, _SECOND = Grammar(_FIRST_RULES), Grammar(_SECOND_RULES)
_DIFFUSERS = Grammar(
    same(
        [
            *_BOTH.rules.values(),
            *_FIRST_RULES.values(),
            *_SECOND_RULES.values(),
            *(f"{_DOUBLE}.attn.{name}" for name in (*_IMAGE, *_TEXT)),
            *(f"{_SINGLE}.attn.{name}" for name in _IMAGE),
            f"{_SINGLE}.proj_mlp",
        ]
    )
)


def find(name: str, shape: Shape) -> str | None:
    """Return the canonical name; raises UnknownModule where the shape fits no FLUX."""
    found = _DIFFUSERS.find(name) or _BOTH.find(name)
    if not found:
        first, second = _FIRST.find(name), _SECOND.find(name)
        found = _chosen(name, first, second, shape) if first and second else first or second
    return found and f"transformer.{found}"


def _chosen(name: str, first: str, second: str, shape: Shape) -> str:
    ratios = next((both for tail, both in _RATIOS.items() if first.endswith(f".{tail}")), None)
    if ratios is None:
        return second if shape[0] in _SECOND_WIDTHS else first
    long, short = max(shape), min(shape)
    for ratio, canonical in zip(ratios, (first, second), strict=True):
        if long == ratio * short:
            return canonical
    raise UnknownModule(
        name, f"its sides need ratio {ratios[0]} (FLUX.1) or {ratios[1]} (FLUX.2), got {shape}"
    )


def parts(stem: str, module: str, shape: Shape) -> tuple[Place, ...]:
    """Return what a stored update is made of: several modules in one, or one as it is."""
    attention, _, fused = module.rpartition(".")
    if fused == "to_qkv":
        return _thirds(stem, attention, _IMAGE, shape[0])
    if fused == "to_added_qkv":
        return _thirds(stem, attention, _TEXT, shape[0])
    # FLUX.2 has no smaller modules: there it is one, nine times as high as wide
    if fused == "to_qkv_mlp_proj" and shape[0] == _RATIOS["attn.to_qkv_mlp_proj"][0] * shape[1]:
        rest = Place(f"{attention.removesuffix('.attn')}.proj_mlp", ((3 * shape[1], shape[0]),))
        return (*_thirds(stem, attention, _IMAGE, 3 * shape[1]), rest)
    return (in_order(stem, module, shape),)


def in_order(stem: str, module: str, shape: Shape) -> Place:
    """Return one place; the original stores shift and scale, diffusers scale and shift.

    Of what ends the model, that is; in SD-3 the text stream's last block does.
    """
    last = module == "transformer.norm_out.linear" and "final_layer" in stem
    if not last and not ("context_block" in stem and _is_last_context(module, shape)):
        return Place(module)
    half = shape[0] // 2
    return Place(module, ((half, shape[0]), (0, half)))


def _is_last_context(module: str, shape: Shape) -> bool:
    # two modulations, where blocks that go on have six
    return module.endswith(".norm1_context.linear") and shape[0] == 2 * shape[1]


def _thirds(stem: str, attention: str, names: tuple[str, ...], rows: int) -> tuple[Place, ...]:
    if rows % len(names):
        raise UnknownModule(stem, f"its rows need {len(names)} equal parts, got {rows}")
    size = rows // len(names)
    return tuple(
        Place(f"{attention}.{name}", ((i * size, (i + 1) * size),)) for i, name in enumerate(names)
    )
