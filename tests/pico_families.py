"""Pico models of every family that transformers loads: genuine classes built from tiny configs, no download.

`MODELS[name]` makes the model of a family of families.json; those that transformers does not have are in
tests.pico_releases.
"""

import contextlib
import copy
from collections.abc import Callable

import torch
import transformers as hf
from torch import nn
from torch.nn import functional as F

from projlens_core.activations.image_processors import PROCESSORS
from projlens_core.weights.layer import INSTRUCTION_IDS
from tests import pico

D, T = 16, 24  # widths of tower and language model
EXTRA = (
    "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<start_of_image>", "<end_of_image>", "<img>", "</img>",
    "<fake_token_around_image>", "<global-img>", "<row_1_col_1>", "<row_1_col_2>", "<row_2_col_1>", "<row_2_col_2>",
    "[IMG_BREAK]", "[IMG_END]", "<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>",
    "<|IMG_PATCH|>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_LINE_BREAK|>", "|NEWLINE|", "<0x04>",
    "<|image|>", "<|patch|>", "<|image_start|>", "<|image_end|>", "<|tile_x_separator|>", "<|tile_y_separator|>",
    "<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>", "<im_end>",
)  # fmt: skip
FIRST_EXTRA = len(pico.SPECIALS) + len(pico.CHARACTERS)
VOCABULARY = FIRST_EXTRA + len(EXTRA)
ATOM = FIRST_EXTRA + EXTRA.index("<IMG_ATOM>")  # the image token of Ovis2, before those that stand around it
IMAGE_TOKEN = pico.SPECIALS.index("<image>")
CLIP = {
    "hidden_size": D,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": T,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
MROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10000.0}}
QWEN_TOWER = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
QWEN_IDS = {
    "image_token_id": IMAGE_TOKEN,
    "video_token_id": FIRST_EXTRA,
    "vision_start_token_id": FIRST_EXTRA + 1,
    "vision_end_token_id": FIRST_EXTRA + 2,
}
SQUARE = {"height": 32, "width": 32}
AREA = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}  # px
PINPOINTS = [[32, 64], [64, 32], [64, 64]]


def _siglip() -> hf.SiglipVisionConfig:
    return hf.SiglipVisionConfig(**CLIP, vision_use_head=False)


def _llava(name: str, **settings: object) -> hf.PreTrainedModel:
    config, model = getattr(hf, f"{name}Config"), getattr(hf, f"{name}ForConditionalGeneration")
    tower, text = hf.CLIPVisionConfig(**CLIP), hf.LlamaConfig(**TEXT)
    return model(config(vision_config=tower, text_config=text, image_token_index=IMAGE_TOKEN, **settings))


def _onevision() -> hf.PreTrainedModel:
    tower, text = _siglip(), hf.Qwen2Config(**TEXT)
    config = hf.LlavaOnevisionConfig(
        vision_config=tower, text_config=text, image_token_index=IMAGE_TOKEN, image_grid_pinpoints=PINPOINTS
    )
    return hf.LlavaOnevisionForConditionalGeneration(config)


def _paligemma() -> hf.PreTrainedModel:
    tower = _siglip()
    text = hf.GemmaConfig(**TEXT)
    config = hf.PaliGemmaConfig(vision_config=tower, text_config=text, projection_dim=T, image_token_index=IMAGE_TOKEN)
    return hf.PaliGemmaForConditionalGeneration(config)


def _internvl() -> hf.PreTrainedModel:
    tower = hf.InternVLVisionConfig(**(CLIP | {"image_size": [32, 32], "patch_size": [8, 8]}))
    config = hf.InternVLConfig(
        vision_config=tower,
        text_config=hf.Qwen2Config(**TEXT),
        projector_hidden_act="relu",
        image_token_id=IMAGE_TOKEN,
        image_seq_length=4,
    )
    return hf.InternVLForConditionalGeneration(config)


def _qwen2() -> hf.PreTrainedModel:
    tower = QWEN_TOWER | {"embed_dim": D, "hidden_size": T, "mlp_ratio": 2}
    return hf.Qwen2VLForConditionalGeneration(
        hf.Qwen2VLConfig(vision_config=tower, text_config=TEXT | copy.deepcopy(MROPE), **QWEN_IDS)
    )


