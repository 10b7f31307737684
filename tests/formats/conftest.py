from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models import (
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    WanTransformer3DModel,
)
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

Modules = dict[str, tuple[int, int]]

SD15: dict[str, Any] = {
    "block_out_channels": (8, 8, 16, 16),
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
SDXL: dict[str, Any] = {
    "block_out_channels": (8, 8, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 48,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
FLUX: dict[str, Any] = {
    "attention_head_dim": 4,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "pooled_projection_dim": 6,
    "in_channels": 4,
    "axes_dims_rope": (2, 1, 1),
}
SD3: dict[str, Any] = {
    "num_layers": 3,
    "attention_head_dim": 4,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "caption_projection_dim": 8,
    "pooled_projection_dim": 6,
    "dual_attention_layers": (0,),
}
WAN: dict[str, Any] = {
    "num_layers": 2,
    "attention_head_dim": 12,
    "num_attention_heads": 2,
    "text_dim": 12,
    "freq_dim": 8,
    "ffn_dim": 32,
    "image_dim": 12,
    "added_kv_proj_dim": 24,
}
KINDS = (torch.nn.Linear, torch.nn.Conv2d)


def listed(component: str, build: Callable[[], torch.nn.Module]) -> Modules:
    """Return every module of a model that an adapter can have, with (out, in)."""
    with torch.device("meta"):
        model = build()
    return {
        f"{component}.{name}": (module.weight.shape[0], module.weight.shape[1])
        for name, module in model.named_modules()
        if isinstance(module, KINDS)
    }


def clip() -> Any:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=8,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=12,
            num_attention_heads=2,
            bos_token_id=0,
            eos_token_id=1,
        )
    )


def t5() -> Any:
    return T5EncoderModel(
        T5Config(
            vocab_size=8,
            d_model=8,
            d_kv=4,
            d_ff=16,
            num_layers=24,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


@pytest.fixture(scope="session")
def sd15() -> Modules:
    return listed("unet", lambda: UNet2DConditionModel(**SD15))


@pytest.fixture(scope="session")
def sdxl() -> Modules:
    return listed("unet", lambda: UNet2DConditionModel(**SDXL))


@pytest.fixture(scope="session")
def flux() -> Modules:
    return listed("transformer", lambda: FluxTransformer2DModel(**FLUX, guidance_embeds=True))


@pytest.fixture(scope="session")
def sd3() -> Modules:
    return listed("transformer", lambda: SD3Transformer2DModel(**SD3))


@pytest.fixture(scope="session")
def wan() -> Modules:
    return listed("transformer", lambda: WanTransformer3DModel(**WAN))


@pytest.fixture(scope="session")
def flux2() -> Modules:
    axes = {**FLUX, "axes_dims_rope": (1, 1, 1, 1)}
    del axes["pooled_projection_dim"]
    return listed("transformer", lambda: Flux2Transformer2DModel(**axes))


@pytest.fixture(scope="session")
def text_encoder() -> Modules:
    return listed("text_encoder", clip)


@pytest.fixture(scope="session")
def text_encoder_3() -> Modules:
    return listed("text_encoder_2", t5)
