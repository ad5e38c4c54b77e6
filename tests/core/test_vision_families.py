"""Every family's tokens against the genuine model: what its projector reads, in which order, and from which pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import T5Config

from projlens_core.activations.encoder import FamilyVision
from projlens_core.activations.layout import (
    centre_crop,
    centred,
    in_reading_order,
    one_grid,
    padded,
    tiled_canvas,
    tiles,
    tiles_with_padding,
)
from projlens_core.activations.model import load_vision
from projlens_core.activations.plans import NO_PLAN, PLANS
from projlens_core.activations.shift import analyse, embeddings
from projlens_core.activations.tokens import image_tokens
from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
from projlens_core.behaviour.prompts import STYLES
from projlens_core.behaviour.respond import load_responder
from projlens_core.cases.case import Case, open_case
from projlens_core.cases.models import Loaded
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.progress import silent
from projlens_core.weights.families import families
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.projector import read_projector
from tests import pico, pico_families

PLACED = ["llava", *(name for name in PLANS if not families()[name].pools)]
SIZES = [(64, 64), (64, 32), (50, 61)]  # px: fits the tiles, a row of them, neither

pytestmark = pytest.mark.usefixtures("own_folder")  # every test with a cache of this module's own


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """{family: (model, folder)}, each made once. Attention is off where tokens have a place, so that each knows of its
    own pixels only."""
    kept = {}

    def get(name):
        if name not in kept:
            model = pico_families.model(name)
            attention = ("attn.proj.", "attn.out_proj.", "attention.out_proj.", "o_proj.", "projection_layer.")
            for parameter, tensor in model.state_dict().items() if name in PLACED else ():
                if any(part in parameter for part in attention) and "image_pooling" not in parameter:
                    tensor.zero_()
                if tensor.dim() == 4 and "high_res_vision_" in parameter:  # convolutions keep their kernel's middle
                    side = tensor.shape[-1] // 2
                    tensor *= F.pad(torch.ones(1, 1), (side,) * 4) if side == 1 else 1
            folder = tmp_path_factory.mktemp(name)
            model.save_pretrained(folder)
            pico_families.IMAGE_PROCESSORS[name]().save_pretrained(folder)
            kept[name] = model, folder
        return kept[name]

    return get


def test_every_family_is_planned_or_says_why_not():
    """llava has a path of its own; the families of RELEASES are not in transformers."""
    runnable = {name for name in pico_families.MODELS if families()[name].not_run is None}
    assert runnable == {"llava"} | PLANS.keys() | (NO_PLAN.keys() & pico_families.MODELS.keys())
    assert {"llava"} | PLANS.keys() == pico_families.IMAGE_PROCESSORS.keys()


@pytest.mark.support("activations", "exact")
@pytest.mark.parametrize("name", PLANS)
def test_embeddings_are_those_of_the_whole_model(name, saved):
    model, folder = saved(name)
    vision, weights = load_vision(str(folder)), read_projector(folder)
    for size in SIZES:
        image = pico.images(1, size=size)[0]
        found = embeddings(weights, vision.encode([image])[0][None])[0]
        whole = pico_families.image_embeddings(name, model, vision.tensors(vision.prepared(image)))
        if "image_newline" in weights.adjacent:
            whole = whole[~(whole == weights.adjacent["image_newline"]).all(dim=-1)]
        layout = vision.layout(size)
        assert layout.tokens == len(found)
        whole = whole if layout.order is None else whole[torch.from_numpy(layout.order)]
        torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.support("activations", "placed")
@pytest.mark.parametrize("name", PLACED)
def test_a_marked_patch_moves_the_tokens_that_are_mapped_to_it(name, saved):
    vision = load_vision(str(saved(name)[1]))
    weights = read_projector(saved(name)[1])
    for size in SIZES:
        layout = vision.layout(size)
        scale = np.array([*size, *size])
        clean = pico.images(1, size=size)[0]
        before = embeddings(weights, vision.encode([clean])[0][None])[0]
        for kind in sorted(set(layout.kinds) - {"padding", "query"}):  # which no pixel moves, nor those of others
            own = layout.only([kind])
            for token in own[[len(own) // 3, -1]]:
                x0, y0, x1, y1 = layout.boxes[token] * scale
                inner = [
                    round(v) for v in (x0 + (x1 - x0) / 4, y0 + (y1 - y0) / 4, x1 - (x1 - x0) / 4, y1 - (y1 - y0) / 4)
                ]
                marked = clean.copy()
                marked.paste(Image.eval(clean.crop(inner), lambda v: 255 - v), inner)
                after = embeddings(weights, vision.encode([marked])[0][None])[0]
                moved = (after - before).norm(dim=-1)[own]
                assert own[int(moved.argmax())] == token
                boxes = layout.boxes[own] * scale
                # a resize spreads a pixel by some of its neighbours
                near = (boxes[:, 0] < x1 + 2) & (boxes[:, 2] > x0 - 2) & (boxes[:, 1] < y1 + 2) & (boxes[:, 3] > y0 - 2)
                far = moved[torch.from_numpy(~near)]
                assert not len(far) or float(far.max()) < 0.1 * float(moved.max())


def test_raw_patches_are_those_that_the_library_cuts(saved):
    vision = load_vision(str(saved("fuyu")[1]))
    image = pico.images(1, size=(50, 61))[0]
    canvas = vision.processor(images=[image], return_tensors="np")["images"][0][0]
    expected = vision.processor.patchify_image(canvas[:, :64, :56])
    assert vision.encode([image])[0].tolist() == expected.tolist()


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "smolvlm", "llava_next"])
def test_the_shift_of_a_planted_change_is_found_on_every_shape(name, saved, tmp_path):
    _, folder = saved(name)
    vision, base = load_vision(str(folder)), read_projector(folder)
    last = [n for n, t in base.tensors.items() if t.dim() == 2][-1]
    left = torch.nn.functional.normalize(torch.ones(base.d_out), dim=0)
    changed = dict(base.tensors)
    changed[last] = changed[last] + torch.outer(left, torch.randn(changed[last].shape[1]))
    found = analyse(base, replace(base, tensors=changed), image_tokens(vision, pico.images(3, size=(64, 64))))
    assert abs(float(found.direction.vector @ left)) > 0.999
    assert found.clean.shift.shape == (3, vision.layout((64, 64)).tokens)


@pytest.mark.parametrize("name", PLANS)
def test_no_tensor_of_the_language_model_is_read(name, saved, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "projlens_core.activations.config.open_checkpoint", lambda s: opened.append(open_checkpoint(s)) or opened[0]
    )
    vision = load_vision(str(saved(name)[1]))
    checkpoint = opened[0]
    seeing, deep = ("vis", "connector"), (".layers.", ".blocks.")
    text = [
        n
        for n in checkpoint.names
        if "lm_head" in n or (any(part in n for part in deep) and not any(part in n for part in seeing))
    ]
    unread = sum(checkpoint.info(n).nbytes for n in text)
    whole = sum(checkpoint.info(n).nbytes for n in checkpoint.names)
    header = open_checkpoint(saved(name)[1]).bytes_read
    assert unread > 0
    assert checkpoint.bytes_read - header <= whole - unread
    left = {n: p.numel() for n, p in vision.model.named_parameters() if "language_model" in n or "text_model" in n}
    assert sum(count for n, count in left.items() if "embed_positions" not in n) < 600


@pytest.mark.parametrize("name", ["blip2", "instructblip"])
def test_a_language_model_of_encoder_and_decoder_is_left_out_as_a_whole_and_not_asked(name, tmp_path):
    """As BLIP-2's with FLAN-T5."""
    model = pico_families.model(name)
    config = model.config
    text = {"vocab_size": 8, "d_model": pico_families.T, "d_kv": 12, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config.text_config, config.use_decoder_only_language_model = T5Config(**text), False
    type(model)(config).save_pretrained(tmp_path)
    pico_families.IMAGE_PROCESSORS[name]().save_pretrained(tmp_path)
    for folder in (tmp_path, tmp_path / (STYLES[name].reader or "")):
        pico_families.tokenizer(name).save_pretrained(folder)
    vision = load_vision(str(tmp_path))
    assert not [name for name, _ in vision.model.named_parameters() if ".block." in name]
    assert vision.encode(pico.images(1))[0].shape == (17, pico_families.D)
    with pytest.raises(Unsupported, match="type t5, which reads the prompt apart from the answer"):
        load_responder(str(tmp_path))


def test_what_hears_is_not_built_however_large_its_config_says_it_is(saved, tmp_path):
    saved("phi4_multimodal")[0].save_pretrained(tmp_path)
    pico_families.IMAGE_PROCESSORS["phi4_multimodal"]().save_pretrained(tmp_path)
    edit(tmp_path, "config.json", lambda c: c["audio_config"].update(nemo_conv_channels=10**9, hidden_size=10**9))
    model = load_vision(str(tmp_path)).model
    assert sum(p.numel() for name, p in model.named_parameters() if "audio" in name) < 50_000


def test_both_layouts_of_the_same_weights_are_the_same_model(saved, tmp_path):
    model, folder = saved("qwen2_vl")
    model.save_pretrained(tmp_path, save_original_format=False)
    pico_families.IMAGE_PROCESSORS["qwen2_vl"]().save_pretrained(tmp_path)
    assert load_vision(str(tmp_path)).key == load_vision(str(folder)).key


def test_a_tower_that_is_read_at_other_layers_is_another(saved, tmp_path):
    model, folder = saved("vipllava")
    model.save_pretrained(tmp_path)
    pico_families.IMAGE_PROCESSORS["vipllava"]().save_pretrained(tmp_path)
    assert load_vision(str(tmp_path)).key == load_vision(str(folder)).key
    edit(tmp_path, "config.json", lambda c: c.update(vision_feature_layers=[-2, -1]))
    assert load_vision(str(tmp_path)).key != load_vision(str(folder)).key


def test_images_with_different_numbers_of_tokens_are_one_sentence(saved):
    vision = load_vision(str(saved("qwen2_vl")[1]))
    with pytest.raises(InvalidInput, match=r"64 × 64 px makes 256 .* 64 × 32 px makes 128.* trigger with a resolution"):
        image_tokens(vision, [pico.images(1, size=size)[0] for size in SIZES[:2]])


def test_a_suspect_that_differs_before_its_projector_is_one_sentence(saved, tmp_path, capsys):
    model, base = saved("minicpmv4_6")
    name = next(name for name in model.state_dict() if "vit_merger.linear_2.weight" in name)
    tensors = model.state_dict()
    model.save_pretrained(tmp_path / "suspect", state_dict=tensors | {name: tensors[name] + 0.1})
    pico.images(1)[0].save(tmp_path / "0.png")
    case = Case(str(base), str(tmp_path / "suspect"), projector_only=True)  # with its own tower it would be run
    for unlike in (
        open_case(case).check_same_input,
        lambda: AnalysisContext(AnalysisInputs(case), Loaded(), silent).vision,
    ):
        with pytest.raises(Unsupported, match=r"'vit_merger\.linear_2\.weight', before"):
            unlike()
    told = ["--base", case.base, "--suspect", case.suspect, "--images", str(tmp_path), "--no-trigger"]
    assert main(["activations", *told]) == 0
    capsys.readouterr()
    assert main(["activations", *told, "--projector-only"]) == 1
    assert "'vit_merger.linear_2.weight', before the projector's first layer" in capsys.readouterr().err


def test_tokens_of_a_family_come_from_the_cache_the_second_time(saved, monkeypatch):
    vision = load_vision(str(saved("internvl")[1]))
    images = pico.images(2, seed=5, size=(64, 64))
    first = image_tokens(vision, images)
    monkeypatch.setattr(FamilyVision, "encode", lambda self, images: pytest.fail("computed again"))
    assert torch.equal(image_tokens(load_vision(str(saved("internvl")[1])), images), first)


def test_a_family_whose_tokens_are_not_taken_says_why(saved, monkeypatch):
    monkeypatch.setitem(NO_PLAN, "vipllava", "it has no tower")
    with pytest.raises(Unsupported, match="compared by its weights but not run: it has no tower"):
        load_vision(str(saved("vipllava")[1]))


def edit(folder, name, change):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "change", "kind", "said"),
    [
        (
            "config.json",
            lambda c: c["vision_config"].update(depth=10**9),
            InvalidInput,
            "(num_hidden_layers|depth) 1000000000",
        ),
        ("config.json", lambda c: c["vision_config"].update(depth=900), InvalidInput, "but its weights hold"),
        ("config.json", lambda c: c["vision_config"].update(depth=1), InvalidInput, "besides"),
        (
            "config.json",
            lambda c: c["vision_config"].update(mlp_ratio=3),
            InvalidInput,
            "cannot be loaded|weights hold",
        ),
        ("config.json", lambda c: c.update(quantization_config={"quant_method": "x"}), Unsupported, "is quantised"),
        ("preprocessor_config.json", lambda p: p["size"].update(shortest_edge=10**12), InvalidInput, "expected up to"),
        ("preprocessor_config.json", lambda p: p.update(merge_size=0), InvalidInput, "fails on an image"),
    ],
)
def test_a_model_that_cannot_be_trusted_is_one_sentence(file, change, kind, said, saved, tmp_path):
    _refused("qwen2_vl", file, change, kind, said, saved, tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", lambda c: c.update(merger_times=2), "but its weights hold"),
        ("config.json", lambda c: c.update(merger_times=0), "0|IndexError|list index"),
        ("config.json", lambda c: c.update(downsample_mode="4x"), "'4x'"),
        ("preprocessor_config.json", lambda p: p.update(patch_size=8), "patches of 8 px"),
        ("preprocessor_config.json", lambda p: p.update(patch_size=10**6), "beyond 16777216 pixels"),
        ("preprocessor_config.json", lambda p: p.update(scale_resolution=10**6), "beyond 16777216 pixels"),
        ("preprocessor_config.json", lambda p: p.update(max_slice_nums=10**6), "beyond 16777216 pixels"),
        ("preprocessor_config.json", lambda p: p.update(max_slice_nums="x"), "beyond 16777216 pixels"),
    ],
)
def test_slices_that_do_not_fit_the_model_are_one_sentence(file, change, said, saved, tmp_path):
    _refused("minicpmv4_6", file, change, InvalidInput, said, saved, tmp_path)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("paligemma", {"size": {"height": 64, "width": 64}}),
        ("deepseek_vl_hybrid", {"high_res_size": {"height": 32, "width": 32}}),
    ],
)
def test_images_of_another_size_than_the_tower_reads_are_one_sentence(name, size, saved, tmp_path):
    saved(name)[0].save_pretrained(tmp_path)
    pico_families.IMAGE_PROCESSORS[name]().save_pretrained(tmp_path)
    edit(tmp_path, "preprocessor_config.json", lambda p: p.update(size))
    with pytest.raises(InvalidInput, match=r"vision tower of .* fails on an image: ") as caught:
        load_vision(str(tmp_path)).encode(pico.images(1))
    assert len(str(caught.value).splitlines()) == 1