def _qwen2_5() -> hf.PreTrainedModel:
    sizes = {"hidden_size": D, "out_hidden_size": T, "intermediate_size": 32, "fullatt_block_indexes": [1]}
    config = hf.Qwen2_5_VLConfig(
        vision_config=QWEN_TOWER | sizes | {"window_size": 16}, text_config=TEXT | copy.deepcopy(MROPE), **QWEN_IDS
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config)


def _qwen3() -> hf.PreTrainedModel:
    sizes = {
        "hidden_size": D,
        "out_hidden_size": T,
        "intermediate_size": 32,
        "deepstack_visual_indexes": [0, 1],
        "num_position_embeddings": 64,
    }
    config = hf.Qwen3VLConfig(vision_config=QWEN_TOWER | sizes, text_config=TEXT | copy.deepcopy(MROPE), **QWEN_IDS)
    return hf.Qwen3VLForConditionalGeneration(config)


def _idefics(name: str) -> hf.PreTrainedModel:
    config, model = getattr(hf, f"{name}Config"), getattr(hf, f"{name}ForConditionalGeneration")
    text = hf.LlamaConfig(**TEXT)
    return model(config(vision_config=CLIP, text_config=text, pad_token_id=0, image_token_id=IMAGE_TOKEN))


def _idefics2() -> hf.PreTrainedModel:
    perceiver = {
        "hidden_size": T,
        "resampler_n_latents": 4,
        "resampler_depth": 1,
        "resampler_n_heads": 2,
        "resampler_head_dim": 8,
        "num_key_value_heads": 1,
    }
    config = hf.Idefics2Config(
        vision_config=CLIP, text_config=hf.MistralConfig(**TEXT), perceiver_config=perceiver, image_token_id=IMAGE_TOKEN
    )
    return hf.Idefics2ForConditionalGeneration(config)


def _gemma3() -> hf.PreTrainedModel:
    config = hf.Gemma3Config(
        vision_config=_siglip(),
        text_config=hf.Gemma3TextConfig(**TEXT),
        mm_tokens_per_image=4,
        image_token_index=IMAGE_TOKEN,
        boi_token_index=FIRST_EXTRA + 3,
        eoi_token_index=FIRST_EXTRA + 4,
    )
    return hf.Gemma3ForConditionalGeneration(config)


def _gemma4() -> hf.PreTrainedModel:
    config = hf.Gemma4Config(
        vision_config=hf.Gemma4VisionConfig(
            hidden_size=D,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            patch_size=4,
            pooling_kernel_size=2,
            position_embedding_size=64,
            standardize=True,
        ),
        image_token_id=IMAGE_TOKEN,
        text_config=hf.Gemma4TextConfig(
            **TEXT, num_kv_shared_layers=0, hidden_size_per_layer_input=0, layer_types=["full_attention"] * 2
        ),
        audio_config=None,
    )
    return hf.Gemma4ForConditionalGeneration(config)


def _gemma4_unified() -> hf.PreTrainedModel:
    config = hf.Gemma4UnifiedConfig(
        vision_config=hf.Gemma4UnifiedVisionConfig(
            mm_embed_dim=D,
            mm_posemb_size=32,
            output_proj_dims=D,
            patch_size=2,
            pooling_kernel_size=2,
            model_patch_size=4,
        ),
        image_token_id=IMAGE_TOKEN,
        text_config=hf.Gemma4UnifiedTextConfig(**TEXT, num_kv_shared_layers=0, layer_types=["full_attention"] * 2),
        audio_config=None,
    )
    return hf.Gemma4UnifiedForConditionalGeneration(config)


def blip(name: str) -> hf.PreTrainedModel:
    """BLIP-2, InstructBLIP or InstructBLIP for videos."""
    tower = getattr(hf, f"{name}VisionConfig")(**CLIP)
    qformer = getattr(hf, f"{name}QFormerConfig")(
        vocab_size=7000,  # of BERT's words, those of the question that embeddings are taken for are among the first
        hidden_size=D,
        encoder_hidden_size=D,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    text = hf.OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=T,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        word_embed_proj_dim=T,
        max_position_embeddings=256,
    )
    config = getattr(hf, f"{name}Config")(
        vision_config=tower, qformer_config=qformer, text_config=text, num_query_tokens=4, image_token_index=IMAGE_TOKEN
    )
    return getattr(hf, f"{name}ForConditionalGeneration")(config)


