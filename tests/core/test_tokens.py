from contextlib import closing

import diskcache
import pytest
import torch

from projlens_core.activations.model import load_vision
from projlens_core.activations.tokens import image_tokens
from tests import pico


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("tokens") / "base")


@pytest.fixture
def vision(folder, monkeypatch):
    """A model that counts the images its tower sees."""
    model = load_vision(str(folder))
    model.seen = 0
    encode = model.encode

    def counting(images):
        model.seen += len(images)
        return encode(images)

    monkeypatch.setattr(model, "encode", counting)
    return model


def test_tokens_are_the_towers_own(vision):
    images = pico.images(5)
    found = image_tokens(vision, images, batch_size=5)
    assert found.shape == (5, pico.TOKENS, pico.D_VISION)
    assert torch.equal(found, vision.encode(images))


def test_the_tower_runs_once_per_image_ever(vision, folder):
    images = pico.images(5)
    first = image_tokens(vision, images, batch_size=2)
    assert vision.seen == 5
    again = image_tokens(vision, [*reversed(images), *pico.images(1, seed=9)])
    assert vision.seen == 6
    assert torch.equal(again[:5], first.flip(0))


def test_an_image_that_occurs_twice_is_read_once(vision):
    a, b = pico.images(2)
    found = image_tokens(vision, [a, b, a.copy()])
    assert vision.seen == 2
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def test_other_tokens_are_kept_apart_from_those_of_another_model(vision, tmp_path):
    images = pico.images(2)
    other = load_vision(str(pico.checkpoint(tmp_path / "other", seed=7)))
    assert not torch.equal(image_tokens(vision, images), image_tokens(other, images))
    assert torch.equal(image_tokens(other, images), other.encode(images))


@pytest.mark.parametrize("damage", [lambda entry: entry[:-4], lambda entry: b"x" + entry[1:], lambda _: b""])
def test_a_damaged_entry_is_computed_anew_and_mended(vision, cache, damage):
    images = pico.images(2)
    first = image_tokens(vision, images)
    with closing(diskcache.Cache(cache / "tokens")) as stored:
        for key in stored:
            stored[key] = damage(stored[key])
    assert torch.equal(image_tokens(vision, images), first)
    assert vision.seen == 4
    image_tokens(vision, images)
    assert vision.seen == 4


def test_an_unusable_cache_costs_time_only(vision, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"not a folder")
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "file"))
    images = pico.images(2)
    first = image_tokens(vision, images)
    assert torch.equal(image_tokens(vision, images), first)
    assert vision.seen == 4


def test_progress_counts_images_up_to_the_end(vision):
    heard = []
    image_tokens(vision, pico.images(5), progress=lambda *step: heard.append(step), batch_size=2)
    assert [step[1:] for step in heard] == [(0, 5), (2, 5), (4, 5), (5, 5)]
    heard.clear()
    image_tokens(vision, pico.images(6), progress=lambda *step: heard.append(step))
    assert [step[1:] for step in heard] == [(5, 6), (6, 6)]


def test_no_images_have_no_tokens(vision):
    assert image_tokens(vision, []).shape == (0, 16, 32)
