"""Image processors of families for which the library has one for torchvision alone, against the library's own code."""

import importlib
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from transformers import Phi4MultimodalVisionConfig, image_processing_backends

from projlens_core.activations.canvases import no_separators
from projlens_core.activations.image_processors import (
    PROCESSORS,
    get_optimal_tiled_canvas,
    kimi_sizes,
    llama4_canvas,
    load_image_processor,
    phi4_canvas,
)
from projlens_core.activations.model import load_vision
from projlens_core.activations.plans import PLANS
from projlens_core.errors import InvalidInput
from projlens_core.sources import Source
from tests import pico, pico_families

SIZES = [(64, 64), (64, 32), (50, 61), (12, 200), (640, 426), (301, 299)]  # px: width, height
MODES = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
TILES = {"height": 32, "width": 32}
GIVEN = {
    "cohere2_vision": [{}, {"size": TILES, "max_patches": 4}, {"size": TILES, "crop_to_patches": False}],
    "llama4": [{}, {"size": TILES, "max_patches": 5}, {"size": TILES, "max_patches": 4, "resize_to_max_canvas": True}],
    "gemma4_unified": [{}, {"patch_size": 4, "pooling_kernel_size": 2, "max_soft_tokens": 70}, {"do_normalize": True}],
    "molmo": [{}, {"size": {"height": 28, "width": 28}, "patch_size": 4, "max_crops": 4, "overlap_margins": [1, 1]}],
    "kimi_k25": [{}, {"patch_size": 4, "size": {"max_height": 10, "max_width": 10}}, {"max_patches": 64}],
    "phi4_multimodal": [{}, {"size": TILES, "patch_size": 8, "dynamic_hd": 7}, {"size": TILES, "patch_size": 8}],
}


def _resize(image, size, interpolation="bilinear", antialias=True):
    if image.shape[-2:] == tuple(size):
        return image
    batch, mode = image.reshape(-1, *image.shape[-3:]), MODES.get(interpolation, interpolation)
    return F.interpolate(batch, size, mode=mode, antialias=antialias).reshape(*image.shape[:-2], *size)


def _pad(image, padding, fill, padding_mode="constant"):
    (value,) = set(fill if isinstance(fill, list) else [fill])
    left, top, right, bottom = padding
    return F.pad(image, (left, right, top, bottom), value=value)


def _normalize(image, mean, std, inplace=False):
    mean, std = (torch.as_tensor(each, dtype=image.dtype).view(-1, 1, 1) for each in (mean, std))
    return (image - mean) / std


def _module(family):
    name = {"molmo": "molmo2"}.get(family, family)
    return f"transformers.models.{name}.image_processing_{name}"


@pytest.fixture
def librarys_own(monkeypatch):
    """The library's processor of a family, with the three steps that it takes from torchvision in its place."""
    functional = SimpleNamespace(
        resize=_resize, pad=_pad, normalize=_normalize, InterpolationMode=SimpleNamespace(LANCZOS="lanczos")
    )
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.v2"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["torchvision.transforms.v2"].functional = functional
    monkeypatch.setattr(image_processing_backends, "tvF", functional, raising=False)
    monkeypatch.setattr(image_processing_backends, "pil_torch_interpolation_mapping", MODES)

    def get(family):
        name = _module(family)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return getattr(importlib.import_module(name), PROCESSORS[family].__name__)

    yield get
    for family in PROCESSORS:
        sys.modules.pop(_module(family), None)


@pytest.mark.parametrize("family", PROCESSORS)
def test_pixels_and_grids_are_the_librarys_bit_for_bit(family, librarys_own):
    for settings in GIVEN[family]:
        own, librarys = PROCESSORS[family](**settings), librarys_own(family)(**settings)
        for size in SIZES:
            images = pico.images(1, size=size)
            found, expected = own(images=images, return_tensors="pt"), librarys(images=images, return_tensors="pt")
            for name in expected.keys() - {"num_img_tokens"}:  # right for released sizes alone; see below
                value = expected[name]
                assert found[name].dtype == value.dtype
                assert torch.equal(found[name], value), (settings, size, name)


def test_separators_and_tokens_of_an_image_are_as_many_as_the_library_counts(librarys_own):
    processor, vision = librarys_own("phi4_multimodal")(), Phi4MultimodalVisionConfig()
    for size in SIZES:
        made = processor(images=pico.images(1, size=size), return_tensors="pt")
        assert len(no_separators(made, vision)) == int(made["num_img_tokens"][0])


