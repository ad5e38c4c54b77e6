import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
)

from projlens_core.activations.model import load_vision
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.opening import open_checkpoint
from tests import pico


def projector_input(folder, images):
    """What the projector reads in the whole model, as a forward pre-hook sees it: (n, tokens, d_vision)."""
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(images=images, text=["<image>"] * len(images), return_tensors="pt")
    seen = []
    hook = model.model.multi_modal_projector.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    return seen[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture
def copy(tmp_path):
    return pico.checkpoint(tmp_path / "copy")


def edit(folder, name, change):
    """Rewrite a JSON file of the checkpoint; `change` gets its dict."""
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.support("activations", "exact", "llava")
@pytest.mark.parametrize("layer", [-2, -1, 1, [-2, 1]])
def test_tokens_are_what_the_projector_reads_in_the_whole_model(tmp_path, layer):
    config = pico.default_config()
    config.vision_feature_layer = layer
    pico.processor().save_pretrained(tmp_path)
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    images = pico.images(3)
    vision = load_vision(str(tmp_path))
    found = vision.encode(images)
    assert found.shape == (3, vision.tokens, vision.d_vision)
    assert torch.equal(found, projector_input(tmp_path, images))


def test_tokens_of_a_tower_without_cls_are_what_the_projector_reads(tmp_path):
    config = pico.default_config()
    config.vision_config = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=40, patch_size=10
    )
    config.vision_feature_select_strategy = "full"
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    processor = pico.processor()
    processor.num_additional_image_tokens, processor.vision_feature_select_strategy = 0, "full"
    processor.save_pretrained(tmp_path)
    found = load_vision(str(tmp_path)).encode(pico.images(2))
    assert found.shape == (2, pico.TOKENS, pico.D_VISION)
    assert torch.equal(found, projector_input(tmp_path, pico.images(2)))


def test_the_model_says_its_grid_and_sizes(folder):
    vision = load_vision(str(folder))
    assert (vision.grid, vision.tokens, vision.d_vision, vision.image_size) == (pico.GRID, 16, 32, 40)


@pytest.mark.parametrize("layout", [{"old_keys": False}, {"max_shard_size": "50KB"}])
def test_every_layout_of_the_same_weights_is_the_same_model(folder, tmp_path, layout):
    other = load_vision(str(pico.checkpoint(tmp_path, **layout)))
    assert other.key == load_vision(str(folder)).key
    assert torch.equal(other.encode(pico.images(2)), load_vision(str(folder)).encode(pico.images(2)))


def test_names_of_released_checkpoints_are_understood(folder, copy):
    def rename(tensors):
        for name in [n for n in tensors if n.startswith("vision_tower.")]:
            tensors[name.replace("vision_tower.", "vision_tower.vision_model.")] = tensors.pop(name)
        tensors["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(17)[None]  # stored by old releases

    edit_tensors(copy, rename)
    assert load_vision(str(copy)).key == load_vision(str(folder)).key


def test_only_the_towers_tensors_are_read(folder, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "projlens_core.activations.config.open_checkpoint", lambda s: opened.append(open_checkpoint(s)) or opened[0]
    )
    load_vision(str(folder))
    checkpoint = opened[0]
    tower = sum(checkpoint.info(name).nbytes for name in checkpoint.names if "vision_tower" in name)
    assert checkpoint.bytes_read - open_checkpoint(folder).bytes_read == tower


def test_key_changes_with_weights_and_preprocessing(folder, copy):
    key = load_vision(str(folder)).key
    edit(copy, "processor_config.json", lambda c: c["image_processor"].update(image_mean=[0.5, 0.5, 0.5]))
    changed = load_vision(str(copy)).key
    edit_tensors(copy, lambda t: t["vision_tower.pre_layrnorm.bias"].add_(1e-3))
    assert len({key, changed, load_vision(str(copy)).key}) == 3


def test_a_lone_projector_file_has_no_tower(folder, tmp_path):
    file = pico.projector_file(folder, tmp_path / "lone" / "suspect.safetensors")
    with pytest.raises(InvalidInput, match="projector without the model around it"):
        load_vision(str(file))


def test_other_families_are_unsupported_in_a_sentence(copy):
    edit(copy, "config.json", lambda c: c.update(model_type="nonesuch"))
    with pytest.raises(Unsupported, match="'nonesuch', which transformers does not load"):
        load_vision(str(copy))


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (lambda c: c.update(quantization_config={"quant_method": "x"}), Unsupported, "is quantised"),
        (lambda c: c["vision_config"].update(model_type="pixtral"), Unsupported, "type 'pixtral'"),
        (lambda c: c["vision_config"].update(num_hidden_layers=10**9), InvalidInput, "num_hidden_layers 1000000000"),
        (lambda c: c["vision_config"].update(patch_size=0), InvalidInput, "patch_size 0"),
        (lambda c: c["vision_config"].update(patch_size=7), Unsupported, "do not fit"),
        (lambda c: c["vision_config"].update(hidden_size="wide"), InvalidInput, "does not describe"),
        (lambda c: c["text_config"].update(vocab_size=10**12), InvalidInput, "vocab_size"),
        (lambda c: c.update(vision_config=[1]), InvalidInput, "does not describe"),
        (lambda c: c.update(vision_feature_layer=-5), InvalidInput, "the tower has 3"),
        (lambda c: c.update(vision_feature_select_strategy="full"), Unsupported, "no patch of the image"),
        (lambda c: c["vision_config"].update(hidden_size=64), InvalidInput, "has other shapes"),
        (lambda c: c["vision_config"].update(num_hidden_layers=4), InvalidInput, "lacks 'encoder.layers.3"),
        (lambda c: c["vision_config"].update(num_hidden_layers=2), InvalidInput, "has 'vision_tower.encoder.layers.2"),
    ],
)
def test_a_config_that_cannot_be_run_is_one_sentence(copy, change, kind, said):
    edit(copy, "config.json", change)
    with pytest.raises(kind, match=said) as caught:
        load_vision(str(copy))
    assert len(str(caught.value).splitlines()) == 1


