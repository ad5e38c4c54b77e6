"""Every family in families.json against the genuine model of transformers, made tiny."""

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.families import families, match
from projlens_core.weights.projector import as_module, read_projector

CLIP = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
TEXT = {
    "vocab_size": 32,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
MROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10000.0}}
QWEN_TOWER = {"depth": 1, "num_heads": 2, "patch_size": 4}


def _clip_and_llama(name, **settings):
    config, model = getattr(hf, f"{name}Config"), getattr(hf, f"{name}ForConditionalGeneration")
    tower, text = hf.CLIPVisionConfig(**CLIP), hf.LlamaConfig(**TEXT)
    return model(config(vision_config=tower, text_config=text, image_token_index=5, **settings))


def _onevision():
    tower, text = hf.SiglipVisionConfig(**CLIP), hf.Qwen2Config(**TEXT)
    return hf.LlavaOnevisionForConditionalGeneration(hf.LlavaOnevisionConfig(vision_config=tower, text_config=text))


def _paligemma():
    tower, text = hf.SiglipVisionConfig(**CLIP), hf.GemmaConfig(**TEXT, head_dim=12)
    config = hf.PaliGemmaConfig(vision_config=tower, text_config=text, projection_dim=24)
    return hf.PaliGemmaForConditionalGeneration(config)


def _internvl():
    tower = hf.InternVLVisionConfig(**(CLIP | {"image_size": [28, 28], "patch_size": [14, 14]}))
    return hf.InternVLForConditionalGeneration(
        hf.InternVLConfig(vision_config=tower, text_config=hf.Qwen2Config(**TEXT), projector_hidden_act="relu")
    )


def _qwen2():
    tower = QWEN_TOWER | {"embed_dim": 16, "hidden_size": 24, "mlp_ratio": 2}
    return hf.Qwen2VLForConditionalGeneration(hf.Qwen2VLConfig(vision_config=tower, text_config=TEXT | MROPE))


def _qwen2_5():
    sizes = {"hidden_size": 16, "out_hidden_size": 24, "intermediate_size": 32, "fullatt_block_indexes": [0]}
    config = hf.Qwen2_5_VLConfig(vision_config=QWEN_TOWER | sizes, text_config=TEXT | MROPE)
    return hf.Qwen2_5_VLForConditionalGeneration(config)


def _idefics(name):
    config, model = getattr(hf, f"{name}Config"), getattr(hf, f"{name}ForConditionalGeneration")
    return model(config(vision_config=CLIP, text_config=hf.LlamaConfig(**TEXT), pad_token_id=0))


# family → (model, path of its projector module, shape of what that module reads)
MODELS = {
    "llava": (lambda: _clip_and_llama("Llava"), "model.multi_modal_projector", (2, 4, 16)),
    "llava_next": (lambda: _clip_and_llama("LlavaNext"), "model.multi_modal_projector", (2, 4, 16)),
    "llava_onevision": (_onevision, "model.multi_modal_projector", (2, 4, 16)),
    "vipllava": (
        lambda: _clip_and_llama("VipLlava", vision_feature_layers=[-1, -2], projector_layernorm_eps=0.1),
        "model.multi_modal_projector",
        (2, 4, 32),
    ),
    "paligemma": (_paligemma, "model.multi_modal_projector", (2, 4, 16)),
    "internvl": (_internvl, "model.multi_modal_projector", (2, 4, 64)),
    "qwen2_vl": (_qwen2, "model.visual.merger", (8, 16)),
    "qwen2_5_vl": (_qwen2_5, "model.visual.merger", (8, 16)),
    "idefics3": (lambda: _idefics("Idefics3"), "model.connector.modality_projection", (2, 4, 64)),
    "smolvlm": (lambda: _idefics("SmolVLM"), "model.connector.modality_projection", (2, 4, 64)),
}


def test_every_family_of_the_table_is_held_against_a_genuine_model():
    assert MODELS.keys() == families().keys()


