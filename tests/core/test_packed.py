"""Matrices arranged for oneDNN: the same numbers, under the same names, in the same model."""

import pytest
import torch
from torch import nn

from projlens_core.behaviour import packed
from projlens_core.behaviour.packed import PackedLinear, named_tensors, pack
from projlens_core.behaviour.respond import load_responder
from tests import pico

needs_onednn = pytest.mark.skipif(not packed._possible(), reason="PyTorch has no oneDNN here")


def layers(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 96), nn.SiLU(), nn.Linear(96, 32, bias=False)).to(dtype)


@needs_onednn
@pytest.mark.parametrize("shape", [(48,), (1, 48), (3, 5, 48), (300, 48), (0, 48)])
@torch.no_grad()
def test_packed_layers_give_the_same_numbers_for_any_number_of_rows(shape):
    plain, model = layers(), layers()
    pack(model, lambda name: True)
    assert [type(layer) for layer in model] == [PackedLinear, nn.SiLU, PackedLinear]
    x = torch.randn(shape)
    assert torch.allclose(model(x), plain(x), atol=1e-5)
    assert model(x).shape == plain(x).shape


@needs_onednn
@torch.no_grad()
def test_a_part_of_a_wider_array_may_go_in():
    plain, model = layers(), layers()
    pack(model, lambda name: True)
    x = torch.randn(6, 7, 96)[:, -1:, 24:72]
    assert torch.allclose(model(x), plain(x), atol=1e-5)


@needs_onednn
def test_weights_come_out_as_they_went_in_under_their_names():
    plain, model = layers(), layers()
    pack(model, lambda name: True)
    expected = sorted(plain.state_dict().items())
    found = list(named_tensors(model))
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in zip(found, expected, strict=True))
    assert all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in zip(named_tensors(plain), expected, strict=True))


@needs_onednn
def test_only_what_is_asked_for_is_packed():
    model = layers()
    pack(model, lambda name: name == "2.weight")
    assert [type(layer) for layer in model] == [nn.Linear, nn.SiLU, PackedLinear]


def test_other_precisions_stay_as_they_are():
    model = layers(torch.bfloat16)
    pack(model, lambda name: True)
    assert type(model[0]) is nn.Linear


def test_nothing_is_packed_where_the_library_cannot(monkeypatch):
    monkeypatch.setattr(packed, "_possible", lambda: False)
    model = layers()
    pack(model, lambda name: True)
    assert type(model[0]) is nn.Linear


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