def _mistral3() -> hf.PreTrainedModel:
    tower = hf.PixtralVisionConfig(**(CLIP | {"image_size": 64, "head_dim": 8}))
    config = hf.Mistral3Config(
        vision_config=tower, text_config=hf.MistralConfig(**TEXT), image_token_index=IMAGE_TOKEN, spatial_merge_size=2
    )
    return hf.Mistral3ForConditionalGeneration(config)


def _llama4() -> hf.PreTrainedModel:
    tower = hf.Llama4VisionConfig(
        **(CLIP | {"intermediate_size": 64}),
        projector_input_dim=D,
        projector_output_dim=D,
        vision_output_dim=D,
        pixel_shuffle_ratio=0.5,
    )
    text = hf.Llama4TextConfig(**TEXT, intermediate_size_mlp=32, num_local_experts=2)
    config = hf.Llama4Config(
        vision_config=tower, text_config=text, image_token_index=FIRST_EXTRA + EXTRA.index("<|patch|>")
    )
    return hf.Llama4ForConditionalGeneration(config)


def _mllama() -> hf.PreTrainedModel:
    tower = hf.MllamaVisionConfig(
        hidden_size=D,
        intermediate_size=32,
        num_hidden_layers=2,
        num_global_layers=1,
        attention_heads=2,
        image_size=32,
        patch_size=8,
        vision_output_dim=2 * D,
        intermediate_layers_indices=[0],
    )
    text = hf.models.mllama.MllamaTextConfig(**TEXT, cross_attention_layers=[1])
    return hf.MllamaForConditionalGeneration(
        hf.MllamaConfig(vision_config=tower, text_config=text, image_token_index=IMAGE_TOKEN)
    )


def _cohere(name: str, **settings: object) -> hf.PreTrainedModel:
    config, model = getattr(hf, f"{name}Config"), getattr(hf, f"{name}ForConditionalGeneration")
    text, sizes = hf.Cohere2Config(**TEXT), {"downsample_factor": 2, "alignment_intermediate_size": 40}
    return model(config(vision_config=_siglip(), text_config=text, **sizes, **settings))


def _ovis2() -> hf.PreTrainedModel:
    tower = hf.models.ovis2.Ovis2VisionConfig(**CLIP, hidden_stride=2, vocab_size=20, num_visual_indicator_tokens=5)
    config = hf.Ovis2Config(
        vision_config=tower,
        text_config=hf.Qwen2Config(**TEXT),
        image_token_id=ATOM,
        visual_indicator_token_ids=[ATOM + i for i in range(1, 6)],
        vocab_size=VOCABULARY,
        hidden_size=T,
    )
    return hf.Ovis2ForConditionalGeneration(config)


def _kimi() -> hf.PreTrainedModel:
    module = hf.models.kimi_k25
    tower = module.configuration_kimi_k25.Kimi_K25VisionConfig(
        hidden_size=D, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=4
    )
    config = module.configuration_kimi_k25.Kimi_K25Config(
        vision_config=tower, text_config=hf.LlamaConfig(**TEXT), projection_hidden_size=D, image_token_id=IMAGE_TOKEN
    )
    return module.modeling_kimi_k25.Kimi_K25ForConditionalGeneration(config)


def _glm4v() -> hf.PreTrainedModel:
    tower = {
        "depth": 1,
        "hidden_size": D,
        "num_heads": 2,
        "patch_size": 4,
        "image_size": 32,
        "out_hidden_size": T,
        "intermediate_size": 32,
        "spatial_merge_size": 2,
    }
    config = hf.Glm4vConfig(vision_config=tower, text_config=TEXT | copy.deepcopy(MROPE), image_token_id=IMAGE_TOKEN)
    return hf.Glm4vForConditionalGeneration(config)


def _phi4() -> hf.PreTrainedModel:
    tower = CLIP | {"crop_size": 32, "num_hidden_layers": 3, "image_token_id": IMAGE_TOKEN}
    audio = {
        "hidden_size": D,
        "intermediate_size": 32,
        "num_blocks": 1,
        "num_attention_heads": 2,
        "ext_pw_out_channel": D,
        "nemo_conv_channels": D,
        "input_size": 16,
    }
    sizes = {k: v for k, v in TEXT.items() if k != "head_dim"} | {"num_hidden_layers": 1, "rope_parameters": None}
    config = hf.Phi4MultimodalConfig(vision_config=tower, audio_config=audio, **sizes)
    return hf.Phi4MultimodalForCausalLM(config)


