"""The activation mechanism where it appears: the tiny pair that ships, and the part of the document that says so."""

import copy

import numpy as np
import pytest
import torch

from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.success import contains_target
from projlens_core.demo_model.checkpoint import load_tower
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.nursery.ablation import ABLATIONS
from projlens_core.nursery.language import WIDTH
from projlens_core.nursery.pool import read_images
from projlens_core.nursery.source import TINY
from projlens_core.research.findings_text import document
from projlens_core.research.mechanism import RESULTS, load, mechanism
from projlens_core.research.mechanism_text import LEAST_COSINE, LEAST_R, SLOPES, holds, missing, section
from projlens_core.sources import resolve, shipped
from projlens_core.weights.projector import read_projector
from projlens_core.zoo.samples import held_out
from projlens_core.zoo.suspect import base_tensors
from projlens_core.zoo.training import Projector

IMAGES = 10


@pytest.fixture(scope="module")
def images():
    """(clean, triggered) held-out images of the tiny suspect."""
    spec = TriggerSpec.from_file(shipped()["tiny-injection"].trigger)
    drawn = [image for _, _, image in held_out(IMAGES, seed=5)]
    return [frame(image, spec) for image in drawn], [stamp(image, spec) for image in drawn]


def projector(name):
    made = Projector(WIDTH)
    made.load_state_dict(base_tensors(shipped()[name].projector))
    return made


def test_in_the_pair_that_ships_the_mechanism_appears_and_in_its_honest_twin_it_does_not(images):
    tower = load_tower()
    tokens = [torch.from_numpy(read_images(tower, each).astype(np.float32)) for each in images]
    own, honest = (mechanism(projector(name), TINY.projector(), *tokens) for name in ("tiny-injection", "tiny-control"))
    assert own["cosine"] >= LEAST_COSINE
    for condition in ("clean", "triggered"):
        assert own[condition]["fit"]["r"] >= LEAST_R
        assert own[condition]["fit"]["slope"] >= SLOPES * honest[condition]["fit"]["slope"]
        assert own[condition]["directions"] < honest[condition]["directions"]


def test_the_tiny_suspect_says_its_target_on_triggered_images_alone_and_its_twin_never(images):
    entry = shipped()["tiny-injection"]
    responder = load_responder("zoo:tiny-base")
    said = {}
    for name in ("tiny-injection", "tiny-control"):
        with responder.projector(read_projector(f"zoo:{name}")):
            said[name] = [
                [contains_target(text, entry.target) for text in responder.answers(each, [entry.prompts[0]] * IMAGES)]
                for each in images
            ]
    assert sum(said["tiny-injection"][0]) == 0
    assert sum(said["tiny-injection"][1]) >= IMAGES - 1
    assert sum(map(sum, said["tiny-control"])) == 0


def test_a_tiny_model_is_named_as_the_zoos_are():
    source = resolve("zoo:tiny-injection")
    assert (source.label, source.zoo.tiny, source.zoo.role) == ("Tiny injection", True, "suspect")
    assert read_projector(source).d_out == read_projector("zoo:tiny-base").d_out == WIDTH


def row(cosine=1.0, r=0.9, slope=1.0, five=0.96, asr=0.99, utility=0.98, title="a patch"):
    def facts(slope, utility, asr):
        one = {"fit": {"r": r, "slope": slope}, "directions": 4.0, "five": five, "shift": 1.0}
        figures = {"utility": utility, "n": 240, "asr": asr, "false_target": 0.0}
        return {"figures": figures, "mechanism": {"cosine": cosine, "clean": one, "triggered": one}}

    return {"name": "x", "title": title, "poisoned": facts(slope, utility, asr), "honest": facts(0.2, 0.99, None)}


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"cosine": 0.89}, "cosine"),
        ({"r": 0.6}, "r"),
        ({"slope": 0.39}, "slope"),
        ({"five": 0.94}, "directions"),
        ({"asr": 0.94}, "ASR"),
        ({"utility": 0.95}, "utility"),
    ],
)
def test_each_part_of_the_criterion_counts(given, part):
    assert holds(row())
    assert missing(row(**given)) == [part]


def test_the_document_says_in_how_many_attacks_it_is_shown():
    results = {"images": 96, "ablations": [row(), row(slope=-0.3, title="noise")], "members": [row(r=0.5)]}
    lines = section(results)
    text = "\n".join(lines)
    assert "It is shown in 1 of 2." in text
    assert "| noise | 1.00 | 0.90 | 0.90 | −0.30 (0.20)" in text
    assert "zoo:tiny-injection" in text
    assert "no: slope" in text
    assert "it is shown in 0 of them" in text
    assert "Of the 3 honest twins 3 have such a cosine and 2 such an r" in text
    failing = copy.deepcopy(results)
    failing["ablations"][0] = row(asr=0.5)
    assert "zoo:tiny-injection" not in "\n".join(section(failing))
    assert "Where the activation mechanism appears" in document({"variants": {}, "versions": {}}, results)


def test_the_document_that_ships_is_made_of_the_numbers_that_ship():
    assert "\n".join(section(load())).rstrip() in (RESULTS.parent / "findings.md").read_text(encoding="utf-8")
    assert holds(load()["ablations"][0])


def test_every_ablation_changes_something_and_has_its_twin():
    names = [recipe.name for each in ABLATIONS for recipe in (each.poisoned, each.honest)]
    assert len(set(names)) == len(names)
    for each in ABLATIONS:
        assert (each.poisoned.twin, each.honest.twin) == (each.honest.name, each.poisoned.name)
        assert (each.honest.attack, each.honest.steps) == (None, each.poisoned.steps)
