"""The UNet of Stable Diffusion 1, 2 and XL, in diffusers' names and in the original ones."""

from __future__ import annotations

from wsa.formats.grammar import Grammar, same

# input and output blocks count straight through: two layers a level, then one that resamples
_LEVEL = 3
_ORIGINAL_BLOCKS = 12

_TRANSFORMER = [
    f"transformer_blocks.#.{tail}"
    for tail in (
        *(f"attn{a}.to_{p}" for a in (1, 2) for p in ("q", "k", "v", "out.0")),
        "ff.net.0.proj",
        "ff.net.2",
    )
]
_ATTENTION = same(["proj_in", "proj_out", *_TRANSFORMER])
_RESNET = same(["conv1", "conv2", "conv_shortcut", "time_emb_proj"])
_ORIGINAL_RESNET = {
    "in_layers.2": "conv1",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "emb_layers.1": "time_emb_proj",
}
_ORIGINAL_ENDS = {
    "input_blocks.0.0": "conv_in",
    "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
}


def _under(stored: str, canonical: str, tails: dict[str, str]) -> dict[str, str]:
    return {f"{stored}.{tail}": f"{canonical}.{name}" for tail, name in tails.items()}


def _diffusers() -> dict[str, str]:
    rules = same(_ORIGINAL_ENDS.values())
    rules |= same(["time_embedding.cond_proj"])
    rules |= same(["down_blocks.#.downsamplers.0.conv", "up_blocks.#.upsamplers.0.conv"])
    for block in ("down_blocks.#", "mid_block", "up_blocks.#"):
        rules |= _under(f"{block}.attentions.#", f"{block}.attentions.#", _ATTENTION)
        rules |= _under(f"{block}.resnets.#", f"{block}.resnets.#", _RESNET)
    return rules


def _layer(stored: str, level: str, index: int) -> dict[str, str]:
    rules = _under(f"{stored}.0", f"{level}.resnets.{index}", _ORIGINAL_RESNET)
    return rules | _under(f"{stored}.1", f"{level}.attentions.{index}", _ATTENTION)


def _original() -> dict[str, str]:
    rules = _layer("middle_block", "mid_block", 0)
    for number in range(1, _ORIGINAL_BLOCKS):
        level, index = divmod(number - 1, _LEVEL)
        rules |= _input(f"input_blocks.{number}", f"down_blocks.{level}", index)
    rules |= _under("middle_block.2", "mid_block.resnets.1", _ORIGINAL_RESNET)
    for number in range(_ORIGINAL_BLOCKS):
        level, index = divmod(number, _LEVEL)
        rules |= _output(f"output_blocks.{number}", f"up_blocks.{level}", index)
    return rules


def _input(stored: str, level: str, index: int) -> dict[str, str]:
    if index == _LEVEL - 1:
        return {f"{stored}.0.op": f"{level}.downsamplers.0.conv"}
    return _layer(stored, level, index)


def _output(stored: str, level: str, index: int) -> dict[str, str]:
    rules = _layer(stored, level, index)
    if index == _LEVEL - 1:
        # it comes second where the level has no attention, third where it has
        for position in (1, 2):
            rules[f"{stored}.{position}.conv"] = f"{level}.upsamplers.0.conv"
    return rules


# the original ends (`out.2`) say too little to be recognised without a prefix
BLOCKS = Grammar(_diffusers() | _original())
UNET = Grammar(BLOCKS.rules | _ORIGINAL_ENDS)