def test_an_attention_kernel_named_by_the_config_is_not_fetched(copy):
    edit(copy, "config.json", lambda c: c["vision_config"].update(attn_implementation="someone/kernel"))
    assert load_vision(str(copy)).tower.config._attn_implementation == "sdpa"


def test_code_of_the_suspect_is_not_run(copy):
    (copy / "evil.py").write_text("raise SystemExit('ran')")
    edit(
        copy, "processor_config.json", lambda c: c["image_processor"].update(auto_map={"AutoImageProcessor": "evil.E"})
    )
    edit(copy, "config.json", lambda c: c.update(auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"}))
    assert load_vision(str(copy)).grid == pico.GRID


def test_an_adapter_beside_the_model_is_unsupported(copy):
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(Unsupported, match="carries an adapter"):
        load_vision(str(copy))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t["vision_tower.pre_layrnorm.bias"].fill_(float("nan")), "NaN or infinity"),
        (lambda t: [t.pop(n) for n in list(t) if "vision_tower" in n], "no vision tower"),
        (
            lambda t: t.update({"model.vision_tower.pre_layrnorm.bias": t["vision_tower.pre_layrnorm.bias"] + 1}),
            "which one a loader takes is uncertain",
        ),
    ],
)
def test_a_tower_that_cannot_be_trusted_is_one_sentence(copy, change, said):
    edit_tensors(copy, change)
    with pytest.raises(InvalidInput, match=said):
        load_vision(str(copy))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.update(crop_size={"height": 10**7, "width": 10**7}), "has crop_size"),
        (lambda p: p.update(size={"shortest_edge": 10**7}), "has size"),
        (lambda p: p.update(crop_size={"height": 30, "width": 30}), r"\(1, 3, 30, 30\)"),
        (lambda p: p.update(image_mean=[0.5]), "fails on an ordinary image"),
        (lambda p: p.update(do_center_crop=False), r"\(1, 3, 40, 60\)"),
    ],
)
def test_preprocessing_that_does_not_fit_the_tower_is_one_sentence(copy, change, said):
    edit(copy, "processor_config.json", lambda c: change(c["image_processor"]))
    with pytest.raises(InvalidInput, match=said):
        load_vision(str(copy))


def test_a_model_without_an_image_processor_is_one_sentence(copy):
    (copy / "processor_config.json").unlink()
    with pytest.raises(InvalidInput, match="image processor of copy cannot be loaded"):
        load_vision(str(copy))


def test_an_image_like_a_thread_does_not_fill_the_memory(folder):
    thread = pico.images(1)[0].resize((3, 301))
    with pytest.raises(InvalidInput, match="3 × 301 px is too long"):
        load_vision(str(folder)).encode([thread])


def test_half_precision_gives_nearly_the_same_tokens_under_another_key(folder, monkeypatch):
    """What a GPU computes in, here on the CPU."""
    full = load_vision(str(folder))
    monkeypatch.setattr("projlens_core.activations.model.compute_dtype", lambda device: torch.bfloat16)
    half = load_vision(str(folder))
    images = pico.images(2)
    found = half.encode(images)
    assert found.dtype == torch.float32
    assert not torch.equal(found, full.encode(images))
    assert float(torch.nn.functional.cosine_similarity(found, full.encode(images), dim=-1).min()) > 0.999
    assert half.key != full.key


def test_quantised_towers_are_unsupported(copy):
    edit_tensors(copy, lambda t: t.update({"vision_tower.pre_layrnorm.bias": torch.ones(32, dtype=torch.int8)}))
    with pytest.raises(Unsupported, match="int8"):
        load_vision(str(copy))
