"""An adapter and its base may spell one tensor differently: it is found, or what is missing is said."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.cli import main
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.proof import NOT_COMPARED, prove
from tests import pico


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """One model in the names of three times: as LLaVA released it, as transformers did then, and does now."""
    folder = tmp_path_factory.mktemp("names")
    then, now = pico.checkpoint(folder / "then"), pico.checkpoint(folder / "now", old_keys=False)
    first = folder / "first.safetensors"
    renamed = (
        ("multi_modal_projector.linear_1", "model.mm_projector.0"),
        ("multi_modal_projector.linear_2", "model.mm_projector.2"),
        ("language_model.model.", "model."),
        ("vision_tower.", "model.vision_tower.vision_tower."),
    )
    tensors = load_file(then / "model.safetensors")
    for old, new in renamed:
        tensors = {name.replace(old, new) if name.startswith(old) else name: t for name, t in tensors.items()}
    save_file(tensors, first)
    return {"first": first, "then": then, "now": now}


def pair(module, rows=48, columns=48, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{module}.lora_A.weight": torch.randn(2, columns, generator=generator),
        f"{module}.lora_B.weight": torch.randn(rows, 2, generator=generator),
    }


def lora(folder, tensors, **config):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 8} | config))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def result(capsys, base, suspect, *more):
    assert main(["weights", "--base", str(base), "--suspect", str(suspect), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def product(tensors):
    a, b = (next(t for name, t in tensors.items() if f"lora_{side}" in name) for side in "AB")
    return b @ a


PROJECTORS = [
    "base_model.model.model.multi_modal_projector.linear_2",
    "base_model.model.multi_modal_projector.linear_2",
    "model.multi_modal_projector.linear_2",
    "multi_modal_projector.linear_2",
    "module.base_model.model.model.multi_modal_projector.linear_2",
    "_orig_mod.base_model.model.model.multi_modal_projector.linear_2",
    "base_model.model._orig_mod.model.multi_modal_projector.linear_2",
    "base_model.model.model.multi_modal_projector._orig_mod.linear_2",
    "base_model.model.model.multi_modal_projector._fsdp_wrapped_module.linear_2",
    "base_model.model.model._fsdp_wrapped_module._checkpoint_wrapped_module.multi_modal_projector.linear_2",
    "base_model.model.model.mm_projector.2",
    "base_model.model.mm_projector.2",
    "model.mm_projector.2",
]


@pytest.mark.parametrize("module", PROJECTORS)
@pytest.mark.parametrize("form", ["first", "then", "now"])
def test_factors_of_the_projector_find_it_in_the_names_of_any_time(bases, tmp_path, capsys, form, module):
    tensors = pair(module)
    found = result(capsys, bases[form], lora(tmp_path / "a", tensors))
    norms = {tensor["name"]: tensor["frobenius"] for tensor in found["tensors"]}
    assert norms["linear_2.weight"] == pytest.approx(4 * product(tensors).norm().item(), rel=1e-4)
    assert [name for name, norm in norms.items() if norm] == ["linear_2.weight"]
    assert found["also_changed"] == {}


ELSEWHERE = [
    "base_model.model.model.language_model.layers.1.mlp.up_proj",
    "base_model.model.language_model.model.layers.1.mlp.up_proj",
    "base_model.model.model.layers.1.mlp.up_proj",  # trained on the language model alone
    "base_model.model.language_model.layers.1.mlp.up_proj",
    "language_model.model.layers.1.mlp.up_proj",
]


@pytest.mark.parametrize("module", ELSEWHERE)
@pytest.mark.parametrize("form", ["first", "then", "now"])
def test_factors_of_the_language_model_are_listed_and_merged_in_the_names_of_any_time(
    bases, tmp_path, capsys, form, module
):
    tensors = pair(module, rows=96) | pair("base_model.model.model.multi_modal_projector.linear_1", columns=32)
    folder = lora(tmp_path / "a", tensors)
    found = result(capsys, bases[form], folder)
    [name] = found["also_changed"]["suspect"]["language model"]
    assert name.endswith("layers.1.mlp.up_proj.weight")
    opened, own = open_checkpoint(folder, bases[form]), open_checkpoint(bases[form])
    delta = opened.read(name) - own.read(name)
    factors = {key: tensor for key, tensor in tensors.items() if key.startswith(module)}
    assert torch.allclose(delta, 4 * product(factors), atol=1e-4)


def test_a_whole_projector_in_the_names_of_another_time_is_compared_tensor_by_tensor(bases, tmp_path, capsys):
    tensors = {
        f"base_model.model.model.mm_projector.{number}.{leaf}": load_file(bases["then"] / "model.safetensors")[
            f"multi_modal_projector.linear_{layer}.{leaf}"
        ]
        for number, layer in ((0, 1), (2, 2))
        for leaf in ("weight", "bias")
    }
    tensors["base_model.model.model.mm_projector.2.bias"] = tensors["base_model.model.model.mm_projector.2.bias"] + 1
    found = result(capsys, bases["now"], lora(tmp_path / "a", tensors))
    norms = {tensor["name"]: tensor["frobenius"] for tensor in found["tensors"]}
    assert norms == pytest.approx({name: 48**0.5 if name == "linear_2.bias" else 0 for name in norms})


# what an adapter may change elsewhere, and it is nobody's concern who reads the projector
EXPERTS = "base_model.model.model.language_model.layers.0.mlp.experts"
Q = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
BESIDE = {
    "experts by target_parameters": (
        {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
        pair(f"{EXPERTS}.base_layer", 16, 48) | pair(EXPERTS, 48, 8),
        "language model",
    ),
    "a bias that the base lacks": (
        {"lora_bias": True},
        pair(Q) | {f"{Q}.lora_B.bias": torch.ones(48)},
        "language model",
    ),
    "factors that do not fit": ({}, pair(Q, rows=7), "language model"),
    "half a pair": ({}, {f"{Q}.lora_A.weight": torch.ones(2, 48)}, "language model"),
    "dora's lengths": (
        {}, pair(Q) | {f"{Q}.lora_magnitude_vector": torch.ones(48)}, "language model"
    ),
    "another rank": ({}, {name: torch.cat([t, t], int("B" in name)) for name, t in pair(Q).items()}, "language model"),
    "an unknown part": ({}, {f"{Q}.lora_diag": torch.ones(2)}, "language model"),
    "8-bit factors": ({}, {name: t.to(torch.float8_e4m3fn) for name, t in pair(Q).items()}, "language model"),
    "two adapters": ({}, pair(Q) | {f"{Q}.lora_A.other.weight": torch.ones(2, 48)}, "language model"),
    "new rows of the embedding": (
        {"trainable_token_indices": [1, 2]},
        {"base_model.model.model.language_model.embed_tokens.token_adapter.trainable_tokens_delta": torch.ones(2, 48)},
        "embeddings",
    ),
    "an embedding saved whole": (
        {}, {"base_model.model.model.language_model.embed_tokens.base_layer.weight": torch.ones(101, 48)}, "embeddings"
    ),
    "a head of its own": ({}, {"base_model.model.lm_head.weight": torch.ones(101, 48)}, "head"),
    "the tower": (
        {}, pair("base_model.model.model.vision_tower.vision_model.encoder.layers.0.mlp.fc1", 64, 32), "vision tower"
    ),
    "layers that the base lacks": ({}, pair(Q.replace("layers.0", "layers.77")), "language model"),
    "replicated layers": ({"layer_replication": [[0, 2], [1, 2]]}, pair(Q), "language model"),
}  # fmt: skip


@pytest.mark.parametrize("what", BESIDE)
def test_what_the_projector_does_not_need_is_in_nobodys_way_and_is_listed(bases, tmp_path, capsys, what):
    config, elsewhere, part = BESIDE[what]
    own = pair("base_model.model.model.multi_modal_projector.linear_2")
    found = result(capsys, bases["then"], lora(tmp_path / "a", own | elsewhere, **config))
    norms = {tensor["name"]: tensor["frobenius"] for tensor in found["tensors"]}
    assert norms["linear_2.weight"] == pytest.approx(4 * product(own).norm().item(), rel=1e-4)
    assert found["also_changed"]["suspect"][part]
    assert any("also changes tensors outside the projector" in note and part in note for note in found["notes"])


@pytest.mark.parametrize("start", ["pissa", "lora_ga"])
def test_an_initialisation_that_changes_the_base_is_in_the_way_of_factors_alone(bases, tmp_path, capsys, start):
    bias = load_file(bases["then"] / "model.safetensors")["multi_modal_projector.linear_2.bias"] + 1
    tensors = pair(Q) | {"base_model.model.model.multi_modal_projector.linear_2.bias": bias}
    folder = lora(tmp_path / "a", tensors, init_lora_weights=start)
    norms = {t["name"]: t["frobenius"] for t in result(capsys, bases["then"], folder)["tensors"]}
    assert norms["linear_2.bias"] == pytest.approx(48**0.5)
    proof = prove(bases["then"], folder)
    [reason] = [found.reason for found in proof.of(NOT_COMPARED) if "q_proj" in found.name]
    assert start in reason


@pytest.mark.parametrize("kind", ["IA3", "VERA", "LN_TUNING", "PROMPT_TUNING"])
def test_an_adapter_of_another_method_that_leaves_the_projector_alone_is_said_to(bases, tmp_path, capsys, kind):
    tensors = {
        "IA3": {f"{Q}.ia3_l": torch.ones(48, 1)},
        "VERA": {f"{Q}.vera_lambda_b": torch.ones(48)},
        "LN_TUNING": {"base_model.model.model.language_model.norm.weight": torch.full((48,), 2.0)},
        "PROMPT_TUNING": {"prompt_embeddings": torch.ones(4, 48)},
    }[kind]
    found = result(capsys, bases["then"], lora(tmp_path / "a", tensors, peft_type=kind))
    assert not any(tensor["changed"] for tensor in found["tensors"])
    assert found["also_changed"]["suspect"]