def _deepseek() -> hf.PreTrainedModel:
    config = hf.DeepseekVLConfig(
        vision_config=_siglip(),
        text_config=hf.LlamaConfig(**TEXT),
        image_token_id=IMAGE_TOKEN,
    )
    return hf.DeepseekVLForConditionalGeneration(config)


def _deepseek_hybrid() -> hf.PreTrainedModel:
    sam = {
        "hidden_size": D,
        "output_channels": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "mlp_dim": 32,
        "global_attn_indexes": [0],
        "window_size": 2,
    }
    config = hf.DeepseekVLHybridConfig(
        vision_config=_siglip(),
        high_res_vision_config=sam,
        text_config=hf.LlamaConfig(**TEXT),
        image_token_id=IMAGE_TOKEN,
    )
    return hf.DeepseekVLHybridForConditionalGeneration(config)


def _janus() -> hf.PreTrainedModel:
    tower = hf.models.janus.JanusVisionConfig(
        **(CLIP | {"num_hidden_layers": 1}), mlp_ratio=2.0, projection_dim=T, depth=2
    )
    vq = hf.models.janus.JanusVQVAEConfig(
        embed_dim=4, num_embeddings=8, latent_channels=32, num_patches=4, base_channels=32, channel_multiplier=[1],
        num_res_blocks=1, projection_dim=T, image_token_embed_dim=T,
    )  # fmt: skip
    config = hf.JanusConfig(
        vision_config=tower, vq_config=vq, text_config=hf.LlamaConfig(**TEXT), image_token_id=IMAGE_TOKEN
    )
    return hf.JanusForConditionalGeneration(config)


def _minicpm() -> hf.PreTrainedModel:
    module = hf.models.minicpmv4_6
    config = module.MiniCPMV4_6Config(
        vision_config=CLIP | {"patch_size": 4},
        text_config=hf.Qwen2Config(**TEXT),
        image_token_id=IMAGE_TOKEN,
        insert_layer_id=0,
    )
    return module.MiniCPMV4_6ForConditionalGeneration(config)


def _molmo() -> hf.PreTrainedModel:
    module = hf.models.molmo2
    adapter = {
        "hidden_size": D,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 32,
        "text_hidden_size": T,
        "vision_feature_layer": [-1, -2],
    }
    tower = CLIP | {"num_key_value_heads": 2, "head_dim": 8, "image_size": [28, 28], "patch_size": 4}
    config = module.Molmo2Config(
        vision_config=tower,
        adapter_config=adapter,
        text_config=TEXT,
        image_patch_id=FIRST_EXTRA + EXTRA.index("<im_patch>"),
    )
    return module.Molmo2ForConditionalGeneration(config)


def _fuyu() -> hf.PreTrainedModel:
    text = {"model_type": "persimmon"} | TEXT
    sizes = {k: v for k, v in TEXT.items() if k not in ("num_key_value_heads", "head_dim")}
    return hf.FuyuForCausalLM(hf.FuyuConfig(text_config=text, patch_size=8, image_token_id=IMAGE_TOKEN, **sizes))


MODELS: dict[str, Callable[[], hf.PreTrainedModel]] = {
    "llava": lambda: _llava("Llava"),
    "llava_next": lambda: _llava("LlavaNext", image_grid_pinpoints=PINPOINTS),
    "llava_onevision": _onevision,
    "vipllava": lambda: _llava("VipLlava", vision_feature_layers=[-1, -2], projector_layernorm_eps=0.1),
    "paligemma": _paligemma,
    "internvl": _internvl,
    "qwen2_vl": _qwen2,
    "qwen2_5_vl": _qwen2_5,
    "qwen3_vl": _qwen3,
    "idefics2": _idefics2,
    "idefics3": lambda: _idefics("Idefics3"),
    "smolvlm": lambda: _idefics("SmolVLM"),
    "gemma3": _gemma3,
    "gemma4": _gemma4,
    "gemma4_unified": _gemma4_unified,
    "blip2": lambda: blip("Blip2"),
    "instructblip": lambda: blip("InstructBlip"),
    "mistral3": _mistral3,
    "llama4": _llama4,
    "mllama": _mllama,
    "aya_vision": lambda: _cohere("AyaVision", image_token_index=FIRST_EXTRA + EXTRA.index("<|IMG_PATCH|>")),
    "cohere2_vision": lambda: _cohere("Cohere2Vision", image_token_id=IMAGE_TOKEN),
    "ovis2": _ovis2,
    "kimi_k25": _kimi,
    "glm4v": _glm4v,
    "phi4_multimodal": _phi4,
    "deepseek_vl": _deepseek,
    "deepseek_vl_hybrid": _deepseek_hybrid,
    "janus": _janus,
    "minicpmv4_6": _minicpm,
    "molmo": _molmo,
    "fuyu": _fuyu,
}


