"""Matrices arranged for oneDNN: the same numbers, under the same names, in the same model."""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from projlens_core.behaviour import packed
from projlens_core.behaviour.packed import PackedLinear, named_tensors, pack
from projlens_core.behaviour.respond import load_responder
from tests import pico

needs_onednn = pytest.mark.skipif(not packed._possible(), reason="PyTorch has no oneDNN here")


def language_model(dtype=torch.float32):
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 4}
    config = LlamaConfig(**sizes, num_hidden_layers=1, vocab_size=50, attention_bias=True)
    return LlamaForCausalLM(config).to(dtype).eval()


@needs_onednn
@pytest.mark.parametrize("shape", [(48,), (1, 48), (3, 5, 48), (300, 48), (0, 48)])
@torch.no_grad()
def test_a_packed_layer_gives_the_same_numbers_for_any_number_of_rows(shape):
    plain = nn.Linear(48, 96)
    x = torch.randn(shape)
    assert torch.allclose(PackedLinear(plain)(x), plain(x), atol=1e-5)
    assert PackedLinear(plain)(x).shape == plain(x).shape


@needs_onednn
@torch.no_grad()
def test_a_part_of_a_wider_array_may_go_in():
    plain = nn.Linear(48, 96, bias=False)
    x = torch.randn(6, 7, 96)[:, -1:, 24:72]
    assert torch.allclose(PackedLinear(plain)(x), plain(x), atol=1e-5)


@needs_onednn
def test_weights_come_out_as_they_went_in_under_their_names():
    plain, model = language_model(), language_model()
    pack(model)
    expected = sorted(plain.state_dict().items())
    found = list(named_tensors(model))
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in zip(found, expected, strict=True))
    assert all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in zip(named_tensors(plain), expected, strict=True))


def test_other_precisions_stay_as_they_are():
    model = language_model(torch.bfloat16)
    pack(model)
    assert type(model.lm_head) is nn.Linear


def test_nothing_is_packed_where_the_library_cannot(monkeypatch):
    monkeypatch.setattr(packed, "_possible", lambda: False)
    model = language_model()
    pack(model)
    assert type(model.lm_head) is nn.Linear


@needs_onednn
def test_a_models_language_side_is_packed_and_its_key_and_answers_stay(tmp_path, monkeypatch):
    folder = str(pico.checkpoint(tmp_path / "base"))
    fast = load_responder(folder)
    monkeypatch.setattr(packed, "_possible", lambda: False)
    plain = load_responder(folder)
    layer = fast.model.model.language_model.layers[0]
    assert isinstance(layer.self_attn.q_proj, PackedLinear)
    assert isinstance(fast.model.lm_head, PackedLinear)
    assert not any(isinstance(part, PackedLinear) for part in fast.model.model.vision_tower.modules())
    assert not any(isinstance(part, PackedLinear) for part in fast.model.model.multi_modal_projector.modules())
    assert not any(isinstance(part, PackedLinear) for part in plain.model.modules())
    assert fast.key == plain.key
    images = pico.images(3)
    assert fast.answers(images, ["What?"] * 3) == plain.answers(images, ["What?"] * 3)