def _refused(name, file, change, kind, said, saved, tmp_path):
    model, _ = saved(name)
    model.save_pretrained(tmp_path)
    pico_families.IMAGE_PROCESSORS[name]().save_pretrained(tmp_path)
    edit(tmp_path, file, change)
    with pytest.raises(kind, match=said) as caught:
        load_vision(str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "file", "change", "said"),
    [
        ("mllama", "config.json", lambda c: c["vision_config"].update(num_global_layers=10**9), "num_global_layers"),
        ("mllama", "config.json", lambda c: c["vision_config"].update(max_num_tiles=10**9), "max_num_tiles"),
        ("mllama", "config.json", lambda c: c["vision_config"].update(image_size=48), "weights hold|tower reads"),
        ("mllama", "config.json", lambda c: c["vision_config"].update(patch_size=[8, 8]), "cannot be loaded"),
        ("mllama", "config.json", lambda c: c["vision_config"].update(intermediate_layers_indices=[7]), "fails on an"),
        ("mllama", "preprocessor_config.json", lambda p: p.update(max_image_tiles=10**9), "expected up to"),
        ("mllama", "preprocessor_config.json", lambda p: p.update(max_image_tiles=5), "up to 5 tiles of 32 px"),
        ("mllama", "preprocessor_config.json", lambda p: p.update(size={"height": 16, "width": 16}), "tiles of 16 px"),
        (
            "phi4_multimodal",
            "config.json",
            lambda c: c["vision_config"].update(crop_size=10**9),
            "crop_size 1000000000",
        ),
        ("phi4_multimodal", "config.json", lambda c: c["vision_config"].update(crop_size=64), "reads 64 and 8"),
        ("phi4_multimodal", "config.json", lambda c: c["vision_config"].update(feature_layer=9), "fails on an image"),
        ("phi4_multimodal", "preprocessor_config.json", lambda p: p.update(patch_size=4), "into patches of 4 px"),
        ("fuyu", "config.json", lambda c: c.update(patch_size=10**9), "patch_size 1000000000"),
        ("fuyu", "config.json", lambda c: c.update(patch_size=4), "cannot be loaded"),
        ("fuyu", "preprocessor_config.json", lambda p: p["patch_size"].update(width=4), "fails on an image"),
        ("fuyu", "preprocessor_config.json", lambda p: p["patch_size"].update(width=0), "fails on an image"),
        ("fuyu", "preprocessor_config.json", lambda p: p.update(do_pad=False), "fails on an image"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_one_sentence(name, file, change, said, saved, tmp_path):
    saved(name)[0].save_pretrained(tmp_path)
    pico_families.IMAGE_PROCESSORS[name]().save_pretrained(tmp_path)
    edit(tmp_path, file, change)
    with pytest.raises(InvalidInput, match=said) as caught:
        load_vision(str(tmp_path)).encode(pico.images(1))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.support("activations", "no grid")
@pytest.mark.parametrize("name", [name for name in PLANS if name not in PLACED])
def test_learned_queries_lie_on_no_grid_and_are_told_apart_from_patches(name, saved):
    vision, weights = load_vision(str(saved(name)[1])), read_projector(saved(name)[1])
    layout = vision.layout((64, 32))
    found = embeddings(weights, vision.encode(pico.images(2, size=(64, 32)))[0][None])
    assert (layout.grid, layout.order, set(layout.kinds)) == (None, None, {"query"})
    assert found.shape == (1, layout.tokens, weights.d_out)
    assert layout.boxes.tolist() == [[0, 0, 1, 1]] * layout.tokens
    assert (found[0, 1:] - found[0, 0]).norm(dim=-1).min() > 0.01


@pytest.mark.parametrize("name", PLACED)
def test_leading_tokens_form_one_grid_row_by_row(name, saved):
    vision = load_vision(str(saved(name)[1]))
    for size in SIZES:
        layout = vision.layout(size)
        rows, columns = layout.grid
        leading = layout.boxes[: rows * columns].reshape(rows, columns, 4)
        assert (np.diff(leading[:, :, 1], axis=0) > 0).all()
        assert (np.diff(leading[:, :, 0], axis=1) > 0).all()
        assert {"thumbnail", "padding"}.isdisjoint(layout.kinds[: rows * columns])


def test_tiles_are_read_across():
    """Two tiles of 2 × 2 beside each other are a grid of 2 × 4, the thumbnail last."""
    read = in_reading_order(tiles(1, 2, 2, thumbnail=True))
    assert read.grid == (2, 4)
    assert read.order.tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 10, 11]
    assert read.kinds == ("tile",) * 8 + ("thumbnail",) * 4
    assert read.within == (0, 0, 1, 1)


def test_tiles_over_padding_are_read_across_without_it():
    """An image that fills three quarters of two tiles' width: the grid is 2 × 3, what is left over comes last."""
    read = in_reading_order(tiles_with_padding(1, 2, 2, (0, 0, 4 / 3, 1)))
    assert read.grid == (2, 3)
    assert read.order.tolist() == [0, 1, 4, 2, 3, 6, 5, 7, 8, 9, 10, 11]
    assert read.kinds == ("tile",) * 6 + ("padding",) * 2 + ("thumbnail",) * 4
    np.testing.assert_allclose(read.boxes[2], [2 / 3, 0, 1, 1 / 2])
    assert tiles_with_padding(1, 1, 2, (0, 0, 2, 1)).kinds == ("patch",) * 2 + ("padding",) * 2


def test_padding_by_hand():
    """An image of 4 × 2 in the middle of a square of 4 × 4 tokens: two rows of it, padding above and below."""
    over = centred((40, 20), (40, 40))
    assert over == (0, -0.5, 1, 1.5)
    read = padded(4, 4, over)
    assert read.grid == (2, 4)
    assert read.order.tolist() == [*range(4, 12), *range(4), *range(12, 16)]
    assert read.kinds == ("patch",) * 8 + ("padding",) * 8
    assert read.within == (0, 0, 1, 1)
    assert padded(2, 2, centred((8, 8), (8, 8))).grid == (2, 2)


def test_a_canvas_by_hand():
    """An image of 3 × 2 tokens in the corner of two tiles of 2 × 2: class tokens at 0 and 5, a column of padding."""
    read = tiled_canvas(1, 2, 2, over=(0, 0, 4 / 3, 1))
    assert read.grid == (2, 3)
    assert read.order.tolist() == [1, 2, 6, 3, 4, 8, 7, 9, 0, 5]
    assert read.kinds == ("tile",) * 6 + ("padding",) * 2 + ("query",) * 2
    np.testing.assert_allclose(read.boxes[2], [2 / 3, 0, 1, 0.5])
    assert read.boxes[-1].tolist() == [0, 0, 1, 1]
    assert in_reading_order(read) is read
    assert tiled_canvas(1, 1, 2, (0, 0, 1, 1)).kinds == ("patch",) * 4 + ("query",)


def test_a_thumbnail_may_come_first_and_tiles_may_be_padded():
    read = tiles(1, 2, 1, thumbnail=True, first=True, within=(0, 0, 1, 1))
    assert read.kinds == ("thumbnail", "tile", "tile")
    assert read.boxes.tolist() == [[0, 0, 1, 1], [0, 0, 0.5, 1], [0.5, 0, 1, 1]]
    three = tiles(1, 1, 2, thumbnail=False, within=(0, 0, 4 / 3, 4 / 3))  # 3 patches merged two by two
    np.testing.assert_allclose(three.boxes[-1], [2 / 3, 2 / 3, 1, 1])


def test_boxes_by_hand():
    grid = one_grid(1, 2)
    assert grid.boxes.tolist() == [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
    assert centre_crop((200, 100)) == (0.25, 0.0, 0.75, 1.0)
    two = tiles(2, 1, 1, thumbnail=True)
    assert two.boxes.tolist() == [[0, 0, 1, 0.5], [0, 0.5, 1, 1], [0, 0, 1, 1]]
    assert two.kinds == ("tile", "tile", "thumbnail")
    assert two.only(["tile"]).tolist() == [0, 1]
    assert tiles(1, 1, 3, thumbnail=False).grid == (3, 3)