def model(name: str, seed: int = 0) -> hf.PreTrainedModel:
    """The family's model with random weights, its projector's norms, biases and newlines included."""
    torch.manual_seed(seed)
    made = MODELS[name]().eval().float()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0.0, 1.2 / parameter[0].numel() ** 0.5)
            else:
                parameter.normal_(1.0, 0.3)  # norms start as ones and biases as zeros, which would hide a mix-up
    return made


IMAGE_PROCESSORS: dict[str, Callable[[], hf.BaseImageProcessor]] = {
    "llava": lambda: hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE),
    "vipllava": lambda: hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE),
    "paligemma": lambda: hf.SiglipImageProcessor(size=SQUARE),
    "gemma3": lambda: hf.Gemma3ImageProcessor(size=SQUARE),
    "gemma4": lambda: hf.Gemma4ImageProcessor(patch_size=4, pooling_kernel_size=2, max_soft_tokens=70),
    "gemma4_unified": lambda: PROCESSORS["gemma4_unified"](patch_size=2, pooling_kernel_size=2, max_soft_tokens=70),
    "qwen2_vl": lambda: hf.Qwen2VLImageProcessor(patch_size=4, merge_size=2, size=AREA),
    "qwen2_5_vl": lambda: hf.Qwen2VLImageProcessor(patch_size=4, merge_size=2, size=AREA),
    "qwen3_vl": lambda: hf.Qwen2VLImageProcessor(patch_size=4, merge_size=2, size=AREA),
    "glm4v": lambda: hf.Glm4vImageProcessor(patch_size=4, merge_size=2, size=AREA),
    "kimi_k25": lambda: PROCESSORS["kimi_k25"](patch_size=4, size={"max_height": 16, "max_width": 16}),
    "mistral3": lambda: hf.PixtralImageProcessor(patch_size={"height": 8, "width": 8}, size={"longest_edge": 64}),
    "internvl": lambda: hf.GotOcr2ImageProcessor(size=SQUARE, min_patches=1, max_patches=4),
    "deepseek_vl": lambda: hf.DeepseekVLImageProcessor(size=SQUARE, min_size=8),
    "deepseek_vl_hybrid": lambda: hf.DeepseekVLHybridImageProcessor(
        size=SQUARE, high_res_size={"height": 64, "width": 64}, min_size=8
    ),
    "janus": lambda: hf.JanusImageProcessor(size=SQUARE, min_size=8),
    "ovis2": lambda: hf.Ovis2ImageProcessor(size=SQUARE, crop_to_patches=True, max_patches=4),
    "aya_vision": lambda: hf.GotOcr2ImageProcessor(size=SQUARE, min_patches=1, max_patches=4),
    "cohere2_vision": lambda: PROCESSORS["cohere2_vision"](size=SQUARE, max_patches=4, patch_size=2),
    "llama4": lambda: PROCESSORS["llama4"](size=SQUARE, max_patches=4),
    "molmo": lambda: PROCESSORS["molmo"](
        size={"height": 28, "width": 28}, patch_size=4, max_crops=4, overlap_margins=[1, 1]
    ),
    "blip2": lambda: hf.BlipImageProcessor(size=SQUARE),
    "instructblip": lambda: hf.BlipImageProcessor(size=SQUARE),
    "idefics2": lambda: hf.Idefics2ImageProcessor(size={"shortest_edge": 16, "longest_edge": 32}),
    "idefics3": lambda: hf.Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
    "smolvlm": lambda: hf.SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
    "minicpmv4_6": lambda: hf.models.minicpmv4_6.MiniCPMV4_6ImageProcessorPil(
        max_slice_nums=4, scale_resolution=32, patch_size=4
    ),
    "llava_next": lambda: hf.LlavaNextImageProcessor(
        size={"shortest_edge": 32}, crop_size=SQUARE, image_grid_pinpoints=PINPOINTS
    ),
    "llava_onevision": lambda: hf.LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=PINPOINTS),
    "mllama": lambda: hf.MllamaImageProcessor(size=SQUARE),
    "phi4_multimodal": lambda: PROCESSORS["phi4_multimodal"](size=SQUARE, patch_size=8, dynamic_hd=4),
    "fuyu": lambda: hf.FuyuImageProcessor(size={"height": 64, "width": 64}, patch_size={"height": 8, "width": 8}),
}


