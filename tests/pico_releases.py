"""Stored names of projectors that no class of transformers writes: RELEASES lists the tensors of families that it does
not have, ALIASES the other spellings of those that it has.
"""

from tests.pico_families import D, T

LEAVES = ("weight", "bias")


def _layers(prefix: str, *layers: tuple[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """{stored name: shape} of layers with a bias."""
    return {
        f"{prefix}{name}.{leaf}": shape[: 2 if leaf == "weight" else 1] for name, shape in layers for leaf in LEAVES
    }


# Families that transformers does not have (Gemma 3n: not without timm; Qwen2.5-Omni: in parts), in the names of their
# releases.
RELEASES: dict[str, dict[str, tuple[int, ...]]] = {
    "llava_linear": {"model.mm_projector.weight": (T, D), "model.mm_projector.bias": (T,)},
    "gemma3n": {
        "model.embed_vision.embedding.weight": (8, D),
        "model.embed_vision.hard_embedding_norm.weight": (D,),
        "model.embed_vision.soft_embedding_norm.weight": (D,),
        "model.embed_vision.embedding_projection.weight": (T, D),
    },
    "qwen2_5_omni": {"thinker.visual.merger.ln_q.weight": (D,)}
    | _layers("thinker.", ("visual.merger.mlp.0", (4 * D, 4 * D)), ("visual.merger.mlp.2", (T, 4 * D)))
    | _layers("thinker.audio_tower.", ("proj", (T, D))),
    "minigpt4": {"query_tokens": (1, 4, D), "Qformer.bert.x.weight": (D, D)} | _layers("", ("llama_proj", (T, D))),
    "pixtral": _layers("vision_language_adapter.", ("w_in", (T, D)), ("w_out", (T, T))),
    "kimi_vl": _layers(
        "multi_modal_projector.", ("pre_norm", (D,)), ("linear_1", (4 * D, 4 * D)), ("linear_2", (T, 4 * D))
    ),
    "deepseek_vl2": {"image_newline": (T,), "view_seperator": (T,)}
    | _layers("projector.layers.", ("0", (T, 4 * D)), ("2", (T, T))),
    "minicpmv": {
        "resampler.query": (4, T),
        "resampler.proj": (T, T),
        "resampler.kv_proj.weight": (T, D),
        "resampler.attn.in_proj_weight": (3 * T, T),
        "resampler.attn.in_proj_bias": (3 * T,),
    }
    | _layers("resampler.", ("attn.out_proj", (T, T)), ("ln_q", (T,)), ("ln_kv", (T,)), ("ln_post", (T,))),
}


def _names(prefix: str, *layers: str) -> list[str]:
    return [f"{prefix}{layer}.{leaf}" for layer in layers for leaf in LEAVES]


# Other spellings in which projectors of families that transformers has are in circulation.
_POOLING = _names("model.vision_backbone.image_pooling_2d.", "wq", "wk", "wv", "wo")
_PHI = "model.embed_tokens_extend.image_embed."
ALIASES: dict[str, list[list[str]]] = {
    "llava": [
        _names("model.mm_projector.", "0", "2"),
        _names("base_model.model.model.mm_projector.", "0", "2"),
        _names("model.", "0", "2"),  # xtuner, saved alone
        _names("projector.model.", "0", "2"),
    ],
    "internvl": [_names("mlp1.", "0", "1", "3")],
    "mistral3": [
        [
            "vision_language_adapter.w_in.weight",
            "vision_language_adapter.w_out.weight",
            "patch_merger.merging_layer.weight",
            "pre_mm_projector_norm.weight",
        ]
    ],
    "kimi_k25": [_names("mm_projector.", "pre_norm", "proj.0", "proj.2")],
    "ovis2": [["vte.weight", "visual_tokenizer.head.0.weight", *_names("visual_tokenizer.head.", "1")]],
    "phi4_multimodal": [[*_names(f"{_PHI}img_projection.", "0", "2"), f"{_PHI}glb_GN", f"{_PHI}sub_GN"]],
    "deepseek_vl": [_names("aligner.layers.", "0", "2")],
    "deepseek_vl_hybrid": [_names("aligner.", "high_up_proj", "low_up_proj", "layers.1")],
    "molmo": [[*(f"model.vision_backbone.image_projector.{w}.weight" for w in ("w1", "w2", "w3")), *_POOLING]],
    "qwen2_vl": [_names("thinker.visual.merger.", "ln_q", "mlp.0", "mlp.2")],
}
