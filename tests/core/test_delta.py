import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.delta import check_same_input, compare
from projlens_core.weights.families import families
from projlens_core.weights.projector import read_projector
from tests import pico

TINY = {
    "multi_modal_projector.linear_1.weight": torch.tensor([[3.0, 0.0], [0.0, 4.0]]),
    "multi_modal_projector.linear_1.bias": torch.zeros(2),
    "multi_modal_projector.linear_2.weight": torch.tensor([[1.0, 1.0]]),
    "multi_modal_projector.linear_2.bias": torch.ones(1),
}


def projector(folder, name="x", **changes):
    """The TINY projector, with tensors replaced by canonical name (dots as double underscores)."""
    changed = {f"multi_modal_projector.{n.replace('__', '.')}": t for n, t in changes.items()}
    save_file(TINY | changed, folder / f"{name}.safetensors")
    return read_projector(folder / f"{name}.safetensors")


def test_delta_of_one_changed_weight_by_hand(tmp_path):
    # ‖base‖ = 5, Δ = ((0, 0), (3, 0)): ‖Δ‖ = 3, cos = (9 + 16) / (5·√34)
    suspect = projector(tmp_path, "s", linear_1__weight=torch.tensor([[3.0, 0.0], [3.0, 4.0]]))
    first, *rest = compare(projector(tmp_path), suspect).tensors
    assert first.name == "linear_1.weight"
    assert first.shape == (2, 2)
    assert first.delta.tolist() == [[0.0, 0.0], [3.0, 0.0]]
    assert first.frobenius == pytest.approx(3.0)
    assert first.relative_change == pytest.approx(0.6)
    assert first.cosine == pytest.approx(5 / math.sqrt(34))
    assert first.changed
    assert not any(tensor.changed for tensor in rest)


def test_zero_tensors_have_no_angle_and_a_change_from_zero_is_infinite(tmp_path):
    base = projector(tmp_path)
    bias = compare(base, base).tensors[1]
    assert (bias.frobenius, bias.relative_change, bias.changed) == (0.0, 0.0, False)
    assert math.isnan(bias.cosine)
    bias = compare(base, projector(tmp_path, "s", linear_1__bias=torch.tensor([0.0, 2.0]))).tensors[1]
    assert (bias.frobenius, bias.relative_change, bias.changed) == (2.0, math.inf, True)


