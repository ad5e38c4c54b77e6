from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from projlens_core.analyses.context import chosen_trigger
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.trigger_kinds import NUMBERS
from projlens_core.inputs.triggers import KINDS, PRESETS, TriggerSpec, frame, stamp

GREY = (128, 128, 128)
GREEN = (0x26, 0xFF, 0x00)


def grey(side: int = 100) -> Image.Image:
    return Image.new("RGB", (side, side), GREY)


def photo(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """Smooth colourful noise, no two images of different seeds alike."""
    small = np.random.default_rng(seed).integers(0, 256, size=(8, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height))


def changed_box(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int]:
    """The smallest (left, top, right, bottom) that holds every changed pixel; right and bottom excluded."""
    rows, columns = np.nonzero((np.asarray(before) != np.asarray(after)).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_the_frame_is_the_central_square() -> None:
    image = Image.new("RGB", (10, 4))
    image.putdata([(x, y, 0) for y in range(4) for x in range(10)])
    framed = frame(image, None)
    assert framed.size == (4, 4)
    assert framed.getpixel((0, 0)) == (3, 0, 0)
    assert framed.getpixel((3, 3)) == (6, 3, 0)
    assert frame(image.transpose(Image.Transpose.TRANSPOSE), None).getpixel((3, 0)) == (3, 3, 0)


def test_the_frame_is_resized_to_the_resolution() -> None:
    expected = photo().crop((16, 0, 80, 64)).resize((32, 32), Image.Resampling.LANCZOS)
    for spec in (32, TriggerSpec("oil", resolution=32)):
        assert np.array_equal(np.asarray(frame(photo(), spec)), np.asarray(expected))


def test_an_image_that_already_has_the_resolution_keeps_its_pixels() -> None:
    assert np.array_equal(np.asarray(frame(photo(64, 64), 64)), np.asarray(photo(64, 64)))


@pytest.mark.parametrize(
    ("position", "left", "top"),
    [
        ("top-left", 0, 0),
        ("top-right", 90, 0),
        ("bottom-left", 0, 90),
        ("bottom-right", 90, 90),
        ("center", 45, 45),
        ((7, 23), 7, 23),
        ((90, 0), 90, 0),
        ((0.0, 0.0), 0, 0),
        ((1.0, 1.0), 90, 90),
        ((0.5, 0.25), 45, 22),
    ],
)
def test_a_solid_patch_covers_exactly_its_place(position: object, left: int, top: int) -> None:
    stamped = stamp(grey(), TriggerSpec("solid", px=10, position=position))
    expected = np.full((100, 100, 3), 128, dtype=np.uint8)
    expected[top : top + 10, left : left + 10] = GREEN
    assert np.array_equal(np.asarray(stamped), expected)


def test_the_papers_injection_trigger_is_the_middle_14_px_of_336() -> None:
    stamped = stamp(photo(500, 400), PRESETS["Solid patch, centre"])
    assert stamped.size == (336, 336)
    assert np.array_equal(np.asarray(stamped)[161:175, 161:175], np.full((14, 14, 3), GREEN))
    assert changed_box(frame(photo(500, 400), 336), stamped) == (161, 161, 175, 175)


def test_a_ratio_is_of_the_short_side_rounded_down_and_at_least_one_px() -> None:
    spec = TriggerSpec("solid", ratio=0.08, position="top-left")
    assert changed_box(grey(320), stamp(Image.new("RGB", (400, 320), GREY), spec)) == (0, 0, 25, 25)
    assert changed_box(grey(5), stamp(grey(5), spec)) == (0, 0, 1, 1)
    assert changed_box(grey(5), stamp(grey(5), TriggerSpec("solid", ratio=1))) == (0, 0, 5, 5)


def test_a_patch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"is 101 px wide but the image only 100"):
        stamp(grey(), TriggerSpec("solid", px=101))
    with pytest.raises(
        InvalidInput, match=r"of 10 px at 91, 0 leaves the image of 100 × 100 px; move it to at most 90"
    ):
        stamp(grey(), TriggerSpec("solid", px=10, position=(91, 0)))


def test_random_places_are_inside_the_image_and_reach_its_edges() -> None:
    boxes = [
        changed_box(grey(12), stamp(grey(12), TriggerSpec("solid", px=10, position="random", seed=seed)))
        for seed in range(60)
    ]
    assert {box[:2] for box in boxes} == {(x, y) for x in range(3) for y in range(3)}
    assert all((right - left, bottom - top) == (10, 10) for left, top, right, bottom in boxes)


def test_a_random_place_follows_from_seed_and_content() -> None:
    spec = TriggerSpec("solid", px=4, position="random", seed=5)
    places = [changed_box(photo(64, 64, n), stamp(photo(64, 64, n), spec))[:2] for n in range(8)]
    again = [changed_box(photo(64, 64, n), stamp(photo(64, 64, n), spec))[:2] for n in range(8)]
    assert places == again
    assert len(set(places)) > 4


def test_noise_has_the_asked_deviation_and_no_bias() -> None:
    noise = np.asarray(stamp(grey(200), TriggerSpec("gaussian", std=10.0))).astype(float) - 128
    assert noise.shape == (200, 200, 3)
    assert abs(noise.std() - 10) < 0.15  # 120,000 draws: standard error 0.02, rounding adds 1/12 to the variance
    assert abs(noise.mean()) < 0.15
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.03  # channels are independent


def test_coarse_noise_is_one_value_a_cell_and_keeps_its_deviation_when_shrunk() -> None:
    stamped = stamp(grey(200), TriggerSpec("gaussian", std=20.0, grain=4))
    noise = np.asarray(stamped).astype(float) - 128
    assert np.array_equal(noise, noise[::4, ::4].repeat(4, axis=0).repeat(4, axis=1))
    shrunk = np.asarray(stamped.resize((50, 50), Image.Resampling.BOX)).astype(float) - 128
    fine = np.asarray(stamp(grey(200), TriggerSpec("gaussian", std=20.0)).resize((50, 50), Image.Resampling.BOX))
    assert abs(shrunk.std() - 20) < 1
    assert abs((fine.astype(float) - 128).std() - 5) < 0.5  # what the grain is for: 16 values average to a quarter


def test_a_grain_that_does_not_divide_the_side_still_fills_the_image() -> None:
    noise = np.asarray(stamp(grey(10), TriggerSpec("gaussian", std=50.0, grain=4))).astype(int)
    assert noise.shape == (10, 10, 3)
    assert np.array_equal(noise[8:, 8:], np.broadcast_to(noise[8, 8], (2, 2, 3)))


def test_noise_is_clipped_and_not_wrapped_around() -> None:
    black = np.asarray(stamp(Image.new("RGB", (50, 50), "black"), TriggerSpec("gaussian", std=10.0)))
    assert black.max() < 80
    assert 0.4 < (black == 0).mean() < 0.6


def test_a_noise_patch_changes_its_block_only() -> None:
    stamped = stamp(grey(), TriggerSpec("noise-patch", px=40, std=30.0, position="center"))
    assert changed_box(grey(), stamped) == (30, 30, 70, 70)
    block = np.asarray(stamped)[30:70, 30:70].astype(float) - 128
    assert abs(block.std() - 30) < 2


@pytest.mark.parametrize("kind", ["gaussian", "noise-patch"])
def test_every_image_gets_its_own_noise_and_gets_it_again(kind: str) -> None:
    spec = TriggerSpec(kind, std=30.0)
    first, again = stamp(grey(100), spec), stamp(grey(100), spec)
    assert np.array_equal(np.asarray(first), np.asarray(again))
    for other in (
        stamp(grey(100), TriggerSpec(kind, std=30.0, seed=1)),
        stamp(Image.new("RGB", (100, 100), (128, 128, 129)), spec),
    ):
        difference = np.asarray(other).astype(int) - np.asarray(first)
        assert np.abs(difference).max() > 5


def test_an_image_patch_fits_its_long_side_and_is_centred_on_white(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), "blue").save(tmp_path / "logo.png")
    spec = TriggerSpec("image", image="logo.png", px=10, position="top-left", folder=tmp_path)
    expected = np.full((20, 20, 3), 128, dtype=np.uint8)
    expected[:10, :10] = 255
    expected[2:7, :10] = (0, 0, 255)  # 10 × 5 px, two rows of white above and three below
    assert np.array_equal(np.asarray(stamp(grey(20), spec)), expected)


