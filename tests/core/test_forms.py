"""One fine-tune in every form in which it may come: the same names and values, whatever the file."""

import json
import re
import shutil

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.cases.case import read_projectors
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.delta import compare
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.proof import CHANGED, SAME, prove
from tests import pico

NAME = "multi_modal_projector.linear_2.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("forms") / "base")


def projector(folder, prefix=""):
    tensors = load_file(folder / "model.safetensors")
    return {prefix + name[name.index("multi_modal") :]: t for name, t in tensors.items() if "multi_modal" in name}


def delta_of(base, suspect):
    ours, theirs = read_projectors([str(base), str(suspect)])
    return compare(ours, theirs)


def moved(base, suspect):
    """{canonical name: ΔW} of what changed."""
    return {t.name: t.delta for t in delta_of(base, suspect).tensors if t.changed}


def plant(tensors, name, seed=3):
    delta = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(seed))
    tensors[name] = tensors[name] + delta
    return delta


# pickles


@pytest.mark.parametrize("prefix", ["", "model.", "base_model.model.model.", "module."])
@pytest.mark.parametrize("file", ["mm_projector.bin", "non_lora_trainables.bin", "x.pt", "x.pth"])
def test_pickled_projector_is_read_without_its_wrappers(base, tmp_path, file, prefix):
    tensors = projector(base, prefix)
    delta = plant(tensors, prefix + NAME)
    torch.save(tensors, tmp_path / file)
    assert torch.allclose(moved(base, tmp_path / file)["linear_2.weight"], delta, atol=1e-6)


def test_original_llava_names_in_a_pickle_are_the_same_projector(base, tmp_path):
    tensors = {
        name.replace("multi_modal_projector.linear_1", "model.mm_projector.0").replace(
            "multi_modal_projector.linear_2", "model.mm_projector.2"
        ): t
        for name, t in projector(base).items()
    }
    torch.save(tensors, tmp_path / "mm_projector.bin")
    assert moved(base, tmp_path / "mm_projector.bin") == {}


def test_training_checkpoint_gives_its_model_and_leaves_the_optimizer(base, tmp_path):
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "lr": 1e-4}
    torch.save({"model": projector(base), "optimizer": optimizer, "epoch": 3}, tmp_path / "checkpoint.pth")
    checkpoint = open_checkpoint(tmp_path / "checkpoint.pth")
    assert set(checkpoint.names) == projector(base).keys()


def test_only_the_asked_for_tensor_of_a_pickle_is_read(tmp_path):
    torch.save({"big": torch.zeros(1_000_000), "small": torch.arange(3.0)}, tmp_path / "x.bin")
    checkpoint = open_checkpoint(tmp_path / "x.bin")
    assert checkpoint.read("small").tolist() == [0, 1, 2]
    assert checkpoint.bytes_read < 40_000


