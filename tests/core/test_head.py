import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    CohereConfig,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GptOssConfig,
    LlamaConfig,
    Ministral3Config,
    MistralConfig,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
)

from projlens_core.activations.head import FAMILIES, LanguageHead, read_head
from projlens_core.errors import InvalidInput, Unsupported
from tests import pico, pico_families

D, V = 16, 40
SMALL = {
    "vocab_size": V,
    "hidden_size": D,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = {
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "mistral": MistralConfig(**SMALL, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SMALL, tie_word_embeddings=False),
    "gemma": GemmaConfig(**SMALL),
    "gemma2": Gemma2Config(**SMALL, final_logit_softcapping=3.0),
    "gemma3_text": Gemma3TextConfig(**SMALL),
    "qwen3_5_text": Qwen3_5TextConfig(**SMALL, tie_word_embeddings=True),
    "ministral3": Ministral3Config(**SMALL, tie_word_embeddings=False),
    "deepseek_v3": DeepseekV3Config(**SMALL, tie_word_embeddings=False),
    "gpt_oss": GptOssConfig(**SMALL, tie_word_embeddings=False),
    "cohere": CohereConfig(**SMALL),
    "cohere2": Cohere2Config(**SMALL),
}
# {family of multimodal models: the kind of its language model}
WHOLE = {
    name: pico_families.model(name).config.get_text_config().model_type
    for name in pico_families.MODELS
    if name != "mllama"
}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head(**parts):
    table = drawn(V, D)
    given = {"embedding": table, "unembedding": table, "gain": torch.ones(D), "softcap": None, "embed_scale": 1.0}
    return LanguageHead(**given | {"family": "llama", "label": "made", "notes": (), "bytes_read": 0} | parts)


def edited(folder, edit):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def configured(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= values
    (folder / "config.json").write_text(json.dumps(config | {k: v for k, v in values.items() if k in config}))
    return folder


@pytest.mark.parametrize("family", CONFIGS)
def test_logits_are_those_of_the_models_own_norm_and_head(tmp_path, family):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[family])
    with torch.no_grad():
        model.model.norm.weight.copy_(drawn(D, seed=1) * 0.3 + 0.5)
        model.get_output_embeddings().weight.copy_(drawn(V, D, seed=4))
        model.get_input_embeddings().weight.copy_(drawn(V, D, seed=2))  # both, where they are tied
    model.save_pretrained(tmp_path)
    found = read_head(tmp_path)
    directions = drawn(5, D, seed=3)
    states = directions / directions.square().mean(dim=1, keepdim=True).sqrt()  # at RMS 1 the norm's ε vanishes
    with torch.no_grad():
        expected = model.lm_head(model.model.norm(states))
        words = model.get_input_embeddings()(torch.arange(V))
    if family == "gemma2":
        expected = 3.0 * torch.tanh(expected / 3.0)
    torch.testing.assert_close(found.logits(directions), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.embedding_norms * found.embed_scale, words.norm(dim=1), rtol=1e-5, atol=1e-5)
    assert found.tied == CONFIGS[family].tie_word_embeddings
    assert found.family == family


def test_a_soft_cap_bends_the_logits_and_keeps_their_order():
    table = torch.zeros(3, 2)
    table[:, 0] = torch.tensor([1.0, 2.0, -4.0])
    capped = head(embedding=table, unembedding=table, gain=torch.ones(2), softcap=2.0)
    logits = capped.logits(torch.tensor([[10.0, 0.0]]), normed=False)
    torch.testing.assert_close(logits[0], 2.0 * torch.tanh(torch.tensor([0.5, 1.0, -2.0])))
    assert capped.logits(torch.tensor([[10.0, 0.0]]))[0].argsort().tolist() == [2, 0, 1]


def test_length_does_not_count_and_the_gain_only_with_the_norm():
    weighted = head(gain=torch.tensor([0.0, *[1.0] * (D - 1)]))
    axis = torch.eye(D)[:1]
    torch.testing.assert_close(weighted.logits(axis), weighted.logits(1000 * axis))
    assert not weighted.logits(axis).any()
    torch.testing.assert_close(weighted.logits(axis, normed=False)[0], weighted.unembedding[:, 0])


def test_cosines_are_with_the_token_embeddings_and_zero_for_an_empty_row():
    table = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-5.0, 0.0]])
    cosines = head(embedding=table).cosines(torch.tensor([[2.0, 0.0]]))
    torch.testing.assert_close(cosines, torch.tensor([[0.6, 0.0, -1.0]]))


@pytest.mark.parametrize("old_keys", [True, False])
def test_both_key_layouts_of_a_llava_give_the_same_head_and_no_layer_is_read(tmp_path, old_keys):
    folder = pico.checkpoint(tmp_path / "model", old_keys=old_keys)
    found = read_head(folder)
    tensors = load_file(folder / "model.safetensors")
    table = next(t for name, t in tensors.items() if name.endswith("embed_tokens.weight"))
    assert torch.equal(found.embedding, table)
    assert found.tied
    header = int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little") + 8
    assert found.bytes_read <= header + 2 * 4 * table.numel() + 4 * pico.D_TEXT


def test_a_head_of_its_own_is_taken_and_may_differ_from_the_embeddings(tmp_path):
    folder = edited(
        pico.checkpoint(tmp_path / "model"),
        lambda t: t.update(
            {"language_model.lm_head.weight": drawn(len(pico.SPECIALS) + len(pico.CHARACTERS), pico.D_TEXT)}
        ),
    )
    said = read_head(folder)
    assert not said.tied
    assert "both are stored and differ" in said.notes[0]
    quiet = read_head(configured(folder, tie_word_embeddings=False))
    assert not quiet.tied
    assert quiet.notes == ()


