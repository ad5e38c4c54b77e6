"""What the library's calls take: images in every form, triggers by name, dict or file."""

import numpy as np
import pytest
from PIL import Image

import projlens_core as pl
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.images import load
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.library.inputs import image_set
from tests.core.library.conftest import SPEC

SPEC_FULL = TriggerSpec.from_dict(SPEC).to_dict()  # with the defaults of its kind


def same_pixels(*given):
    images = [image_set(each)[0].images[0] for each in given]
    return len({each.sha256 for each in images}) == 1


def test_one_image_is_the_same_as_file_pil_image_and_array(world):
    file = world / "images" / "0.png"
    image = Image.open(file)
    values = np.asarray(image)
    assert same_pixels(file, str(file), image, values, values / 255, (values / 255).astype(np.float32), [values])


def test_grey_and_transparent_arrays_are_read_as_such_images_are():
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    assert same_pixels(grey, np.stack([grey] * 3, axis=-1))
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    assert same_pixels(clear, np.full((4, 4, 3), 255, dtype=np.uint8))


def test_a_stack_of_arrays_is_as_many_images_each_under_its_own_name(world):
    stack = np.stack([np.full((8, 8, 3), value, dtype=np.uint8) for value in (0, 100, 200)])
    found, truths = image_set([stack, world / "images" / "0.png", stack[0]])
    assert [each.name for each in found.images] == ["image 1", "image 2", "image 3", "0.png", "image 5"]
    assert truths is None
    twice, _ = image_set([world / "images" / "0.png"] * 2)
    assert [each.name for each in twice.images] == ["0.png", "0.png (2)"]


def test_an_opened_photo_is_turned_upright_as_its_file_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 16, 3), dtype=np.uint8)).save(
        tmp_path / "turned.png", exif=exif
    )
    assert same_pixels(tmp_path / "turned.png", Image.open(tmp_path / "turned.png"))
    assert load(tmp_path / "turned.png").pixels.size == (8, 16)


def test_a_folder_brings_its_answers_and_lists_what_cannot_be_read(world, tmp_path):
    found, truths = image_set(world / "images", 4)
    assert (len(found.images), truths) == (4, None)
    assert [name for name, _ in image_set(world / "images")[0].failures] == ["note.txt"]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("image,prompt,answer\na.png,What?,owl\n")
    assert image_set(tmp_path)[1]["a.png"][0].answer == "owl"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 8, 8), dtype=np.uint8), "array of 3×8×8; give .height, width."),
        (np.zeros((0, 8, 3), dtype=np.uint8), "array of 0×8×3"),
        (np.full((4, 4), 2.0), "floats from 2 to 2"),
        (np.full((4, 4), np.nan), "floats from nan to nan"),
        (np.zeros((4, 4), dtype=np.int64), "array of int64"),
        ([], "No images were given"),
        ([3], "cannot be a int"),
        (None, "cannot be a NoneType"),
    ],
)
def test_what_is_no_image_is_one_sentence(given, message):
    with pytest.raises(InvalidInput, match=message):
        image_set(given)


def test_a_folder_among_files_a_missing_file_and_a_broken_opened_image_are_one_sentence(world, tmp_path):
    with pytest.raises(InvalidInput, match="is a folder where one image is expected"):
        image_set([world / "images"])
    with pytest.raises(NotFound, match="is not a file"):
        image_set(tmp_path / "none.png")
    with pytest.raises(InvalidInput, match="ask for 1 or more"):
        image_set(world / "images", 0)
    data = (world / "images" / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidInput, match=r"cut\.png cannot be read"):
        image_set(Image.open(tmp_path / "cut.png"))


def test_a_trigger_is_a_preset_a_dict_or_a_spec_file(world):
    spec = TriggerSpec.from_dict(SPEC)
    assert pl.trigger(SPEC) == spec == pl.trigger(spec)
    assert (
        pl.trigger(world / "trigger.json").to_dict() == pl.trigger(str(world / "trigger.json")).to_dict() == SPEC_FULL
    )
    assert pl.trigger("Blur") is pl.PRESETS["Blur"]
    with pytest.raises(NotFound, match=r"no trigger 'Blurr'; give .* presets .*'Blur'"):
        pl.trigger("Blurr")
    with pytest.raises(InvalidInput, match="not int"):
        pl.trigger(3)


def test_stamping_changes_the_image_where_the_trigger_is(world):
    stamped = np.asarray(pl.stamp(world / "images" / "0.png", SPEC | {"position": [0, 0], "colour": "#ff0000"}))
    assert stamped.shape == (80, 80, 3)
    assert (stamped[:20, :20] == (255, 0, 0)).all()
    with pytest.raises(InvalidInput, match="One image is expected, not 2"):
        pl.stamp(np.zeros((2, 8, 8, 3), dtype=np.uint8), SPEC)
