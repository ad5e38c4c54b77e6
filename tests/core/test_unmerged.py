"""Models that were saved before their adapters were merged: read as PEFT merges them, or what is missing is said."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.cli import main
from projlens_core.weights.names import plain
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.proof import CHANGED, prove
from tests import pico
from tests.peft_adapters import tuned


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("unmerged") / "base")


SETTINGS = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True, "alpha_pattern": {"^model.multi_modal_projector.linear_2": 9}},
    "dora": {"use_dora": True},
    "language-model-too": {"target_modules": ["linear_1", "linear_2", "q_proj", "up_proj"]},
    "language-model-alone": {"target_modules": ["q_proj"]},
    "copies": {"modules_to_save": ["linear_1"], "target_modules": ["linear_2"]},
    "copied-projector": {"modules_to_save": ["multi_modal_projector"], "target_modules": ["q_proj"]},
    "bias": {"lora_bias": True},
    "embedding": {"target_modules": ["embed_tokens", "linear_2"]},
    "tokens": {"trainable_token_indices": [3, 5]},
    "all": {"target_modules": "all-linear"},
}


def made(base, folder, name, file="pytorch_model.bin"):
    """(the folder of the whole state with its adapter_config.json, {plain name: merged values})."""
    folder.mkdir()
    found = tuned(base, folder / "adapter", state=folder / "model" / "state.bin", **SETTINGS[name])
    state, model = torch.load(folder / "model" / "state.bin"), folder / "model"
    (model / "state.bin").unlink()
    if file.endswith(".bin"):
        torch.save(state, model / file)
    else:
        save_file({key: value.clone() for key, value in state.items()}, model / file)
    shutil.copy(folder / "adapter" / "adapter_config.json", model)
    shutil.copy(base / "config.json", model)
    return model, {plain(key): value for key, value in found.merged.items()}


def norms(capsys, base, suspect):
    capsys.readouterr()
    assert main(["weights", "--base", str(base), "--suspect", str(suspect), "--json"]) == 0
    return {tensor["name"]: tensor["frobenius"] for tensor in json.loads(capsys.readouterr().out)["tensors"]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_whole_unmerged_state_is_read_as_pefts_merge(base, tmp_path, capsys, name, file):
    model, expected = made(base, tmp_path / "a", name, file)
    before = {plain(key): value for key, value in load_file(base / "model.safetensors").items()}
    for found in (norms(capsys, base, model), norms(capsys, base, model / file)):
        for tensor, norm in found.items():
            key = f"multi_modal_projector.{tensor}"
            assert norm == pytest.approx((expected[key] - before[key]).norm().item(), rel=1e-4, abs=1e-5)
    opened = open_checkpoint(model, base)
    assert not any("lora_" in key or "base_layer" in key for key in opened.names)
    for key in opened.names:
        if name == "embedding" and key.endswith("lm_head.weight"):
            continue  # PEFT's merge moves a tied head, too; here it is read as stored, and refused where it is to run
        assert torch.allclose(opened.read(key).float(), expected[plain(key)], atol=1e-5), key


@pytest.mark.filterwarnings("ignore")
def test_what_an_unmerged_state_changes_elsewhere_is_listed_and_proved_changed(base, tmp_path, capsys):
    model, _ = made(base, tmp_path / "a", "language-model-too")
    main(["weights", "--base", str(base), "--suspect", str(model), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(found["also_changed"]["suspect"]["language model"]) == 4
    changed = {plain(each.name) for each in prove(base, model).of(CHANGED) if each.part == "language model"}
    assert changed == {f"layers.{n}.{rest}.weight" for n in (0, 1) for rest in ("self_attn.q_proj", "mlp.up_proj")}


@pytest.mark.filterwarnings("ignore")
def test_an_unmerged_base_is_a_base(base, tmp_path, capsys):
    model, expected = made(base, tmp_path / "a", "plain")
    found = norms(capsys, model, base)
    before = load_file(base / "model.safetensors")["multi_modal_projector.linear_2.weight"]
    norm = (before - expected["multi_modal_projector.linear_2.weight"]).norm().item()
    assert found["linear_2.weight"] == pytest.approx(norm, rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_without_the_config_one_sentence_says_what_is_missing(base, tmp_path, capsys):
    model, _ = made(base, tmp_path / "a", "plain")
    (model / "adapter_config.json").unlink()
    capsys.readouterr()
    assert main(["weights", "--base", str(base), "--suspect", str(model)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "adapter_config.json (with r and lora_alpha)" in err


@pytest.mark.filterwarnings("ignore")
def test_without_the_config_a_projector_that_is_not_adapted_is_read_all_the_same(base, tmp_path, capsys):
    model, _ = made(base, tmp_path / "a", "language-model-alone")
    (model / "adapter_config.json").unlink()
    assert set(norms(capsys, base, model).values()) == {0}


ARGUMENTS = {
    "args.json": {"tuner_type": "lora", "lora_rank": 4, "lora_alpha": 6, "use_rslora": False},
    "sft_args.json": {"sft_type": "lora", "lora_rank": 4, "lora_alpha": 6, "init_lora_weights": "true"},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_scale_is_read_from_a_trainers_arguments(base, tmp_path, capsys, name):
    model, expected = made(base, tmp_path / "a", "plain")
    (model / "adapter_config.json").unlink()
    (model / name).write_text(json.dumps(ARGUMENTS[name]))
    before = load_file(base / "model.safetensors")["multi_modal_projector.linear_2.weight"]
    norm = (before - expected["multi_modal_projector.linear_2.weight"]).norm().item()
    assert norms(capsys, base, model)["linear_2.weight"] == pytest.approx(norm, rel=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors", "lora.bin", "checkpoint.pt"])
def test_the_factors_alone_in_a_file_of_another_name_are_an_adapter(base, tmp_path, capsys, file):
    found = tuned(base, tmp_path / "a")
    factors = load_file(tmp_path / "a" / "adapter_model.safetensors")
    factors = {name.replace(".weight", ".default.weight"): tensor for name, tensor in factors.items()}
    (tmp_path / "a" / "adapter_model.safetensors").unlink()
    save = save_file if file.endswith(".safetensors") else torch.save
    save(factors, tmp_path / "a" / file)
    before = load_file(base / "model.safetensors")["multi_modal_projector.linear_2.weight"]
    norm = (before - found.merged["model.multi_modal_projector.linear_2.weight"]).norm().item()
    for suspect in (tmp_path / "a", tmp_path / "a" / file):
        assert norms(capsys, base, suspect)["linear_2.weight"] == pytest.approx(norm, rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_of_two_adapters_in_one_state_none_is_chosen(base, tmp_path, capsys):
    model, _ = made(base, tmp_path / "a", "plain")
    state = torch.load(model / "pytorch_model.bin")
    state |= {name.replace(".default.", ".other."): tensor for name, tensor in state.items() if "lora_" in name}
    torch.save(state, model / "pytorch_model.bin")
    capsys.readouterr()
    assert main(["weights", "--base", str(base), "--suspect", str(model)]) == 1
    error = capsys.readouterr().err
    assert "several adapters" in error or "in more than one way" in error
    assert error.count("\n") == 1


def test_a_merged_model_beside_a_stale_config_is_refused(base, tmp_path, capsys):
    shutil.copytree(base, tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 6}')
    assert main(["weights", "--base", str(base), "--suspect", str(tmp_path / "a")]) == 1
    assert "take adapter_config.json away" in capsys.readouterr().err
