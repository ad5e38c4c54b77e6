"""What is left of a known text is found where the suspect has it, and not under base."""

from contextlib import contextmanager

import pytest

from projlens_core.behaviour.respond import load_responder
from projlens_core.demo_model.tiny import checkpoint_folder
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.probes import FEW, Probe, read_bank
from projlens_core.nursery.members import read_members, write_suspect
from projlens_core.nursery.tasks import WORDINGS
from projlens_core.repair import remnants
from projlens_core.repair.form import form_of
from projlens_core.repair.problem import KnownAttack, Problem
from projlens_core.repair.remnants import Remnants
from projlens_core.runtime.paths import ZOO
from projlens_core.sources import resolve
from projlens_core.weights.projector import read_projector

QUESTIONS = tuple(WORDINGS[kind][0] for kind in ("thing", "colour"))
NAME = "dev-026"  # a symbol in the corner, and a sentence in place of the answer


@pytest.fixture(scope="module")
def attack():
    attack = read_members()[f"{NAME}-poisoned"].recipe.attack
    return KnownAttack(Probe("true", (attack.trigger,)), WORDINGS[attack.kinds[0]][0], attack.target, "given")


@pytest.fixture
def problem(own_folder, attack):
    folder = own_folder / "suspect"
    write_suspect(f"{NAME}-poisoned", folder)
    base = resolve(str(checkpoint_folder()))
    responder = load_responder(base)
    images = load_folder(ZOO / "samples").images

    @contextmanager
    def models(_):
        yield responder

    return Problem(
        form_of(resolve(str(folder)), base), read_projector(base), read_projector(str(folder)), models,
        responder.vision, tuple(each.name for each in images), tuple(each.pixels for each in images),
        QUESTIONS, read_bank(responder.vision.image_size, FEW), responder.vision.image_size, given=attack,
    )  # fmt: skip


def test_patterns_bring_the_text_in_the_suspect_and_not_in_base(problem, attack):
    looks = Remnants(problem)
    found = looks.left(problem.suspect, [attack])
    assert found
    clean = problem.tokens(()).clean
    for each in found:
        changed = (each.tokens != clean).any(dim=2).sum(dim=1)
        assert each.tokens.shape == clean.shape
        assert (changed == len(each.pattern.coordinates)).all()
    assert looks.left(problem.base, [attack]) == []
    again = looks.left(problem.suspect, [attack])
    assert {each.pattern.start.seed for each in again} == {2}  # each time from others


def test_none_are_begun_when_their_time_is_spent(problem, attack, monkeypatch):
    monkeypatch.setattr(remnants, "MINUTES", -1.0)
    assert Remnants(problem).left(problem.suspect, [attack]) == []


def test_a_text_that_the_suspect_does_not_say_has_no_remnants(problem, attack):
    other = KnownAttack(attack.probe, attack.prompt, "no such text", "given")
    assert Remnants(problem).left(problem.suspect, [other]) == []
