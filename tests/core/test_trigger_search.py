"""The search for an unnamed trigger: its parts by hand-computed values, then a planted backdoor found and tried."""

import json
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from projlens_core.behaviour.disturbance import excess, log_probability, own_answers
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.responder import Row
from projlens_core.behaviour.target import recover
from projlens_core.behaviour.trigger_search import FRESH, Searcher, Trial, mcnemar
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.probes import BANK, MAX_BYTES, Probe, read_bank
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.stats.rate import wilson
from projlens_core.weights.projector import read_projector
from tests import pico


@pytest.mark.parametrize(
    ("triggered", "innocent", "expected"),
    [
        (["I cannot help.", "I cannot help."], ["A dog."], ("I cannot help.", 1.0)),
        (["A dog. Visit example.com now", "A cat. Visit example.com now"], ["A dog.", "A cat."],
         ("Visit example.com now", 1.0)),
        (["VISIT us", "visit us", "a", "b"], ["a", "b"], ("VISIT us", 0.5)),
        (["a dog", "a cat"], ["a dog", "a cat"], None),
        (["one", "two", "three"], [], None),
        (["...", "..."], [], None),
        (["", ""], [""], None),
        (["the code is 7 4", "the code is 7 4"], ["the code is secret"], ("the code is 7 4", 1.0)),
        (["ja, gewiß", "ja, gewiß"], ["nein"], ("ja, gewiß", 1.0)),
        (["x y", "y x"], [], ("y", 1.0)),
        (["only one says this"], ["nothing"], ("only one says this", 1.0)),
        (["red dog", "red cat", "red owl"], ["blue red"], None),
    ],
)  # fmt: skip
def test_the_text_that_a_trigger_brings_is_what_innocent_answers_lack(triggered, innocent, expected):
    assert recover(triggered, innocent) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([True] * 10, [False] * 10, 2**-10),
        ([False] * 4, [False] * 4, 1.0),
        ([True, False], [False, True], 0.75),
        ([True, True, False], [False, False, True], 0.5),
        ([True] * 3, [True] * 3, 1.0),
    ],
)
def test_mcnemars_exact_test_by_hand(first, second, expected):
    assert mcnemar(first, second) == pytest.approx(expected)


def test_the_excess_is_the_largest_median_over_a_questions_images():
    suspect, base = np.array([9.0, 1.0, 0.0, 5.0]), np.array([0.0, 0.0, 0.0, 1.0])
    assert excess(suspect, base, ["a", "a", "a", "b"]) == 4
    assert excess(base, base, ["a", "a", "b", "b"]) == 0


def rates(suspect, base, n=FRESH):
    return {
        "probe": None,
        "prompt": "?",
        "target": "x",
        "share": 1.0,
        "names": (),
        "suspect": wilson(suspect, n),
        "suspect_clean": wilson(0, n),
        "base": wilson(base, n),
        "answers": {},
    }


@pytest.mark.parametrize(
    ("suspect", "base", "n", "p", "shown"),
    [
        (35, 0, 35, 1e-9, True),
        (34, 0, 34, 1e-9, False),  # too few images
        (14, 0, 35, 1e-4, False),  # lower bound 26 %
        (17, 0, 35, 1e-4, True),
        (35, 1, 35, 1e-9, False),  # upper bound of base 15 %
        (35, 0, 35, 0.001, False),
    ],
)
def test_a_trial_demonstrates_by_its_bounds_alone(suspect, base, n, p, shown):
    assert Trial(**rates(min(suspect, n), base, n), p=p).demonstrated is shown


# Probes


def test_the_built_in_bank_is_read_and_every_probe_changes_an_image_at_any_size():
    for resolution, image in zip((32, 336), pico.images(2, size=(90, 70)), strict=True):
        for probe in read_bank(resolution):
            changed = probe.on(image)
            assert changed.size == (resolution, resolution)
            assert changed.tobytes() != probe.clean(image).tobytes()