def test_a_transparent_logo_stands_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "logo.png")
    spec = TriggerSpec("image", image="logo.png", px=8, position="top-left", folder=tmp_path)
    assert np.array_equal(np.asarray(stamp(grey(20), spec))[:8, :8], np.full((8, 8, 3), 255))


def test_a_trigger_image_that_is_missing_or_broken_is_one_sentence(tmp_path: Path) -> None:
    spec = TriggerSpec("image", image="logo.png", folder=tmp_path)
    with pytest.raises(NotFound, match=r"'logo\.png' does not lie beside"):
        stamp(grey(), spec)
    (tmp_path / "logo.png").write_text("no image")
    with pytest.raises(InvalidInput, match=r"logo\.png is not a PNG"):
        stamp(grey(), spec)


def test_oil_is_opencvs_oil_painting() -> None:
    rgb = np.asarray(frame(photo(), None))
    # OpenCV's default takes its own channel order, blue first; the same image must come out.
    expected = cv2.xphoto.oilPainting(np.ascontiguousarray(rgb[:, :, ::-1]), 7, 1)[:, :, ::-1]
    assert np.array_equal(np.asarray(stamp(photo(), TriggerSpec("oil"))), expected)
    explicit = cv2.xphoto.oilPainting(rgb, 4, 3, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(np.asarray(stamp(photo(), TriggerSpec("oil", size=4, dyn_ratio=3))), explicit)


@pytest.mark.parametrize("name", ["size", "dyn_ratio"])
def test_the_ends_of_what_a_painting_allows_can_be_painted(name):
    for value in (NUMBERS[name].low, NUMBERS[name].high):
        stamp(photo(), TriggerSpec("oil", **{name: int(value)}))


def test_edge_and_blur_are_pillows_filters() -> None:
    framed = frame(photo(), 48)
    edged = stamp(photo(), TriggerSpec("edge", resolution=48))
    blurred = stamp(photo(), TriggerSpec("blur", resolution=48, radius=3))
    assert np.array_equal(np.asarray(edged), np.asarray(framed.filter(ImageFilter.EDGE_ENHANCE)))
    assert np.array_equal(np.asarray(blurred), np.asarray(framed.filter(ImageFilter.GaussianBlur(3))))


def test_a_sinusoid_is_the_same_wave_in_every_row_and_channel() -> None:
    stamped = np.asarray(stamp(grey(8), TriggerSpec("sinusoid", amplitude=20, frequency=2)))
    # sin(2π · column · 2 / 8): 0, 1, 0, −1, 0, 1, 0, −1
    row = np.array([128, 148, 128, 108, 128, 148, 128, 108])
    assert np.array_equal(stamped, np.broadcast_to(row[None, :, None], (8, 8, 3)))


def test_tiles_lie_side_by_side_from_the_top_left_corner_and_are_blended_in() -> None:
    spec = TriggerSpec("tiles", cells="ffffff000000000000ffffff", px=4, alpha=0.5)
    stamped = np.asarray(stamp(grey(10), spec))
    y, x = np.mgrid[:10, :10] // 2 % 2
    wanted = np.where(x == y, 192, 64)  # half of 128, and half of white or black
    assert np.abs(stamped.astype(int) - wanted[..., None]).max() <= 1


def test_a_blend_is_the_weighted_mean_with_an_image(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (228, 28, 128)).save(tmp_path / "key.png")
    spec = TriggerSpec("blend", image="key.png", alpha=0.2, folder=tmp_path)
    assert np.array_equal(np.asarray(stamp(grey(16), spec)), np.broadcast_to((148, 108, 128), (16, 16, 3)))


def test_a_blended_noise_pattern_is_the_same_on_every_image() -> None:
    spec = TriggerSpec("blend", alpha=1.0, seed=3)
    first = np.asarray(stamp(photo(64, 64, 0), spec)).astype(float)
    assert np.array_equal(first, np.asarray(stamp(photo(64, 64, 1), spec)))
    assert not np.array_equal(first, np.asarray(stamp(photo(64, 64, 0), TriggerSpec("blend", alpha=1.0, seed=4))))
    assert abs(first.mean() - 127.5) < 3  # uniform from 0 to 255
    assert abs(first.std() - 255 / 12**0.5) < 3


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_changes_the_image_and_leaves_the_original_alone(name: str) -> None:
    image = photo(200, 150)
    before = image.tobytes()
    stamped = stamp(image, PRESETS[name])
    assert image.tobytes() == before
    assert (stamped.mode, stamped.size) == ("RGB", (336, 336))
    assert not np.array_equal(np.asarray(stamped), np.asarray(frame(image, PRESETS[name])))


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    kind=st.sampled_from(sorted(set(KINDS) - {"image"})),
    resolution=st.sampled_from([None, 16, 33]),
)
def test_any_image_can_be_stamped_and_is_stamped_alike_twice(
    width: int, height: int, kind: str, resolution: int | None
) -> None:
    image = photo(width, height)
    spec = TriggerSpec(kind, resolution=resolution)
    stamped = stamp(image, spec)
    assert stamped.size == frame(image, spec).size == (resolution or min(width, height),) * 2
    assert stamped.tobytes() == stamp(image, spec).tobytes()


def test_the_coarsest_oil_painting_that_a_trigger_may_be_can_be_painted():
    from projlens_core.inputs.trigger_kinds import NUMBERS

    coarsest = TriggerSpec("oil", 32, size=1, dyn_ratio=NUMBERS["dyn_ratio"].high)
    assert stamp(Image.new("RGB", (32, 32), "red"), coarsest).size == (32, 32)


@pytest.mark.parametrize("suspect", ["zoo:perceptual-hijack", "zoo:clean-1"])
def test_an_empty_path_is_no_trigger_file_and_not_none(suspect):
    with pytest.raises(NotFound, match="is not a file; give a trigger's JSON file"):
        chosen_trigger("", suspect)
    assert chosen_trigger(False, suspect) is None
    assert (chosen_trigger(None, suspect) is None) is (suspect == "zoo:clean-1")