@pytest.mark.parametrize("family", PLANS)
def test_a_familys_pixels_never_come_from_torchvision(family, tmp_path):
    """Else they would depend on whether it is installed."""
    pico_families.IMAGE_PROCESSORS[family]().save_pretrained(tmp_path)
    found = load_image_processor(Source("it", "it", tmp_path, tmp_path, None), family)
    assert (found.backend, found.to_dict()["image_processor_type"]) == ("pil", type(found).__name__.removesuffix("Pil"))


def test_canvases_by_hand():
    """Images as (height, width); the first canvas as (columns, rows), the second as (rows, columns)."""
    assert get_optimal_tiled_canvas((100, 200), (100, 100), 1, 4) == (2, 1)  # fits as it is
    assert get_optimal_tiled_canvas((900, 900), (100, 100), 1, 4) == (2, 2)  # the largest, which shrinks it least
    assert llama4_canvas((100, 150), 100, 4, largest=False) == ((1, 2), (100, 150))  # as it is, padded
    assert llama4_canvas((50, 50), 100, 4, largest=False) == ((1, 1), (100, 100))
    assert llama4_canvas((50, 50), 100, 4, largest=True) == ((2, 2), (200, 200))
    assert kimi_sizes((30, 50), 10, 2, 100, 100) == ((30, 50), (40, 60))
    assert phi4_canvas((100, 250), 100, 4) == ((1, 3), (100, 250))
    assert phi4_canvas((150, 50), 100, 4) == ((2, 1), (200, 66))  # as large as the canvas lets it
    assert phi4_canvas((900, 900), 100, 4) == ((2, 2), (200, 200))  # the largest of equal shape, since it is that large
    assert phi4_canvas((101, 101), 100, 3) == ((1, 1), (100, 100))
    assert kimi_sizes((300, 500), 10, 2, 15, 100) == ((30, 50), (40, 60))  # 30 × 50 patches to 15: a tenth a side


@pytest.mark.parametrize(
    ("family", "changed", "said"),
    [
        ("internvl", {"max_patches": 10**6}, "max_patches 1000000, expected up to"),
        ("internvl", {"size": {"height": 64, "width": 64}}, "tiles of .*64.*, the vision tower reads 32 px"),
        ("llama4", {"size": {"height": 64, "width": 64}}, "tiles of .*64.*, the vision tower reads 32 px"),
        ("cohere2_vision", {"max_patches": "9"}, "max_patches '9', expected up to"),
        ("cohere2_vision", {"do_resize": False}, "turns one of do_resize, do_rescale, do_normalize off"),
        ("cohere2_vision", {"resample": 0}, "expected 2 .bilinear. or 3"),
        ("llama4", {"max_patches": 0}, "max_patches 0, expected up to"),
        ("llama4", {"size": {"height": 32, "width": 16}}, "tiles must be square"),
        ("gemma4_unified", {"patch_size": 10**9}, "patch_size 1000000000, beyond"),
        ("gemma4_unified", {"max_soft_tokens": 0}, "max_soft_tokens|fails on an image|pixels in all"),
        ("gemma4_unified", {"pooling_kernel_size": 0}, "pooling_kernel_size 0, beyond"),
        ("molmo", {"max_crops": 10**6}, "max_crops 1000000, expected up to"),
        ("molmo", {"pooling_size": [10**6, 2]}, "windows of 2 × 2 patches"),
        ("molmo", {"overlap_margins": [-(10**9), 0]}, "margins that leave something of a crop"),
        ("molmo", {"patch_size": 0}, "windows of 2 × 2 patches"),
        ("kimi_k25", {"patch_size": 10**9}, "patches of 1000000000 px"),
        ("kimi_k25", {"merge_size": 4}, "merges 4 patches of 4 px a side, the vision tower"),
        ("kimi_k25", {"max_patches": 0}, "up to 0 in all"),
        ("phi4_multimodal", {"dynamic_hd": 10**9}, "dynamic_hd 1000000000, expected up to"),
        ("phi4_multimodal", {"size": {"height": 32, "width": 16}}, "crops must be square"),
        ("phi4_multimodal", {"patch_size": 0}, "fails on an image"),
    ],
)
def test_settings_that_cannot_be_used_are_one_sentence(family, changed, said, tmp_path):
    pico_families.model(family).save_pretrained(tmp_path)
    pico_families.IMAGE_PROCESSORS[family]().save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(InvalidInput, match=said) as caught:
        load_vision(str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_table_that_no_weight_backs_is_bounded(tmp_path):
    pico_families.model("kimi_k25").save_pretrained(tmp_path)
    pico_families.IMAGE_PROCESSORS["kimi_k25"]().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"]["pos_emb_time"] = 10**9
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match="pos_emb_time 1000000000, expected a whole number from 1 to 4096"):
        load_vision(str(tmp_path))