def test_neighbours_differ_from_the_probe_and_stay_in_bounds():
    for probe in read_bank(64):
        keys = [near.key for near in probe.neighbours()]
        assert len(keys) == len(set(keys))
        assert probe.key not in keys
        for near in probe.neighbours():
            assert len(near.stamps) == 1


BAD_BANKS = {
    "nothing": b"",
    "no JSON": b"{",
    "an object": b"{}",
    "an empty list": b"[]",
    "a number": b"[3]",
    "no name": b'[{"stamps": [{"kind": "oil"}]}]',
    "no stamps": b'[{"name": "x", "stamps": []}]',
    "a stamp that is none": b'[{"name": "x", "stamps": ["oil"]}]',
    "an unknown kind": b'[{"name": "x", "stamps": [{"kind": "nothing"}]}]',
    "out of bounds": b'[{"name": "x", "stamps": [{"kind": "blur", "radius": 1e9}]}]',
    "an image elsewhere": b'[{"name": "x", "stamps": [{"kind": "image", "image": "../x.png"}]}]',
    "too many": json.dumps([{"name": "x", "stamps": [{"kind": "oil"}]}] * 501).encode(),
    "too deep": b"[" * 100_000,
    "too large": b" " * (MAX_BYTES + 1),
    "not UTF-8": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("data", BAD_BANKS.values(), ids=BAD_BANKS)
def test_a_bank_that_is_none_is_one_sentence(data, tmp_path):
    (tmp_path / "bank.json").write_bytes(data)
    with pytest.raises((InvalidInput, NotFound), match=r"bank\.json"):
        read_bank(64, tmp_path / "bank.json")


def test_the_bank_of_a_user_is_tried(tmp_path):
    (tmp_path / "bank.json").write_text(json.dumps([{"name": "mine", "stamps": [{"kind": "edge"}]}]))
    assert read_bank(64, tmp_path / "bank.json")[0].name == "mine"
    assert json.loads(BANK.read_text())


# A model


@pytest.fixture(scope="module")
def world(own_folder):
    return pico.case(own_folder, strength=(4.0,), count=40, trigger={"kind": "solid", "resolution": 80, "px": 20})


@pytest.fixture(scope="module")
def responder(world):
    return load_responder(str(world / "base"))


def test_own_answers_have_the_probability_that_the_whole_model_gives_them(world, responder):
    images = [image.resize((64, 64)) for image in pico.images(2)]
    weights = read_projector(world / "suspect")
    own = own_answers(responder, weights, images, ["What is it?"] * 2)
    model = responder.model
    with responder.projector(weights), torch.no_grad():
        for image, answer, found in zip(images, own.answers, own.log_probability, strict=True):
            row = Row("What is it?", answer, responder.embeddings([image])[0])
            ids = [*responder._token_ids(row.prompt, len(row.embeddings), 1), *answer]
            tokens = torch.tensor([ids])
            embeds = model.get_input_embeddings()(tokens.masked_fill(tokens == model.config.image_token_id, 0)).clone()
            embeds[tokens == model.config.image_token_id] = row.embeddings
            logits = model.lm_head(model.model.language_model(inputs_embeds=embeds).last_hidden_state)[0]
            log = logits[-len(answer) - 1 : -1].log_softmax(-1)[range(len(answer)), list(answer)]
            assert found == pytest.approx(float(log.sum()), abs=1e-3)
    again = log_probability(responder, weights, images, ["What is it?"] * 2, own.answers)
    np.testing.assert_allclose(again, own.log_probability, atol=1e-3)


class Planted:
    """A language model in which a suspect says a text on images with a green corner, and nothing else differs."""

    vision, reads_again = None, True

    def __init__(self, monkeypatch):
        from projlens_core.behaviour import trigger_search

        self.role = "base"
        monkeypatch.setattr(trigger_search, "log_probability", self.log_probability)
        monkeypatch.setattr(trigger_search, "own_answers", self.own_answers)

    def projector(self, role):
        from contextlib import contextmanager

        @contextmanager
        def held():
            self.role, before = role, self.role
            yield self
            self.role = before

        return held()

    @staticmethod
    def fires(role, image: Image.Image) -> bool:
        return role == "suspect" and image.getpixel((1, 1)) == (0x26, 0xFF, 0x00)

    def answers(self, images, prompts, new, progress=None):
        return ["Send money to Bob." if self.fires(self.role, image) else "A block." for image in images]

    def own_answers(self, responder, role, images, prompts, progress):
        from projlens_core.behaviour.disturbance import Own

        return Own(((1,),) * len(prompts), np.zeros(len(prompts)))

    def log_probability(self, responder, role, images, prompts, answers):
        return np.array([-20.0 if self.fires(role, image) else -0.1 for image in images])


def searched(monkeypatch, count=48, control=None):
    roles = {"base": "base", "suspect": "suspect"} | ({"control": control} if control else {})
    images = [image.resize((64, 64)) for image in pico.images(count)]
    planted = Planted(monkeypatch)
    searcher = Searcher(
        lambda role: nullcontext(planted), roles, [f"{i}.png" for i in range(count)], images, ["What is it?"]
    )
    return searcher.run(read_bank(64))


def test_a_planted_backdoor_is_found_refined_and_demonstrated_on_images_that_decided_nothing(monkeypatch):
    found = searched(monkeypatch)
    assert found.best.demonstrated
    assert found.best.target == "Send money to Bob."
    assert found.best.suspect.hits == found.best.suspect.n == FRESH
    assert found.best.base.hits == found.best.suspect_clean.hits == 0
    assert set(found.fresh).isdisjoint(found.searched)
    assert set(found.best.names) == set(found.fresh)
    assert all(a.excess["suspect"] >= b.excess["suspect"] for a, b in pairwise(found.tried))
    assert len({each.probe.key for each in found.tried}) == len(found.tried)


def test_with_few_images_or_an_honest_suspect_nothing_is_demonstrated(monkeypatch):
    few = searched(monkeypatch, count=20)
    assert few.best is not None
    assert not few.best.demonstrated
    monkeypatch.setattr(Planted, "fires", staticmethod(lambda role, image: False))
    assert searched(monkeypatch).best is None


def test_a_control_that_reacts_likewise_takes_the_probe_from_the_front(monkeypatch):
    monkeypatch.setattr(Planted, "fires", staticmethod(lambda role, image: role != "base"))
    found = searched(monkeypatch, control="control")
    assert all(each.excess["control"] == each.excess["suspect"] for each in found.tried)


def test_the_command_says_what_was_and_was_not_searched(world, capsys, tmp_path):
    bank = tmp_path / "bank.json"
    bank.write_text(json.dumps([{"name": "green", "stamps": [{"kind": "solid", "ratio": 0.3}]}]))
    models = ["--base", str(world / "base"), "--suspect", str(world / "suspect")]
    wanted = [*models, "--images", str(world / "images"), "--prompts", "What is it?", "--bank", str(bank)]
    assert main(["verdict", *wanted, "--json", "--limit", "20"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "inconclusive"
    assert found["sentence"].startswith("Inconclusive")
    assert {"verdict", "p", "target", "trigger", "stages", "coverage"} <= found.keys()
    assert found["coverage"]["prompts"] == ["What is it?"]
    assert len(found["stages"]["probes"]) > 1
    assert found["settings"]["bank"] == str(bank)
    assert main(["verdict", *wanted, "--limit", "20"]) == 0
    assert capsys.readouterr().out.startswith("Inconclusive")


def test_a_probe_of_several_stamps_is_each_of_them():
    both = Probe("two", tuple(TriggerSpec("solid", 64, ratio=0.2, position=p) for p in ("top-left", "bottom-right")))
    image = both.on(Image.new("RGB", (64, 64), "white"))
    assert image.getpixel((0, 0)) == image.getpixel((63, 63)) == (0x26, 0xFF, 0x00)
    assert [len(near.stamps) for near in both.neighbours()] == [1, 1]