_AROUND = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
NAMED_TOKENS = {  # that a family's own processor asks its tokenizer for
    "gemma3": _AROUND,
    "janus": _AROUND | {"image_token": "<image>"},
    "gemma4": _AROUND,
    "gemma4_unified": _AROUND,
    "deepseek_vl": {"image_token": "<image>"},
    "mllama": {"image_token": "<image>"},
    "deepseek_vl_hybrid": {"image_token": "<image>"},
    "minicpmv4_6": {
        "image_token": "<image>",
        "video_token": "<|video_pad|>",
        "image_start_token": "<img>",
        "image_end_token": "</img>",
        "slice_start_token": "<row_1_col_1>",
        "slice_end_token": "<row_1_col_2>",
        "image_id_start_token": "<row_2_col_1>",
        "image_id_end_token": "<row_2_col_2>",
    },
    "kimi_k25": {"image_token": "<image>"},
    "cohere2_vision": {
        "boi_token": "<|START_OF_IMG|>",
        "eoi_token": "<|END_OF_IMG|>",
        "image_token": "<image>",
        "img_line_break_token": "<|IMG_LINE_BREAK|>",
    },
}

ONE_TEXT = (  # as Phi-4's release writes a chat: content is no list
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer(name: str) -> hf.PreTrainedTokenizerFast:
    """tests.pico's tokenizer with the tokens that prompts of other families are written with."""
    made = pico.tokenizer()
    made.add_special_tokens({"additional_special_tokens": list(EXTRA)})
    if name in NAMED_TOKENS:
        made = hf.PreTrainedTokenizerFast(
            tokenizer_object=made.backend_tokenizer,
            pad_token="<pad>",
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            extra_special_tokens=NAMED_TOKENS[name],
        )
    template = pico.CHAT_TEMPLATE
    markers = {"gemma3": "<start_of_image>", "llama4": "<|image|>", "molmo": "<|image|>"}
    template = template.replace("<image>", markers.get(name, "<image>"))
    template = {"mllama": f"<s>{template}", "phi4_multimodal": ONE_TEXT}.get(name, template)
    made.chat_template = None if name in ("paligemma", "blip2", "instructblip", "fuyu") else template
    return made


def projected(name: str, model: hf.PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens as the family's first learned layer reads them, and what the model's own projector makes of them.

    What happens before that layer and has no weights (pooling, pixel shuffle) is the model's own too, if its projector
    does it.
    """
    own = getattr(model, "model", model)
    square, wide = torch.randn(2, 16, D), torch.randn(2, 4, 4 * D)
    with torch.no_grad():
        match name:
            case "qwen2_vl" | "qwen2_5_vl" | "qwen3_vl":
                return square[0], own.visual.merger(square[0])
            case "idefics3" | "smolvlm":
                return wide, own.connector.modality_projection(wide)
            case "idefics2":
                return square, own.connector(square, attention_mask=torch.ones(2, 16, dtype=torch.long))
            case "blip2":
                read = own.qformer(query_embeds=own.query_tokens.expand(2, -1, -1), encoder_hidden_states=square)
                return square, own.language_projection(read.last_hidden_state)
            case "instructblip":
                ids = torch.tensor([INSTRUCTION_IDS] * 2)
                queries = own.query_tokens.expand(2, -1, -1)
                read = own.qformer(input_ids=ids, query_embeds=queries, encoder_hidden_states=square)
                return square, own.language_projection(read.last_hidden_state[:, : queries.shape[1]])
            case "gemma3":
                return _seen(own.multi_modal_projector, own.multi_modal_projector.mm_soft_emb_norm, square)
            case "aya_vision":
                return _seen(own.multi_modal_projector, own.multi_modal_projector.layernorm, square)
            case "cohere2_vision":
                return _seen(own.multi_modal_projector, own.multi_modal_projector.linear_1, square)
            case "gemma4":
                return square, own.embed_vision(square)
            case "gemma4_unified":
                return square, own.embed_vision.multimodal_embedder(square)
            case "molmo":
                windows = torch.randn(5, 4, 2 * D)
                windows[0, 2:] = 0  # padding
                windows[1, 0] = 0
                own = own.multi_modal_projector
                index = torch.arange(20).reshape(5, 4)
                index[0, 2:] = index[1, 0] = -1
                return windows.flatten(0, 1), own(windows, index).last_hidden_state
            case "mistral3":
                blocks = square[0].reshape(2, 2, 2, 2, D).transpose(1, 2).reshape(16, D)
                return blocks, own.multi_modal_projector(square[0], torch.tensor([[32, 32]]))
            case "llama4":
                tokens, hidden = _seen(
                    model.vision_model.vision_adapter, model.vision_model.vision_adapter.mlp.fc1, square
                )
                return tokens, model.multi_modal_projector(hidden)
            case "ovis2":
                logits = own.vision_tower.head_norm(own.vision_tower.head_linear(wide))
                return wide, own.visual_embeddings_table(F.pad(logits.softmax(-1), (0, 5)))
            case "kimi_k25":
                return square[0].reshape(4, 4, D), own.mm_projector(square[0].reshape(4, 4, D))
            case "glm4v":
                images = own.visual.post_layernorm(square[0]).view(-1, 2, 2, D).permute(0, 3, 1, 2)
                return square[0], own.visual.merger(own.visual.downsample(images).view(-1, T))
            case "phi4_multimodal":
                embed = own.embed_tokens_extend.image_embed
                return square, embed.img_projection_down(F.gelu(embed.img_projection_up(square)))
            case "minicpmv4_6":
                return wide[0], own.merger.mlp[0](wide[0])
            case "deepseek_vl_hybrid":
                high = torch.randn(2, 16, 32)
                return torch.cat([high, square], dim=-1), own.aligner(square, high)
            case "deepseek_vl" | "janus":
                return square, own.aligner(square)
            case "fuyu":
                patches = torch.randn(2, 4, 3 * 8 * 8)
                return patches, own.vision_embed_tokens(patches)
        projector = own.multi_modal_projector
        tokens = torch.randn(2, 4, next(p for p in projector.parameters() if p.dim() == 2).shape[1])
        return tokens, projector(tokens)


def image_embeddings(name: str, model: hf.PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the genuine model makes of one image: (T, d), newlines included."""
    with torch.no_grad():
        if name == "mllama":
            text = {"input_ids": torch.tensor([[IMAGE_TOKEN, 1]])}
            features = _given(model.model.language_model, model, text | inputs)["cross_attention_states"]
            features = features[: int(inputs["aspect_ratio_mask"].sum())]
        elif name == "phi4_multimodal":
            features = _phi4_embeddings(model, inputs)
        elif name == "fuyu":
            features = model.model.get_image_features(**inputs).last_hidden_state
        elif name == "llama4":
            features = model.multi_modal_projector(model.get_image_features(**inputs).last_hidden_state)
        else:
            features = getattr(model, "model", model).get_image_features(**inputs).pooler_output
    features = torch.cat([*features]) if isinstance(features, (list, tuple)) else features
    return features.reshape(-1, features.shape[-1])


def _phi4_embeddings(model: hf.PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What its projector puts out, less what it makes of the two separators."""
    embed = model.model.embed_tokens_extend.image_embed
    seen = []
    hook = embed.img_projection_down.register_forward_hook(lambda *called: seen.append(called[2][0]))
    with contextlib.suppress(IndexError, RuntimeError):  # too few places in the text, which it finds only then
        model(input_ids=torch.tensor([[IMAGE_TOKEN, 1]]), **inputs)
    hook.remove()
    for separator in (embed.global_img_feature_extensor, embed.sub_img_feature_extensor):
        own = embed.img_projection_down(F.gelu(embed.img_projection_up(separator.flatten())))
        seen.append(seen[-1][~torch.isclose(seen[-1], own, atol=1e-5).all(dim=-1)])
    return seen[-1]


def _given(module: nn.Module, model: nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `module` is given when `model` is."""
    seen = []
    hook = module.register_forward_pre_hook(lambda _, args, named: seen.append(named), with_kwargs=True)
    model(**inputs)
    hook.remove()
    return seen[0]


def _seen(module: nn.Module, inner: nn.Module, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `inner` reads when `module` is given the tokens, and what `module` gives."""
    seen = []
    hook = inner.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    result = module(tokens)
    hook.remove()
    return seen[0], result
