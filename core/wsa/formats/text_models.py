"""Text encoders (CLIP, T5) and language models, as Transformers names their modules."""

from __future__ import annotations

from wsa.formats.grammar import Grammar, same

_CLIP_LAYER = [
    *(f"layers.#.self_attn.{p}_proj" for p in ("q", "k", "v", "out")),
    "layers.#.mlp.fc1",
    "layers.#.mlp.fc2",
]
_CLIP_EMBEDDINGS = ["embeddings.token_embedding", "embeddings.position_embedding"]

CLIP = Grammar(
    same(
        [
            *(f"text_model.encoder.{name}" for name in _CLIP_LAYER),
            *(f"text_model.{name}" for name in _CLIP_EMBEDDINGS),
        ]
    )
)
# what the text model is called inside the encoder: Transformers 5 dropped one level
CLIP_INSIDE = Grammar(
    {f"encoder.{name}": f"text_model.encoder.{name}" for name in _CLIP_LAYER}
    | {name: f"text_model.{name}" for name in _CLIP_EMBEDDINGS}
    | same(["text_projection"])
)
T5 = Grammar(
    same(
        [
            *(f"encoder.block.#.layer.0.SelfAttention.{p}" for p in "qkvo"),
            *(f"encoder.block.#.layer.1.DenseReluDense.{p}" for p in ("wi", "wi_0", "wi_1", "wo")),
        ]
    )
)
LANGUAGE_MODEL = Grammar(
    same(
        [
            *(f"model.layers.#.self_attn.{p}_proj" for p in "qkvo"),
            *(f"model.layers.#.mlp.{p}_proj" for p in ("gate", "up", "down")),
            "lm_head",
            "model.embed_tokens",
        ]
    )
)
