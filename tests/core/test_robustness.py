import pytest
import torch

from projlens_core.activations.model import load_vision
from projlens_core.activations.shift import analyse
from projlens_core.activations.towers import Towers
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.robustness import attack_scores, ruler, sweep
from projlens_core.behaviour.success import contains_target
from projlens_core.errors import Cancelled, InvalidInput
from projlens_core.inputs.changes import ORIGINAL, Change, changed, clean_twin
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.stats.mean import mean_of, share_interval
from projlens_core.weights.projector import read_projector
from tests import pico

SPEC = TriggerSpec("solid", 40, px=20, position="top-left")
N = 5

pytestmark = pytest.mark.usefixtures("own_folder")  # every test with a cache of this module's own


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robustness")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect", strength=(6.0,))
    pico.suspect(base, folder / "control", strength=(0.3,) * 6, seed=8)
    return folder


@pytest.fixture(scope="module")
def projectors(world):
    return tuple(read_projector(world / name) for name in ("base", "suspect", "control"))


@pytest.fixture(scope="module")
def tower(world):
    return load_vision(str(world / "base"))


def test_every_figure_is_that_of_the_shift_analysis_along_the_unchanged_triggers_direction(projectors, tower):
    base, suspect, control = projectors
    images, change = pico.images(N), Change(size=0.5, quality=40)
    _, found = sweep(base, suspect, control, Towers(tower), images, SPEC, [change])
    original, other = (
        [tower.encode([make(image, SPEC, c) for image in images]) for make in (clean_twin, changed)]
        for c in (ORIGINAL, change)
    )
    vector = analyse(base, suspect, *original).direction.vector
    for role, weights in (("suspect", suspect), ("control", control)):
        own = ruler(base, suspect, Towers(tower), images, SPEC)
        torch.testing.assert_close(own.abs(), vector.abs(), rtol=1e-4, atol=1e-5)
        expected = analyse(base, weights, *other, direction=own)
        gain = expected.triggered.sample_mean - expected.clean.sample_mean
        assert found.pushes[role].apart.auroc == pytest.approx(expected.separation.auroc)
        assert found.pushes[role].gain.mean == pytest.approx(float(gain.mean()), rel=1e-3, abs=1e-5)


def test_the_unchanged_trigger_comes_first_and_keeps_all_of_its_push(projectors, tower):
    base, suspect, _ = projectors
    original, weak = sweep(base, suspect, None, Towers(tower), pico.images(N), SPEC, [Change(strength=0.01)])
    assert original.change == ORIGINAL
    assert original.pushes["suspect"].kept == 1
    assert original.pushes["suspect"].gain.mean > 0  # the ruler points where the trigger pushes
    assert set(original.pushes) == {"suspect"}
    assert abs(weak.pushes["suspect"].kept) < 0.3


def test_a_change_that_cannot_be_stamped_says_why_and_the_rest_goes_on(projectors, tower):
    base, suspect, _ = projectors
    tried = list(sweep(base, suspect, None, Towers(tower), pico.images(2), SPEC, [Change(size=4), Change(quality=50)]))
    assert [bool(one.pushes) for one in tried] == [True, False, True]
    assert "80 px wide but the image only 40" in tried[1].reason


def test_towers_that_give_a_list_of_images_are_swept_alike(projectors, tower, monkeypatch):
    base, suspect, _ = projectors
    wanted = (base, suspect, None, Towers(tower), pico.images(3), SPEC, [Change(quality=50)])
    stacked, encode = list(sweep(*wanted)), tower.encode
    monkeypatch.setattr(tower, "encode", lambda images: list(encode(images)))  # as those of other families do
    assert list(sweep(*wanted)) == stacked


def test_nothing_to_try_it_on_is_one_sentence(projectors, tower):
    base, suspect, _ = projectors
    with pytest.raises(InvalidInput, match="no image"):
        next(sweep(base, suspect, None, Towers(tower), [], SPEC, []))
    with pytest.raises(InvalidInput, match="no drift direction"):
        next(sweep(base, base, None, Towers(tower), pico.images(2), SPEC, []))


def test_a_sweep_can_be_cancelled_and_what_was_tried_is_kept(projectors, tower):
    base, suspect, _ = projectors

    def stop(stage, done, total):
        if "JPEG" in stage:
            raise Cancelled("Stopped.")

    kept = []
    with pytest.raises(Cancelled):
        kept.extend(sweep(base, suspect, None, Towers(tower), pico.images(2), SPEC, [Change(quality=50)], stop))
    found = sweep(base, suspect, None, Towers(tower), pico.images(2), SPEC, [Change(quality=50)], stop)
    assert next(found).change == ORIGINAL


def test_attack_success_counts_answers_to_the_changed_images(world, projectors):
    base, suspect, _ = projectors
    responder, images, change = load_responder(str(world / "base")), pico.images(2), Change(strength=0.5)
    with responder.projector(suspect):
        said = responder.answers([changed(i, SPEC, change) for i in images], ["What?"] * 2, 3)
    target = next(text for text in said if text)[:2]
    found = attack_scores(responder, {"suspect": suspect, "base": base}, images, SPEC, change, ["What?"] * 2, target, 3)
    assert found["suspect"].hits == tuple(contains_target(text, target) for text in said)
    assert found["suspect"].utility is None
    assert set(found) == {"suspect", "base"}


def test_a_mean_has_a_seeded_interval_and_says_nothing_about_one_image():
    found = mean_of([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert 1 <= found.low < 2 < found.high <= 3
    assert found == mean_of([1.0, 2.0, 3.0])
    alone = mean_of([4.0])
    assert (alone.mean, alone.n) == (4, 1)
    assert alone.low != alone.low  # NaN


def test_a_share_is_resampled_together_with_what_it_is_of():
    whole = [1.0, 2.0, 3.0, 10.0]
    assert share_interval([v / 4 for v in whole], whole) == pytest.approx((0.25, 0.25))  # of each image the same share
    low, high = share_interval([0.0, 2.0, 0.0, 10.0], whole)
    assert 0 <= low < 12 / 16 < high <= 1
    for unbounded in (share_interval([1.0], [2.0]), share_interval([1.0, 1.0], [1.0, -1.0])):
        assert all(bound != bound for bound in unbounded)  # NaN
