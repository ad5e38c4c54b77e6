"""Triggers that a user makes: from a logo, from files, or painted."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projlens_core.errors import InvalidInput
from projlens_core.inputs import own_triggers
from projlens_core.inputs.doses import dosed
from projlens_core.inputs.own_triggers import GRID, from_files, kept_image, logo, on_grid, painting
from projlens_core.inputs.trigger_kinds import NO_CELL
from projlens_core.inputs.triggers import TriggerSpec, frame, patch_box, stamp

BLANK = NO_CELL * GRID * GRID


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def painted(**cells: str) -> str:
    """A painting with these cells: r3c4="ff0000"."""
    each = [NO_CELL] * (GRID * GRID)
    for place, colour in cells.items():
        row, column = map(int, place[1:].split("c"))
        each[row * GRID + column] = colour
    return "".join(each)


def test_a_logo_is_kept_by_its_pixels_and_stamped_from_there():
    blue = Image.new("RGB", (30, 20), "#0000ff")
    first = logo(encoded(blue), "mine.png")
    assert logo(encoded(blue), "renamed.png") == first
    assert logo(encoded(Image.new("RGB", (30, 20), "#0000fe")), "mine.png").key != first.key
    stamped = np.asarray(stamp(Image.new("RGB", (336, 336), "black"), first))
    assert (stamped[-5:, -1] == 255).all()  # its square is white above and below
    assert (stamped[-25, -25] == (0, 0, 255)).all()


def test_a_large_logo_is_scaled_down_and_a_damaged_one_made_anew():
    data = encoded(Image.new("RGB", (2000, 1000), "red"))
    path = kept_image(data, "large.png")
    assert Image.open(path).size == (own_triggers.LARGEST, own_triggers.LARGEST // 2)
    path.write_bytes(b"damaged")
    assert Image.open(kept_image(data, "large.png")).size == (own_triggers.LARGEST, own_triggers.LARGEST // 2)


def test_what_is_no_image_is_no_logo_and_leaves_nothing_behind(cache):
    with pytest.raises(InvalidInput, match=r"notes\.png is not a PNG"):
        logo(b"These are notes.", "notes.png")
    assert not cache.exists()


def test_only_the_newest_images_are_kept(monkeypatch):
    monkeypatch.setattr(own_triggers, "KEPT", 2)
    paths = [kept_image(encoded(Image.new("RGB", (4, 4), (shade, 0, 0))), "a.png") for shade in range(4)]
    assert paths[-1].is_file()
    assert sum(path.is_file() for path in paths) == 2


def test_a_cache_that_takes_nothing_is_one_sentence(cache):
    cache.write_text("a file where the folder would be")
    with pytest.raises(InvalidInput, match=r"cannot be kept .*; make room"):
        logo(encoded(Image.new("RGB", (4, 4))), "a.png")


def test_a_saved_logo_comes_back_from_its_two_files():
    spec = logo(encoded(Image.new("RGB", (30, 20), "#0000ff")), "mine.png")
    files = {"trigger.json": spec.to_json().encode(), spec.image: spec.image_path.read_bytes()}
    assert from_files(files) == spec
    renamed = json.loads(spec.to_json()) | {"image": "logo.png"}
    assert from_files({"t.JSON": json.dumps(renamed).encode(), "logo.png": files[spec.image]}) == spec


def test_a_json_file_alone_is_enough_for_a_trigger_without_an_image():
    spec = TriggerSpec("painted", 320, cells="ff0000", px=20, position=(0, 20))
    assert from_files({"trigger.json": spec.to_json().encode()}) == spec


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "not 0 JSON files"),
        ({"a.json": b"{}", "b.json": b"{}"}, "not 2 JSON files"),
        ({"a.json": b'{"kind": "image", "image": "logo.png"}'}, "choose that file together with the JSON"),
        ({"a.json": b'{"kind": "image", "image": "../logo.png"}', "../logo.png": b""}, "a plain file name"),
        ({"a.json": b'{"kind": "image", "image": "x.png"}', "x.png": b"text"}, "x.png is not a PNG"),
        ({"a.json": b"\xff\xfe\x00"}, "not UTF-8"),
        ({"a.json": b" " * 70_000}, "larger than 64 KiB"),
    ],
)
def test_files_that_make_no_trigger_are_refused_in_one_sentence(files, said):
    with pytest.raises(InvalidInput, match=said):
        from_files(files)


@pytest.mark.parametrize("resolution", [320, 336, 100])
def test_a_painting_is_stamped_where_it_was_painted(resolution):
    cells = painted(r3c4="ff0000", r3c5="00ff00", r5c4="0000ff")
    spec = painting(cells, resolution)
    image = Image.new("RGB", (resolution, resolution), "#808080")
    stamped = np.asarray(stamp(image, spec))

    def at(row: int, column: int) -> str:
        x, y = (int((each + 0.5) * resolution / GRID) for each in (column, row))
        return stamped[y, x].tobytes().hex()

    seen = {(row, column): at(row, column) for row in range(GRID) for column in range(GRID)}
    assert {place: colour for place, colour in seen.items() if colour != "808080"} == {
        (3, 4): "ff0000",
        (3, 5): "00ff00",
        (5, 4): "0000ff",
    }
    assert on_grid(spec) == cells


def test_a_painting_at_the_edges_stays_inside_and_comes_back_as_it_was():
    cells = painted(r15c15="ff0000", r15c10="00ff00", r0c15="0000ff")
    spec = painting(cells, 320)
    assert patch_box(Image.new("RGB", (320, 320)), spec) == (0, 0, 320)
    assert on_grid(spec) == cells
    assert on_grid(painting(painted(r15c15="ff0000", r15c10="00ff00"), 320)) == painted(
        r15c15="ff0000", r15c10="00ff00"
    )


def test_nothing_painted_is_no_trigger_and_other_triggers_are_no_paintings():
    assert painting(BLANK) is None
    assert on_grid(TriggerSpec("mosaic")) is None
    assert on_grid(TriggerSpec("painted")) is None  # in the centre, wherever that is
    with pytest.raises(InvalidInput, match="16 × 16 cells, not 1"):
        painting("ff0000")


def test_a_painted_patch_has_edges_and_gaps_and_a_mosaic_has_neither():
    spec = TriggerSpec("painted", cells="ff0000------------ff0000", px=10, position="top-left")
    stamped = np.asarray(stamp(Image.new("RGB", (20, 20), "#808080"), spec))
    assert (stamped[:5, :5] == (255, 0, 0)).all()
    assert (stamped[:5, 5:10] == 128).all()
    assert (stamped[10:] == 128).all()
    with pytest.raises(InvalidInput, match="must be n × n colours of six hex digits in one row"):
        TriggerSpec("mosaic", cells="ff0000------------ff0000")
    with pytest.raises(InvalidInput, match="at least one colour"):
        TriggerSpec("painted", cells=NO_CELL)


def test_a_painted_patch_can_be_dosed_by_size_and_strength():
    image = Image.new("RGB", (320, 320), "#808080")
    spec = painting(painted(r3c4="ff0000", r4c5="00ff00"), 320)
    assert dosed(image, spec, "size", 0) == frame(image, spec)
    assert np.asarray(dosed(image, spec, "strength", 0.5))[70, 90].tolist() == [191, 64, 64]
    assert patch_box(image, TriggerSpec.from_json(spec.to_json(), Path())) == (80, 60, 40)
