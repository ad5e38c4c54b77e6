"""Adapters give the values of PEFT's own merge, or one sentence that says why not."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file

from projlens_core.cli import main
from projlens_core.weights.names import plain
from projlens_core.weights.opening import open_checkpoint
from tests import pico
from tests.peft_adapters import tuned

FULL = "model.multi_modal_projector.linear_2"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("adapters") / "base")


def weights(capsys, base, suspect):
    """What the command says: (exit code, JSON or None, stderr)."""
    capsys.readouterr()  # what making them printed
    code = main(["weights", "--base", str(base), "--suspect", str(suspect), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


# What PEFT makes of each is taken from PEFT, whatever one might think that the setting means.
SETTINGS = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "dora": {"use_dora": True},
    "rank-stabilised-dora": {"use_dora": True, "use_rslora": True, "alpha_pattern": {"linear_2": 9}},
    "caret-on-a-leaf": {"alpha_pattern": {"^linear_2": 60}},
    "caret-on-the-whole-name": {"alpha_pattern": {f"^{FULL}": 60}},
    "pefts-prefix": {"alpha_pattern": {f"base_model.model.{FULL}": 60}},
    "pefts-prefix-and-caret": {"alpha_pattern": {f"^base_model.model.{FULL}": 60}, "rank_pattern": {"^linear_1": 9}},
    "class": {"alpha_pattern": {"linear_[2-9]": 60}},
    "escaped-class": {"rank_pattern": {r"linear_\d": 3}},
    "anything": {"alpha_pattern": {".*": 60}, "rank_pattern": {".*projector.*": 2}},
    "dollar": {"alpha_pattern": {"linear_2$": 60}},
    "alternatives": {"alpha_pattern": {"linear_2|vision_tower.*|^model": 60}},
    "alternatives-that-anchor": {"alpha_pattern": {"linear_1|q_proj": 60, "^model|.*2": 30}},
    "counted": {"alpha_pattern": {r"(\w+\.){2}linear_2": 60}, "rank_pattern": {r"linear_\d{2}": 9, r"linear_\d{1}": 3}},
    "lazy": {"alpha_pattern": {".*?_2": 60}},
    "named-group": {"alpha_pattern": {r"(?P<part>multi)_modal_projector\.linear_2": 60}},
    "first-of-two": {"alpha_pattern": {"linear_2": 60, f"{FULL}": 30}},
    "dot-is-any-character": {"alpha_pattern": {"linear.2": 60}},
    "half-a-leaf": {"alpha_pattern": {"inear_2": 60, "ear_.": 30}},
    "empty": {"alpha_pattern": {"": 60}},
    "unbalanced-on-purpose": {"alpha_pattern": {"linear_2)|(nothing": 60}},
    "gaussian": {"init_lora_weights": "gaussian"},
    "no-initialisation": {"init_lora_weights": False},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "bias-of-the-factors": {"lora_bias": True},
    "trained-biases": {"bias": "lora_only"},
    "all-biases": {"bias": "all"},
    "fan-in-fan-out": {"fan_in_fan_out": True},
    "velora": {"velora_config": peft.tuners.lora.config.VeloraConfig(num_groups=4)},
    "whole-projector": {"modules_to_save": ["multi_modal_projector"], "target_modules": ["q_proj"]},
    "whole-layer": {"modules_to_save": ["linear_1"], "target_modules": ["linear_2"]},
    "expression-of-targets": {"target_modules": r".*(multi_modal_projector\.linear_\d|mlp\.up_proj)"},
    "all-linear": {"target_modules": "all-linear"},
    "excluded": {"target_modules": "all-linear", "exclude_modules": ["linear_1", "q_proj"]},
    "some-layers": {"target_modules": ["linear_2", "q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "parameters": {"target_modules": [], "target_parameters": ["linear_2.weight"]},
    "embedding": {"target_modules": ["embed_tokens", "linear_2"]},
    "embedding-dora": {"target_modules": ["embed_tokens", "linear_2"], "use_dora": True},
    "tokens": {"trainable_token_indices": [3, 5, 90]},
    "convolution": {"target_modules": ["patch_embedding", "linear_2"]},
    "convolution-dora": {"target_modules": ["patch_embedding", "linear_2"], "use_dora": True},
    "norms": {"modules_to_save": ["norm", "input_layernorm"]},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SETTINGS)
def test_every_tensor_is_what_pefts_own_merge_gives(base, tmp_path, capsys, name):
    made = tuned(base, tmp_path / "a", **SETTINGS[name])
    expected = {plain(key): value for key, value in made.merged.items()}
    opened = open_checkpoint(made.folder, base)
    for key in opened.names:
        assert torch.allclose(opened.read(key).float(), expected[plain(key)], atol=1e-5), key
    _, result, err = weights(capsys, base, made.folder)
    before = {plain(key): value for key, value in load_file(base / "model.safetensors").items()}
    assert err == ""
    for tensor in result["tensors"]:
        key = f"multi_modal_projector.{tensor['name']}"
        assert tensor["frobenius"] == pytest.approx((expected[key] - before[key]).norm().item(), rel=1e-4, abs=1e-6)
    changed = {plain(key) for key in before if not torch.equal(before[key], expected[plain(key)])}
    outside = {plain(each) for names in result["also_changed"].get("suspect", {}).values() for each in names}
    assert {key for key in changed if "projector" not in key} <= outside