def test_a_missing_head_that_nothing_ties_is_refused(tmp_path):
    def without_head(tensors):
        for name in [name for name in tensors if name.endswith("lm_head.weight")]:
            del tensors[name]

    folder = edited(configured(pico.checkpoint(tmp_path / "model"), tie_word_embeddings=False), without_head)
    with pytest.raises(InvalidInput, match=r"lacks lm_head\.weight"):
        read_head(folder)


def test_two_tables_of_token_embeddings_are_ambiguous(tmp_path):
    folder = pico.checkpoint(tmp_path / "model")
    edited(folder, lambda t: t.update({"model.embed_tokens.weight": torch.ones(4, 4)}))
    with pytest.raises(InvalidInput, match="which of them are the token embeddings"):
        read_head(folder)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    folder = pico.checkpoint(tmp_path / "model")

    def spoilt(tensors):
        name = next(name for name in tensors if name.endswith("model.norm.weight"))
        tensors[name] = torch.full_like(tensors[name], float("nan"))

    with pytest.raises(InvalidInput, match="NaN or infinity"):
        read_head(edited(folder, spoilt))


def test_an_unknown_language_model_is_named_with_those_that_are_known(tmp_path):
    folder = configured(pico.checkpoint(tmp_path / "model"), model_type="granite")
    with pytest.raises(Unsupported, match=r"'granite'.*llama"):
        read_head(folder)


def test_a_head_that_never_reads_an_image_embedding_is_not_asked(tmp_path):
    folder = configured(pico.checkpoint(tmp_path / "model"), model_type="mllama_text_model")
    with pytest.raises(Unsupported, match="reads images by cross-attention"):
        read_head(folder)


@pytest.mark.parametrize("value", [0, -1.0, "30", True])
def test_a_soft_cap_that_is_no_positive_number_is_refused(tmp_path, value):
    folder = configured(pico.checkpoint(tmp_path / "model"), final_logit_softcapping=value)
    with pytest.raises(InvalidInput, match="final_logit_softcapping"):
        read_head(folder)


def test_a_lone_projector_has_no_head(tmp_path):
    file = pico.projector_file(pico.checkpoint(tmp_path / "model"), tmp_path / "lone" / "p.safetensors")
    with pytest.raises(InvalidInput, match="no output head"):
        read_head(file)


def test_every_family_that_is_named_is_one_that_was_held_against_transformers_or_shares_its_ending():
    plain = {"qwen2_vl", "qwen2_5_vl"}  # older configs, under the name of the whole
    assert set(CONFIGS) | set(WHOLE.values()) | plain == set(FAMILIES)
    assert all(FAMILIES[name] == FAMILIES["qwen2"] for name in plain)


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_whole_model_the_logits_are_those_of_its_norm_and_head(tmp_path, name):
    model = pico_families.model(name)
    state = model.state_dict()
    ending = re.compile(
        r"(?:^model|language_model|text_model)\.(?:model\.)?(?:decoder\.)?(?:norm|final_layer_?norm)\.weight$"
    )
    path = next(key for key in state if ending.search(key)).rpartition(".")[0]
    norm, d = model.get_submodule(path), model.get_output_embeddings().weight.shape[1]
    with torch.no_grad():
        for seed, parameter in enumerate(norm.parameters()):
            parameter.copy_(drawn(d, seed=seed) * 0.3 + 0.5)
    model.save_pretrained(tmp_path)
    found = read_head(tmp_path)
    states = 1e3 * drawn(5, d, seed=3)  # at which the norm's ε vanishes
    with torch.no_grad():
        expected = model.get_output_embeddings()(norm(states))
        words = model.get_input_embeddings()(torch.arange(len(found.embedding)))
    torch.testing.assert_close(found.logits(states), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.embedding_norms * found.embed_scale, words.norm(dim=1), rtol=1e-5, atol=1e-5)
    assert found.family == WHOLE[name]


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        ("model.", ""),  # Qwen2-VL and the original LLaVA
        ("language_model.model.", "language_model."),  # LLaVA, InternVL, PaliGemma as released
        ("model.language_model.", ""),  # as transformers 5 saves them
        ("model.text_model.", ""),  # Idefics3, SmolVLM
    ],
)
def test_the_parts_are_found_in_every_layout_and_other_norms_are_left_alone(tmp_path, inner, outer):
    tensors = {
        f"{inner}embed_tokens.weight": drawn(V, D),
        f"{inner}norm.weight": drawn(D, seed=1),
        f"{outer}lm_head.weight": drawn(V, D, seed=2),
        f"{inner}layers.0.input_layernorm.weight": torch.zeros(D),
        "model.visual.merger.norm.weight": torch.zeros(D),
        "model.connector.perceiver_resampler.norm.weight": torch.zeros(D),
    }
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x", "text_config": {"model_type": "qwen2"}}))
    found = read_head(tmp_path)
    assert torch.equal(found.embedding, tensors[f"{inner}embed_tokens.weight"])
    assert torch.equal(found.gain, tensors[f"{inner}norm.weight"])
    assert torch.equal(found.unembedding, tensors[f"{outer}lm_head.weight"])


@pytest.mark.parametrize("text", ["llama", ["llama"], {"model_type": 7}])
def test_a_text_config_of_another_form_is_one_sentence(tmp_path, text):
    save_file({"model.norm.weight": torch.ones(D)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava", "text_config": text}))
    with pytest.raises((InvalidInput, Unsupported)):
        read_head(tmp_path)
