"""The triggers that a suspect is only listened to under."""

import numpy as np
import pytest
from PIL import Image

from projlens_core.inputs.further_probes import INK, PLACES, STICKERS, further_probes
from projlens_core.inputs.probes import read_bank
from projlens_core.inputs.triggers import TriggerSpec

SIDE = 96
IMAGE = Image.fromarray(np.random.default_rng(0).integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8))
PROBES = further_probes(SIDE)


def test_each_is_there_once_and_not_in_the_bank():
    keys = {probe.key for probe in PROBES}
    assert len(keys) == len({probe.name for probe in PROBES}) == len(PROBES)
    assert not keys & {probe.key for probe in read_bank(SIDE)}


def test_patches_at_places_come_first():
    local = [probe.local for probe in PROBES]
    assert local == sorted(local, reverse=True)
    assert set(local) == {True, False}


@pytest.mark.parametrize("resolution", [16, 160, 336])
def test_each_changes_an_image_of_any_size(resolution):
    image = IMAGE.resize((resolution, resolution))
    for probe in further_probes(resolution):
        changed = probe.on(image)
        assert changed.size == image.size
        assert (np.asarray(changed) != np.asarray(image)).any(), probe.name


def test_each_can_be_handed_on_without_another_file():
    for spec in (spec for probe in PROBES for spec in probe.stamps):
        assert spec.image is None
        assert TriggerSpec.from_json(spec.to_json()) == spec


def test_a_sticker_is_in_five_places_and_can_be_tried_in_each_alone():
    sticker = PROBES[0]
    assert [spec.position for spec in sticker.stamps] == list(PLACES)
    assert [each.stamps for each in sticker.neighbours()] == [(spec,) for spec in sticker.stamps]


def test_stickers_are_squares_of_known_ink():
    for rows in STICKERS.values():
        assert {len(row) for row in rows} == {len(rows)}
        assert {mark for row in rows for mark in row} <= INK.keys()


@pytest.mark.parametrize(
    ("name", "here", "colour"),
    [
        ("Frame, red", (0, SIDE // 2), (255, 0, 0)),
        ("Corners, blue", (0, 0), (0, 0, 255)),
        ("Bar, bottom, yellow", (SIDE // 2, SIDE - 1), (255, 255, 0)),
        ("Bar, left, black", (0, SIDE // 2), (0, 0, 0)),
    ],
)
def test_what_is_at_the_edge_leaves_the_rest_as_it_is(name, here, colour):
    (probe,) = (each for each in PROBES if each.name == name)
    changed = probe.on(IMAGE)
    assert changed.getpixel(here) == colour
    middle = (SIDE // 3, SIDE // 3)
    assert changed.getpixel(middle) == IMAGE.getpixel(middle)