def test_negated_tensor_has_cosine_minus_one(tmp_path):
    suspect = projector(tmp_path, "s", linear_2__weight=torch.tensor([[-1.0, -1.0]]))
    assert compare(projector(tmp_path), suspect).tensors[2].cosine == pytest.approx(-1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_weights_are_kept_as_they_are_and_their_difference_is_that_of_float32(dtype, tmp_path):
    stored = {name: (tensor * 0.1).to(dtype) for name, tensor in TINY.items()}
    moved = stored | {"multi_modal_projector.linear_1.weight": (torch.eye(2) / 3).to(dtype)}
    for name, tensors in (("base", stored), ("suspect", moved), ("wide", {n: t.float() for n, t in moved.items()})):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    base, suspect, wide = (read_projector(tmp_path / f"{n}.safetensors") for n in ("base", "suspect", "wide"))
    assert suspect.tensors["linear_1.weight"].dtype == dtype
    assert suspect.sha256 == wide.sha256
    ours, other = compare(base, suspect).tensors[0], compare(base, wide).tensors[0]
    expected = wide.tensors["linear_1.weight"] - base.tensors["linear_1.weight"].float()
    assert torch.equal(ours.delta, expected)
    assert torch.equal(other.delta, expected)
    assert (ours.frobenius, ours.cosine) == (other.frobenius, other.cosine)


def test_change_of_one_bit_in_sixteen_million_entries_is_seen(tmp_path):
    base = torch.ones(4096, 4096)
    suspect = base.clone()
    suspect[4095, 4095] += torch.finfo(torch.float32).eps
    weights = projector(tmp_path)
    big = replace(weights, tensors=weights.tensors | {"linear_1.weight": base})
    delta = compare(big, replace(big, tensors=big.tensors | {"linear_1.weight": suspect}))
    assert delta.changed
    assert delta.tensors[0].frobenius == pytest.approx(torch.finfo(torch.float32).eps)


def test_planted_delta_is_recovered_and_nothing_else_has_changed(tmp_path):
    base = pico.checkpoint(tmp_path / "base")
    planted = pico.suspect(base, tmp_path / "suspect", strength=(3.0, 4.0))
    delta = compare(read_projector(base), read_projector(planted.folder))
    assert [tensor.name for tensor in delta.tensors if tensor.changed] == ["linear_2.weight"]
    changed = delta.tensors[2]
    expected = planted.left.T @ torch.diag(torch.tensor(planted.strength)) @ planted.right
    torch.testing.assert_close(changed.delta, expected, rtol=0, atol=1e-5)
    assert changed.frobenius == pytest.approx(5.0, rel=1e-5)
    assert [tensor.name for tensor in delta.matrices] == ["linear_1.weight", "linear_2.weight"]


def test_what_was_not_compared_is_said(tmp_path):
    folder = pico.checkpoint(tmp_path / "base")
    lone = read_projector(pico.projector_file(folder, tmp_path / "lone.safetensors"))
    whole = read_projector(folder)
    assert compare(whole, lone).not_compared == ()
    assert {what for what, _ in compare(lone, whole).not_compared} == {"vision_tower", "language_model"}


def test_newline_embedding_is_compared_where_both_have_it_and_reported_where_one_has(tmp_path):
    base = projector(tmp_path)
    with_newline = replace(base, adjacent={"image_newline": torch.tensor([1.0, 0.0])})
    moved = replace(base, adjacent={"image_newline": torch.tensor([1.0, 2.0])})
    assert compare(with_newline, moved).tensors[-1].name == "image_newline"
    assert compare(with_newline, moved).tensors[-1].frobenius == pytest.approx(2.0)
    assert compare(with_newline, base).not_compared == (("image_newline", "only in the base"),)
    assert compare(base, moved).not_compared == (("image_newline", "only in the suspect"),)


def test_what_acts_before_the_projector_must_be_the_same_up_to_the_rounding_of_its_storage(tmp_path):
    gemma = replace(projector(tmp_path), family=families()["gemma4"], adjacent={"std_scale": torch.tensor([1.0, 0.3])})
    check_same_input(gemma, gemma)
    check_same_input(gemma, replace(gemma, adjacent={}))  # a lone projector file has none of it
    check_same_input(gemma, replace(gemma, adjacent={"std_scale": torch.tensor([1.0, 0.3]).bfloat16()}))
    with pytest.raises(Unsupported, match=r"differs from .* in 'std_scale', before the projector's first layer"):
        check_same_input(gemma, replace(gemma, adjacent={"std_scale": torch.tensor([1.0, 0.31])}))
    newline = replace(projector(tmp_path), adjacent={"image_newline": torch.ones(1)})
    check_same_input(newline, replace(newline, adjacent={"image_newline": torch.zeros(1)}))  # acts after it


def test_changed_activation_counts_as_a_change(tmp_path):
    base = projector(tmp_path)
    delta = compare(base, replace(base, settings={"act": "relu"}))
    assert delta.settings_changed == (("act", "gelu", "relu"),)
    assert delta.changed
    number = replace(base, settings={"act": 1e-05})  # a text is no number, however it is written
    assert compare(number, replace(base, settings={"act": "1e-05"})).settings_changed == (("act", "1e-05", "1e-05"),)
    assert not compare(replace(base, settings={"act": 0}), replace(base, settings={"act": 0.0})).changed


def test_other_shape_is_one_sentence_that_names_every_difference(tmp_path):
    other = projector(tmp_path, "other", linear_2__weight=torch.ones(3, 2), linear_2__bias=torch.ones(3))
    with pytest.raises(InvalidInput) as caught:
        compare(projector(tmp_path), other)
    assert "linear_2.weight is (1, 2) in the base and (3, 2) in the suspect" in str(caught.value)
    assert "linear_2.bias is (1,) in the base and (3,) in the suspect" in str(caught.value)


def test_other_family_is_one_sentence(tmp_path):
    names = {
        "multi_modal_projector.linear.weight": torch.ones(2, 2),
        "multi_modal_projector.linear.bias": torch.ones(2),
    }
    save_file(names, tmp_path / "gemma.safetensors")
    with pytest.raises(InvalidInput, match=r"LLaVA projector and the suspect gemma\.safetensors a PaliGemma one"):
        compare(projector(tmp_path), read_projector(tmp_path / "gemma.safetensors"))


def test_difference_beyond_float32_is_one_sentence(tmp_path):
    base = projector(tmp_path, linear_2__bias=torch.tensor([3e38]))
    suspect = projector(tmp_path, "s", linear_2__bias=torch.tensor([-3e38]))
    with pytest.raises(InvalidInput, match=r"linear_2\.bias by more than float32"):
        compare(base, suspect)
