import numpy as np
import pytest
from PIL import Image

from projlens_core.errors import InvalidInput
from projlens_core.inputs.changes import ORIGINAL, Change, axes_of, changed, changes, clean_twin
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from tests import pico

PATCH = TriggerSpec("solid", 40, colour="#ffffff", px=10, position="top-left")
GREY = Image.new("RGB", (40, 40), (100, 100, 100))


def changed_pair(*args):
    return clean_twin(*args), changed(*args)


def array(image):
    return np.asarray(image, dtype=int)


def test_the_original_change_is_the_trigger_itself():
    image = pico.images(1)[0]
    clean, triggered = changed_pair(image, PATCH, ORIGINAL)
    assert clean == frame(image, PATCH)
    assert triggered == stamp(image, PATCH)


def test_a_size_is_a_factor_on_the_patchs_side():
    triggered = changed(GREY, PATCH, Change(size=0.5))
    assert (array(triggered)[..., 0] == 255).sum() == 5 * 5
    by_ratio = TriggerSpec("solid", 40, colour="#ffffff", ratio=0.25, position="top-left")
    triggered = changed(GREY, by_ratio, Change(size=2))
    assert (array(triggered)[..., 0] == 255).sum() == 20 * 20


def test_a_place_replaces_the_triggers_own():
    triggered = changed(GREY, PATCH, Change(position="bottom-right"))
    assert array(triggered)[39, 39].tolist() == [255] * 3
    assert array(triggered)[0, 0].tolist() == [100] * 3


def test_half_strength_is_half_way_between_framed_and_stamped():
    triggered = changed(GREY, PATCH, Change(strength=0.5))
    assert array(triggered)[0, 0].tolist() == [177] * 3  # 100 + (255 - 100) / 2, cut to whole grey levels
    assert array(triggered)[30, 30].tolist() == [100] * 3


def test_clean_and_triggered_are_rescaled_and_compressed_alike():
    image = pico.images(1)[0]
    clean, triggered = changed_pair(image, PATCH, Change(scale=0.5, quality=20))
    assert clean.size == triggered.size == (20, 20)
    assert clean != frame(image, PATCH).resize((20, 20), Image.Resampling.LANCZOS)  # JPEG left its marks
    again, _ = changed_pair(image, PATCH, Change(scale=0.5, quality=20))
    assert clean == again


def test_axes_are_tried_one_at_a_time_or_crossed():
    levels = {"size": (0.5, 2.0), "quality": (50,)}
    assert changes(PATCH, levels) == (ORIGINAL, Change(size=0.5), Change(size=2.0), Change(quality=50))
    crossed = changes(PATCH, levels, crossed=True)
    assert len(crossed) == 6
    assert {ORIGINAL, Change(size=2.0, quality=50)} <= set(crossed)


def test_a_trigger_of_the_whole_image_has_neither_place_nor_size():
    assert axes_of(TriggerSpec("blur")) == ("strength", "scale", "quality")
    with pytest.raises(InvalidInput, match="cannot be changed in size; it can in strength"):
        changes(TriggerSpec("blur"), {"size": (2.0,)})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"position": "middle"}, "no position 'middle'"),
        ({"size": 0}, "size is 0; it must be from 0.05 to 20"),
        ({"quality": 100}, "must be from 1 to 95"),
        ({"strength": float("nan")}, "strength is nan"),
    ],
)
def test_a_change_that_makes_no_sense_is_one_sentence(values, said):
    with pytest.raises(InvalidInput, match=said):
        Change(**values)


def test_too_many_changes_are_refused():
    levels = {axis: tuple(np.linspace(0.5, 2, 8)) for axis in ("size", "strength", "scale")}
    with pytest.raises(InvalidInput, match="more than 400"):
        changes(PATCH, levels, crossed=True)


def test_labels_say_what_differs():
    assert ORIGINAL.label == "unchanged"
    assert Change(position="center", size=0.5, quality=30).label == "place center, size 0.5×, compression JPEG 30"
