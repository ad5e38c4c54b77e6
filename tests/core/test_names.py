"""One fine-tune under the names that training, saving and other libraries give it: the same answer."""

import json
import re
import shutil

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from projlens_core.activations.config import open_family
from projlens_core.activations.model import load_vision
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.sources import resolve
from projlens_core.weights.families import match, split_layout
from projlens_core.weights.names import in_counted_order, plain
from projlens_core.weights.proof import CHANGED, NOT_COMPARED, SAME, prove
from tests import pico, pico_families
from tests.pico_families import D, T

SECOND = "multi_modal_projector.linear_2.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("names") / "base")


def renamed(base, folder, rename, change=None):
    """A copy of `base` whose tensors have the names that `rename` gives, after `change` of the old ones."""
    shutil.copytree(base, folder)
    tensors = load_file(folder / "model.safetensors")
    if change:
        change(tensors)
    save_file({rename(name): t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors")
    return folder


def plant(tensors, seed=3):
    name = next(name for name in tensors if name.endswith(SECOND))
    delta = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(seed))
    tensors[name] = tensors[name] + delta
    return delta


def compared(capsys, base, suspect, *more):
    """What the command says, as JSON."""
    code = main(["weights", "--base", str(base), "--suspect", str(suspect), "--json", *more])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def after(part, wrapper):
    """A renaming that puts `wrapper` behind the first module called `part`."""
    return lambda name: re.sub(rf"(?:^|(?<=\.))({part})\.", rf"\1.{wrapper}.", name, count=1)


WRAPPED = {
    "torch.compile of all": lambda n: f"_orig_mod.{n}",
    "DataParallel of a compiled model": lambda n: f"module._orig_mod.{n}",
    "torch.compile of the projector": after("multi_modal_projector", "_orig_mod"),
    "torch.compile of one layer": after("linear_2", "_orig_mod"),
    "FSDP of all and of the projector": lambda n: (
        f"_fsdp_wrapped_module.{after('multi_modal_projector', '_fsdp_wrapped_module')(n)}"
    ),
    "FSDP of each layer": after(r"linear_\d", "_fsdp_wrapped_module"),
    "activation checkpointing of the projector": after("multi_modal_projector", "_checkpoint_wrapped_module"),
    "activation checkpointing within FSDP": after(
        "multi_modal_projector", "_fsdp_wrapped_module._checkpoint_wrapped_module"
    ),
    "DistributedDataParallel of the projector": after("multi_modal_projector", "module"),
    "DataParallel of tower and projector": lambda n: after("vision_tower", "module")(
        after("multi_modal_projector", "module")(n)
    ),
    "Lightning Fabric": lambda n: f"_forward_module.{n}",
    "Lightning Fabric around a compiled model": lambda n: f"_forward_module._orig_mod.model.{n}",
    "PEFT's base layers": after("linear_2", "base_layer"),
    "a moving average": lambda n: f"ema.{n}",
    "a student": lambda n: f"student.module.{n}",
    "a policy": lambda n: f"policy.model.{n}",
    "Opacus": after("multi_modal_projector", "_module"),
    "a copy that PEFT trains": after("multi_modal_projector", "modules_to_save.default"),
    "model. added": lambda n: f"model.{n}",
    "within the language model": lambda n: f"model.language_model.{n}" if "projector" in n else n,
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_fine_tune_under_wrapped_names_is_the_same_fine_tune(base, tmp_path, capsys, name):
    delta = {}
    suspect = renamed(base, tmp_path / "suspect", WRAPPED[name], lambda t: delta.update(w=plant(t)))
    tensors = {t["name"]: t for t in compared(capsys, base, suspect)["tensors"]}
    assert [t for t in tensors if tensors[t]["changed"]] == ["linear_2.weight"]
    assert tensors["linear_2.weight"]["frobenius"] == pytest.approx(delta["w"].norm().item(), rel=1e-5)
    expected = torch.linalg.svdvals(delta["w"].double())
    assert tensors["linear_2.weight"]["singular_values"] == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", WRAPPED)
def test_the_rest_of_the_model_is_paired_under_wrapped_names(base, tmp_path, name):
    def change(tensors):
        tensors["language_model.model.layers.1.mlp.up_proj.weight"][0, 0] += 1

    proof = prove(base, renamed(base, tmp_path / "suspect", WRAPPED[name], change))
    assert ["layers.1.mlp.up_proj.weight" in f.name for f in proof.of(CHANGED)] == [True]
    assert not proof.of(NOT_COMPARED)


def _both(first, second):
    def change(tensors):
        name = next(name for name in tensors if name.endswith(SECOND))
        tensors[f"{first}{SECOND}"] = tensors.pop(name)
        tensors[second] = tensors[f"{first}{SECOND}"] + 1

    return change


COLLIDING = {
    "compiled and not": _both("", "multi_modal_projector._orig_mod.linear_2.weight"),
    "wrapped twice in two ways": _both("module.", "module.multi_modal_projector.linear_2._orig_mod.weight"),
    "a student and a teacher": _both("student.", f"teacher.{SECOND}"),
    "a model and its moving average": _both("", f"ema.{SECOND}"),
    "within the language model and beside it": _both("", f"model.language_model.{SECOND}"),
}


@pytest.mark.parametrize("name", COLLIDING)
def test_names_that_become_one_are_refused_in_one_sentence(base, tmp_path, capsys, name):
    suspect = renamed(base, tmp_path / "suspect", lambda n: n, COLLIDING[name])
    assert main(["weights", "--base", str(base), "--suspect", str(suspect)]) == 1
    _, err = capsys.readouterr()
    assert "at once" in err
    assert err.count("\n") == 1


def test_tensors_outside_the_projector_whose_names_become_one_are_listed_as_not_compared(base, tmp_path):
    norm = "language_model.model.norm.weight"
    suspect = renamed(
        base, tmp_path / "suspect", lambda n: n, lambda t: t.update({f"_orig_mod.{norm}": t[norm].clone()})
    )
    reasons = {f.name: f.reason for f in prove(base, suspect).of(NOT_COMPARED)}
    assert reasons[norm] == "the suspect holds it under several names that mean the same"


@pytest.mark.parametrize("name", ["torch.compile of all", "DataParallel of tower and projector", "Lightning Fabric"])
def test_a_model_under_wrapped_names_is_run_like_the_plain_one(base, tmp_path, name):
    suspect = renamed(base, tmp_path / "suspect", WRAPPED[name])
    ours, theirs = (load_vision(resolve(folder)) for folder in (base, suspect))
    image = pico.images(1)[0]
    assert torch.equal(ours.encode([image])[0], theirs.encode([image])[0])


# MLX


def in_mlx(tensors):
    """As MLX stores them: kernels with their channels last."""
    return {n: t.movedim(1, -1).contiguous() if t.dim() >= 4 else t for n, t in tensors.items()}


def mlx_llava(name):
    """mlx-vlm's names of LLaVA: the tower's own module within vision_tower, the head in the language model."""
    name = name.replace("vision_tower.", "vision_tower.vision_model.")
    return name.replace("lm_head", "language_model.lm_head")


def test_mlx_names_and_kernels_are_the_same_model(base, tmp_path, capsys):
    suspect = renamed(base, tmp_path / "suspect", mlx_llava, plant)
    save_file(
        in_mlx(load_file(suspect / "model.safetensors")), suspect / "model.safetensors", metadata={"format": "mlx"}
    )
    proof = prove(base, suspect)
    assert not proof.of(CHANGED)
    assert not proof.of(NOT_COMPARED)
    kernel = next(f for f in proof.of(SAME) if "patch_embedding" in f.name)
    assert kernel.reason == "value for value, its axes in another order"
    assert [t["name"] for t in compared(capsys, base, suspect)["tensors"] if t["changed"]] == ["linear_2.weight"]


def test_a_kernel_that_looks_alike_in_both_orders_is_tried_in_both(tmp_path):
    kernel = torch.randn(8, 3, 3, 3)
    names = {"multi_modal_projector.linear_1.weight": torch.ones(2, 2), "vision_tower.patch.weight": kernel}
    changed = kernel.clone()
    changed[0, 0, 0, 0] += 1
    for folder, stored in (("a", kernel), ("b", kernel.movedim(1, -1).contiguous()), ("c", changed)):
        (tmp_path / folder).mkdir()
        save_file(names | {"vision_tower.patch.weight": stored}, tmp_path / folder / "model.safetensors")
    assert not prove(tmp_path / "a", tmp_path / "b").of(CHANGED)
    assert [f.name for f in prove(tmp_path / "a", tmp_path / "c").of(CHANGED)] == ["vision_tower.patch.weight"]


MLX = {
    "qwen2_vl": lambda n: n.replace("model.visual.", "vision_tower."),
    "qwen2_5_vl": lambda n: n.replace("model.visual.", "vision_tower."),
    "qwen3_vl": lambda n: n.replace("model.visual.", "vision_tower."),
    "glm4v": lambda n: n.replace("model.visual.", "vision_tower."),
    "idefics3": lambda n: n.removeprefix("model.").replace("text_model.", "language_model."),
    "gemma3": lambda n: n.removeprefix("model.").replace("language_model.", "language_model.model."),
    "paligemma": lambda n: n.removeprefix("model.").replace("language_model.", "language_model.model."),
    "mllama": lambda n: n.removeprefix("model.").replace("vision_model.", "vision_tower."),
    "mistral3": lambda n: n.removeprefix("model.").replace("vision_tower.", "vision_tower.vision_model."),
    "llama4": lambda n: n.removeprefix("model."),
    "minicpmv4_6": lambda n: n.removeprefix("model.").replace("vision_tower.vit_merger.", "vit_merger."),
    "aya_vision": lambda n: n.removeprefix("model.").replace("language_model.", "language_model.model."),
}


@pytest.mark.parametrize("family", MLX)
def test_mlx_names_of_other_families_are_the_same_projector(tmp_path, capsys, family):
    model = pico_families.model(family)
    model.save_pretrained(tmp_path / "base", save_original_format=False)
    tensors = load_file(tmp_path / "base" / "model.safetensors")
    own = match(tensors, model.config.model_type, family)
    chosen = next(name for name in reversed(own.tensors) if tensors[own.tensors[name]].dim() >= 2)
    shutil.copytree(tmp_path / "base", tmp_path / "suspect")
    tensors[own.tensors[chosen]].view(-1)[3] += 0.5
    save_file(in_mlx({MLX[family](n): t for n, t in tensors.items()}), tmp_path / "suspect" / "model.safetensors")
    found = compared(capsys, tmp_path / "base", tmp_path / "suspect")
    changed = {t["name"]: t["frobenius"] for t in found["tensors"] if t["changed"]}
    assert changed == {chosen: pytest.approx(0.5, rel=1e-5)}
    assert len(found["tensors"]) == len(own.tensors) + len(own.adjacent)


MLX_RELEASES = {
    "llava": [f"mm_projector.linear_{i}.{leaf}" for i in (1, 2) for leaf in ("weight", "bias")],
    "phi4_multimodal": [f"mm_projector.{i}.{leaf}" for i in (0, 2) for leaf in ("weight", "bias")],
    "deepseek_vl2": [
        *(f"projector.layers.{i}.{leaf}" for i in (0, 2) for leaf in ("weight", "bias")),
        "image_newline",
        "view_separator",
    ],
    "molmo": [
        *(f"vision_tower.image_projector.{w}.weight" for w in ("w1", "w2", "w3")),
        *(f"vision_tower.image_pooling_2d.{w}.{leaf}" for w in ("wq", "wk", "wv", "wo") for leaf in ("weight", "bias")),
    ],
    "internvl": [f"mlp1.{i}.{leaf}" for i in (0, 1, 3) for leaf in ("weight", "bias")],
    "kimi_vl": [
        f"multi_modal_projector.{layer}.{leaf}"
        for layer in ("pre_norm", "linear_1", "linear_2")
        for leaf in ("weight", "bias")
    ],
}


@pytest.mark.parametrize("family", MLX_RELEASES)
def test_mlx_names_of_releases_are_read_as_the_family(family):
    found = match(MLX_RELEASES[family], None, "it", family)
    assert found.family.mismatch(found.tensors) == ([], [])
    assert len(found.tensors) + len(found.adjacent) == len(MLX_RELEASES[family])


def qwen3_5():
    sizes = {"hidden_size": D, "out_hidden_size": T, "intermediate_size": 32, "num_position_embeddings": 16}
    text = pico_families.TEXT | pico_families.MROPE | {"layer_types": ["full_attention"] * 2}
    config = hf.Qwen3_5Config(
        vision_config=pico_families.QWEN_TOWER | sizes, text_config=text, **pico_families.QWEN_IDS
    )
    return hf.Qwen3_5ForConditionalGeneration(config)


@pytest.mark.parametrize("make", [qwen3_5, lambda: pico_families.model("qwen3_vl")], ids=["qwen3_5", "qwen3_vl"])
def test_a_tower_saved_within_the_language_model_is_found(tmp_path, capsys, make):
    """As transformers 5.5 saved Qwen3.5's (transformers#45357)."""
    make().save_pretrained(tmp_path / "base", save_original_format=False)
    suspect = renamed(
        tmp_path / "base",
        tmp_path / "suspect",
        lambda n: n.replace("model.visual.", "model.language_model.visual."),
    )
    found = compared(capsys, tmp_path / "base", suspect)
    assert found["family"] == "qwen3_vl"
    assert not any(t["changed"] for t in found["tensors"])
    proof = prove(tmp_path / "base", suspect)
    assert not proof.of(CHANGED)
    assert not proof.of(NOT_COMPARED)


def test_a_type_that_is_not_run_is_compared_and_says_why_it_is_not_run(tmp_path):
    qwen3_5().save_pretrained(tmp_path)
    with pytest.raises(Unsupported, match="'qwen3_5', which is compared by its weights but not run: its language"):
        open_family(resolve(tmp_path))


# the rules themselves


@pytest.mark.parametrize(
    ("stored", "layout", "rest"),
    [
        ("multi_modal_projector.linear_1.weight", "multi_modal_projector", "linear_1.weight"),
        ("a.b.mm_projector.module.0.weight", "a.b.mm_projector", "0.weight"),
        ("visual._orig_mod.merger.mlp.0.weight", "visual._orig_mod.merger", "mlp.0.weight"),
        ("module.visual.merger._orig_mod.ln_q.weight", "module.visual.merger", "ln_q.weight"),
        ("model.0.weight", "model", "0.weight"),
        ("connector.modality_projection.proj.base_layer.weight", "connector", "modality_projection.proj.weight"),
    ],
)
def test_layout_keeps_the_stored_path_and_the_rest_is_without_wrappers(stored, layout, rest):
    found = split_layout(stored)
    assert (found[0], found[2]) == (layout, rest)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight"),
        ("language_model.model.layers.0.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight"),
        ("llm.model.layers.0.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight"),
        ("language.model.layers.0.x", "layers.0.x"),
        ("model.text_model.layers.0.x", "layers.0.x"),
        ("lm_head.weight", "lm_head.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("vision_tower.vision_tower.vision_model.encoder.x", "vision_tower.encoder.x"),
        ("model.visual.blocks.0.x", "vision_tower.blocks.0.x"),
        ("vision_model.encoder.x", "vision_tower.encoder.x"),
        ("module.module.layers.0.x", "layers.0.x"),
        ("x.module", "x.module"),
    ],
)
def test_one_tensor_has_one_plain_name(name, short):
    assert plain(name) == short


def test_two_wrapped_projectors_of_one_family_are_named_by_their_layouts():
    names = [f"{side}.multi_modal_projector.linear_{i}.weight" for side in ("student", "teacher") for i in (1, 2)]
    with pytest.raises(InvalidInput, match=r"'student\.multi_modal_projector', 'teacher\.multi_modal_projector'"):
        match(names, "llava", "it")


assert D != T  # so that no matrix of the pico families fits the wrong way round


def test_names_are_sorted_by_their_numbers_whatever_looks_like_one():
    assert sorted(["fc10", "fc2", "fc1²", "fc١"], key=in_counted_order) == ["fc1²", "fc١", "fc2", "fc10"]