def test_views_and_transposes_in_a_pickle_have_their_own_values(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save(
        {"row": whole[1], "turned": whole.T, "wide": whole[:1].expand(1, 4), "none": whole[:0]}, tmp_path / "x.pt"
    )
    checkpoint = open_checkpoint(tmp_path / "x.pt")
    assert torch.equal(checkpoint.read("row"), whole[1])
    assert torch.equal(checkpoint.read("turned"), whole.T)
    assert checkpoint.read("none").shape == (0, 4)


def test_one_stored_tensor_under_two_names_is_said(tmp_path):
    t = torch.ones(3)
    torch.save({"a": t, "b": t}, tmp_path / "x.pt")
    assert "'a', 'b' are one stored tensor under 2 names" in open_checkpoint(tmp_path / "x.pt").warnings[0]


def test_a_file_from_before_torch_1_6_is_read_as_well(base, tmp_path):
    torch.save(projector(base), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert moved(base, tmp_path / "old.pth") == {}


def test_sharded_pickles_with_an_index_are_one_checkpoint(base, tmp_path):
    tensors = load_file(base / "model.safetensors")
    names = sorted(tensors)
    shards = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, part in shards.items():
        torch.save({name: tensors[name] for name in part}, tmp_path / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    shutil.copy(base / "config.json", tmp_path)
    assert moved(base, tmp_path) == {}
    assert not prove(base, tmp_path).of(CHANGED)


# adapters


def lora(folder, factors, config=(), **whole):
    folder.mkdir(exist_ok=True)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, **dict(config)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file(factors | whole, folder / "adapter_model.safetensors")
    return folder


def factors(module="base_model.model.multi_modal_projector.linear_2", rank=2, rows=48, columns=48, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{module}.lora_A.weight": torch.randn(rank, columns, generator=generator),
        f"{module}.lora_B.weight": torch.randn(rows, rank, generator=generator),
    }


def product(parts):
    a, b = parts.values()
    return b @ a


MODULES = ["multi_modal_projector.linear_2", "model.multi_modal_projector.linear_2"]


@pytest.mark.parametrize("module", MODULES)
def test_lora_is_alpha_over_rank_times_b_a_on_the_case_base(base, tmp_path, module):
    parts = factors(f"base_model.model.{module}")
    found = moved(base, lora(tmp_path / "a", parts))
    assert found.keys() == {"linear_2.weight"}
    assert torch.allclose(found["linear_2.weight"], 8 / 2 * product(parts), atol=1e-4)


def test_rank_stabilised_lora_divides_by_the_root(base, tmp_path):
    parts = factors()
    found = moved(base, lora(tmp_path / "a", parts, {"use_rslora": True}))
    assert torch.allclose(found["linear_2.weight"], 8 / 2**0.5 * product(parts), atol=1e-4)


def test_patterns_give_a_module_its_own_rank_and_alpha(base, tmp_path):
    parts = factors(rank=3)
    patterns = {"rank_pattern": {"linear_2": 3}, "alpha_pattern": {"multi_modal_projector.linear_2": 30}}
    found = moved(base, lora(tmp_path / "a", parts, patterns))
    assert torch.allclose(found["linear_2.weight"], 10 * product(parts), atol=1e-4)


def test_dora_scales_each_row_to_its_learned_length(base, tmp_path):
    parts = factors()
    length = torch.linspace(0.5, 2, 48)
    module = "base_model.model.multi_modal_projector.linear_2"
    whole = {f"{module}.lora_magnitude_vector": length}
    found = moved(base, lora(tmp_path / "a", parts, {"use_dora": True}, **whole))
    w = projector(base)[NAME]
    changed = w + 4 * product(parts)
    expected = changed * (length / changed.norm(dim=1))[:, None]
    assert torch.allclose(found["linear_2.weight"], expected - w, atol=1e-4)


def test_modules_to_save_replace_the_base_s_and_their_originals_do_not(base, tmp_path):
    delta = torch.ones(48)
    name = "multi_modal_projector.linear_2"
    bias = projector(base)[f"{name}.bias"]
    whole = {
        f"base_model.model.{name}.modules_to_save.bias": bias + delta,
        f"base_model.model.{name}.original_module.bias": bias,
    }
    found = moved(base, lora(tmp_path / "a", factors(), **whole))
    assert found.keys() == {"linear_2.weight", "linear_2.bias"}
    assert torch.allclose(found["linear_2.bias"], delta, atol=1e-6)


def test_the_projector_of_a_llava_lora_is_beside_the_factors(base, tmp_path):
    tensors = projector(base, "base_model.model.model.")
    tensors = {
        k.replace("multi_modal_projector.linear_1", "mm_projector.0").replace(
            "multi_modal_projector.linear_2", "mm_projector.2"
        ): t
        for k, t in tensors.items()
    }
    delta = plant(tensors, "base_model.model.model.mm_projector.2.weight")
    folder = lora(tmp_path / "a", factors("base_model.model.model.layers.0.self_attn.q_proj"))
    torch.save(tensors, folder / "non_lora_trainables.bin")
    assert torch.allclose(moved(base, folder)["linear_2.weight"], delta, atol=1e-6)
    proof = prove(base, folder)
    assert [finding.reason[:14] for finding in proof.of(CHANGED)] == ["by the adapter"]
    assert {finding.reason for finding in proof.of(SAME)} == {"the adapter leaves the base's as it is"}
    assert proof.bytes_read < (base / "model.safetensors").stat().st_size / 4  # what is the base's own is not read


def test_swift_s_vision_file_replaces_tower_and_projector(base, tmp_path):
    tensors = {n: t for n, t in load_file(base / "model.safetensors").items() if "projector" in n or "vision" in n}
    delta = plant(tensors, next(name for name in tensors if name.endswith(NAME)))
    folder = lora(tmp_path / "a", factors("base_model.model.language_model.model.layers.0.mlp.up_proj", rows=96))
    save_file(tensors, folder / "vit.safetensors")
    assert torch.allclose(moved(base, folder)["linear_2.weight"], delta, atol=1e-6)


def test_an_adapter_of_zeros_changes_nothing(base, tmp_path):
    parts = factors()
    folder = lora(tmp_path / "a", {name: t * ("lora_A" in name) for name, t in parts.items()})
    assert moved(base, folder) == {}


def test_peft_merges_what_is_read_without_a_merge(base, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(base)
    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=["linear_1", "linear_2"], use_dora=True, rank_pattern={"linear_2": 3}
    )
    tuned = peft.get_peft_model(model, config)
    torch.manual_seed(0)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    tuned.save_pretrained(tmp_path / "adapter")
    merged = tuned.merge_and_unload().model.multi_modal_projector
    read = read_projectors([str(base), str(tmp_path / "adapter")])[1]
    for name in ("linear_1.weight", "linear_2.weight"):
        assert torch.allclose(read.tensors[name], merged.get_parameter(name), atol=1e-4)


WRONG = {
    "another-method": (factors(), {"peft_type": "IA3"}, Unsupported, "type 'IA3'"),
    "moves-the-base": (factors(), {"init_lora_weights": "pissa_niter_16"}, Unsupported, "initialised by 'pissa"),
    "rank-lies": (factors(rank=3), {}, InvalidInput, "says r is 2"),
    "no-alpha": (factors(), {"lora_alpha": None}, InvalidInput, "lora_alpha 'None'"),
    "negative-alpha": (factors(), {"lora_alpha": -1}, InvalidInput, "lora_alpha '-1'"),
    "does-not-fit": (factors(rows=40), {}, InvalidInput, "do not fit"),
    "half-a-pair": (dict(list(factors().items())[:1]), {}, InvalidInput, "only one of the factors"),
    "dora-without-lengths": (factors(), {"use_dora": True}, InvalidInput, "use_dora"),
    "unknown-part": (
        factors() | {"multi_modal_projector.linear_1.lora_C.weight": torch.ones(1)},
        {},
        Unsupported,
        "no part of a LoRA",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_adapter_that_cannot_be_read_is_one_clear_sentence(base, tmp_path, name):
    parts, config, error, said = WRONG[name]
    with pytest.raises(error, match=re.escape(said)):
        moved(base, lora(tmp_path / "a", parts, config))


def test_an_adapter_alone_asks_for_its_base(tmp_path):
    with pytest.raises(InvalidInput, match="is an adapter, a change to a base"):
        open_checkpoint(lora(tmp_path / "a", factors()))


# GGUF


def mmproj(path, tensors, kind=None, architecture="clip", **strings):
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in strings.items():
        writer.add_string(key, value)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("some.words", ["a", "b"])
    for name, tensor in tensors.items():
        values = tensor.numpy()
        if kind is None or values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            quant = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(values, quant), raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_tensors(rows=64, columns=32):
    generator = torch.Generator().manual_seed(2)
    return {
        "mm.0.weight": torch.randn(rows, columns, generator=generator),
        "mm.0.bias": torch.randn(rows, generator=generator),
        "mm.2.weight": torch.randn(rows, rows, generator=generator),
        "mm.2.bias": torch.randn(rows, generator=generator),
    }


@pytest.mark.parametrize(("kind", "worst"), [(None, 0), ("F16", 2e-3), ("BF16", 2e-2), ("Q8_0", 0.03), ("Q4_0", 0.6)])
def test_gguf_tensors_come_back_with_rows_first_and_restored(tmp_path, kind, worst):
    tensors = gguf_tensors()
    checkpoint = open_checkpoint(mmproj(tmp_path / "mmproj.gguf", tensors, kind))
    assert set(checkpoint.names) == tensors.keys()
    for name, tensor in tensors.items():
        read = checkpoint.read(name)
        assert read.shape == tensor.shape
        assert (read.float() - tensor).abs().max() <= worst
    expected = {None: "float32", "F16": "float16", "BF16": "bfloat16"}.get(kind, kind)
    assert checkpoint.info("mm.0.weight").dtype == expected


def test_gguf_values_equal_those_of_the_library_for_each_type_it_restores(tmp_path):
    rng = np.random.default_rng(0)
    for quant in gguf.GGMLQuantizationType:
        block, size = gguf.GGML_QUANT_SIZES[quant]
        data = rng.integers(0, 256, (2, size), dtype=np.uint8)
        try:
            with np.errstate(all="ignore"):
                expected = gguf.quants.dequantize(data, quant)
        except NotImplementedError:
            continue
        if block == 1:
            continue  # stored as they are
        path = tmp_path / f"{quant.name}.gguf"
        writer = gguf.GGUFWriter(path, "clip")
        writer.add_tensor("w", data, raw_dtype=quant)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        read = open_checkpoint(path).read("w")
        assert read.shape == (2, block)
        assert np.array_equal(read.numpy(), expected.astype(np.float32), equal_nan=True), quant.name


GGUF_NAMES = {
    "mlp": ("multi_modal_projector.linear_1.bias", "mm.0.bias", 0),
    "qwen2vl_merger": ("visual.merger.ln_q.weight", "v.post_ln.weight", 0),
    "qwen3vl_merger": ("visual.deepstack_merger_list.1.linear_fc1.weight", "v.deepstack.16.fc1.weight", 0),
    "internvl": ("mlp1.3.weight", "mm.model.mlp.3.weight", 0),
    "idefics3": ("connector.modality_projection.proj.weight", "mm.model.fc.weight", 0),
    "gemma3": ("multi_modal_projector.mm_soft_emb_norm.weight", "mm.soft_emb_norm.weight", 1),
    "pixtral": ("multi_modal_projector.linear_1.weight", "mm.1.weight", 0),
}


@pytest.mark.parametrize("kind", GGUF_NAMES)
def test_the_kind_a_gguf_names_decides_what_its_short_names_mean(tmp_path, kind):
    here, there, stored_above = GGUF_NAMES[kind]
    tensors = {there: torch.arange(4.0), "v.deepstack.8.fc1.weight": torch.ones(2)}
    path = mmproj(tmp_path / "mmproj.gguf", tensors, **{"clip.projector_type": kind})
    assert open_checkpoint(path).read(here).tolist() == (torch.arange(4.0) - stored_above).tolist()


def test_a_gguf_of_a_llava_is_compared_and_its_rounding_told_from_a_change(base, tmp_path):
    names = {"linear_1": "mm.0", "linear_2": "mm.2"}
    tensors = {f"{names[n.split('.')[1]]}.{n.rpartition('.')[2]}": t for n, t in projector(base).items()}
    suspect = mmproj(tmp_path / "mmproj.gguf", tensors, "F16", **{"clip.projector_type": "mlp"})
    delta = delta_of(base, suspect)
    assert delta.suspect.family.name == "llava"
    change = next(t for t in delta.tensors if t.name == "linear_2.weight")
    assert change.frobenius == pytest.approx(change.rounding.frobenius, rel=0.1)