@pytest.mark.parametrize("old_keys", [True, False], ids=["old-keys", "new-keys"])
@pytest.mark.parametrize("name", MODELS)
def test_projector_of_a_saved_model_is_found_and_computes_what_the_model_computes(name, old_keys, tmp_path):
    make, path, shape = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    own = model.get_submodule(path)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.normal_()  # norms start as ones and biases as zeros, which would hide a mix-up
    model.save_pretrained(tmp_path, save_original_format=old_keys)

    weights = read_projector(tmp_path)

    assert weights.family.name == name
    assert weights.described
    assert len(weights.tensors) == len(list(own.parameters()))
    tokens = torch.randn(*shape)
    with torch.no_grad():
        torch.testing.assert_close(as_module(weights)(tokens), own(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision"])
def test_newline_embedding_beside_the_projector_is_read_too(name, tmp_path):
    model = MODELS[name][0]()
    model.save_pretrained(tmp_path)
    weights = read_projector(tmp_path)
    torch.testing.assert_close(weights.beside["image_newline"], model.model.image_newline.detach())


def _names(prefix, *layers):
    return [f"{prefix}.{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")]


LLAVA = _names("multi_modal_projector", "linear_1", "linear_2")
ORIGINAL = _names("model.mm_projector", "0", "2")


@pytest.mark.parametrize(
    ("names", "family", "layout"),
    [
        (LLAVA, "llava", "multi_modal_projector"),
        ([f"model.{name}" for name in LLAVA], "llava", "model.multi_modal_projector"),
        (ORIGINAL, "llava", "model.mm_projector"),
        ([f"base_model.model.{name}" for name in ORIGINAL], "llava", "base_model.model.model.mm_projector"),
        ([f"module._orig_mod.{name}" for name in LLAVA], "llava", "module._orig_mod.multi_modal_projector"),
        ([*LLAVA, "image_newline"], "llava_next", "multi_modal_projector"),
        (_names("mlp1", "0", "1", "3"), "internvl", "mlp1"),
        (_names("visual.merger", "ln_q", "mlp.0", "mlp.2"), "qwen2_vl", "visual.merger"),
        (["visual.merger.ln_q.weight", *_names("visual.merger", "mlp.0", "mlp.2")], "qwen2_5_vl", "visual.merger"),
    ],
)
def test_family_and_layout_follow_from_names_alone(names, family, layout):
    found = match([*names, "language_model.layers.0.weight"], None, "it")
    assert (found.family.name, found.layout) == (family, layout)
    assert sorted(found.tensors.values()) == sorted(name for name in names if "newline" not in name)


def test_original_llava_names_become_the_canonical_ones():
    assert match(ORIGINAL, "llava_llama", "it").tensors["linear_2.weight"] == "model.mm_projector.2.weight"


def test_projector_without_biases_is_a_llava_projector():
    assert match([n for n in LLAVA if "weight" in n], "llava", "it").family.name == "llava"


@pytest.mark.parametrize(
    ("names", "model_type", "error", "said"),
    [
        ([*LLAVA, *ORIGINAL], None, InvalidInput, "at once"),
        ([*LLAVA, f"model.{LLAVA[0]}"], "llava", InvalidInput, "'model.multi_modal_projector'"),
        ([*LLAVA, *_names("visual.merger", "ln_q")], None, InvalidInput, "at once"),
        ([*LLAVA, f"odd.path.{LLAVA[0]}"], "llava", InvalidInput, "'odd.path.multi_modal_projector'"),
        ([*LLAVA, "image_newline", "model.image_newline"], "llava_next", InvalidInput, "'model.image_newline'"),
        (LLAVA[1:], None, InvalidInput, "lacks 'linear_1.weight'"),
        (
            [*LLAVA[1:], "multi_modal_projector.norm.weight"],
            "llava",
            InvalidInput,
            "lacks 'linear_1.weight' and has unknown 'multi_modal_projector.norm.weight'",
        ),
        (["language_model.x"], "llava", InvalidInput, "holds no projector tensors of LLaVA"),
        (["language_model.x"], None, Unsupported, "supported families are LLaVA, LLaVA-NeXT"),
        (["multi_modal_projector.weight"], None, Unsupported, "supported families are"),
        (LLAVA, "cohere2_vision", Unsupported, "model type 'cohere2_vision'"),  # same names, another activation
        (LLAVA, "qwen2_vl", InvalidInput, "model type 'qwen2_vl'"),
    ],
)
def test_projector_that_is_not_one_whole_known_one_is_refused(names, model_type, error, said):
    with pytest.raises(error) as caught:
        match(names, model_type, "it")
    assert said in str(caught.value)
    assert str(caught.value).startswith("it ")


def test_saved_old_and_new_keys_are_indeed_different(tmp_path):
    model = MODELS["llava"][0]()
    for folder, old in (("old", True), ("new", False)):
        model.save_pretrained(tmp_path / folder, save_original_format=old)
    old, new = (load_file(tmp_path / folder / "model.safetensors").keys() for folder in ("old", "new"))
    assert LLAVA[0] in old
    assert f"model.{LLAVA[0]}" in new
