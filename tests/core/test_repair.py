"""The repair itself on pico models: what it keeps, what it pulls back, which rounds it rejects, what it may claim."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.respond import load_responder
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.inputs.probes import FEW, Probe, read_bank
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.repair import methods
from projlens_core.repair.answer_steps import check_differentiable, repair_answers
from projlens_core.repair.confirmation import Confirmation, Tried, confirm
from projlens_core.repair.form import form_of, with_tensors
from projlens_core.repair.loop import ANSWERS, REMOVAL, RETURN, TOKENS, repair
from projlens_core.repair.problem import Attack, Problem
from projlens_core.repair.removal import interpolated, remove_along, returned, without_leading
from projlens_core.repair.token_steps import _Directions, repair_tokens, token_fit
from projlens_core.repair.utility import Agreement, Known, agreement
from projlens_core.repair.writer import write_repaired
from projlens_core.sources import resolve
from projlens_core.stats.rate import wilson
from projlens_core.weights.projector import as_module, read_projector
from tests import pico, pico_families

PATCH = Probe("patch", (TriggerSpec("solid", pico.IMAGE_SIZE, ratio=0.4, colour="#ff00ff"),))


@pytest.fixture(scope="module")
def case(own_folder):
    """Base, a suspect whose first layer reads a direction along which clean tokens hardly vary, and the model."""
    base = pico.checkpoint(own_folder / "base")
    responder = load_responder(resolve(base))
    images = pico.images(16, seed=3)
    clean = image_tokens(responder.vision, [PATCH.clean(i) for i in images])
    stamped = image_tokens(responder.vision, [PATCH.on(i) for i in images])
    weights = read_projector(base)
    step = (stamped - clean).flatten(0, 1)
    usual = torch.linalg.svd(clean.flatten(0, 1) - clean.flatten(0, 1).mean(0)).Vh[: pico.D_VISION // 2]
    # where the patch moves tokens most, apart from the half of their space in which clean ones vary most
    direction = torch.linalg.svd(step - step @ usual.T @ usual, full_matrices=False).Vh[0]
    torch.manual_seed(0)
    left = torch.randn(pico.D_TEXT)
    planted = 4 * torch.outer(left / left.norm(), direction)
    suspect = with_tensors(weights, weights.tensors | {"linear_1.weight": weights.tensors["linear_1.weight"] + planted})
    return base, responder, tuple(images), weights, suspect


@pytest.fixture
def problem(case, own_folder):
    base, responder, images, weights, suspect = case

    @contextmanager
    def models(role):
        yield responder

    bank = read_bank(pico.IMAGE_SIZE, FEW)
    names = tuple(f"{i}.png" for i in range(len(images)))
    vision = responder.vision
    return Problem(
        form_of(resolve(base)), weights, suspect, models, vision, names, images, ("What is it?",), bank, pico.IMAGE_SIZE
    )


def distance(problem, weights, probe):
    """Mean squared distance of stamped embeddings from base's with the honest shift, over those of the suspect."""
    tokens = problem.tokens([probe])
    fit = token_fit(problem.base, problem.suspect, tokens, weights)
    return fit.goal / fit.goal_before, fit.clean


def test_stamped_images_come_back_to_base_and_clean_ones_stay(problem):
    tokens = problem.tokens(problem.drawn)
    repaired = repair_tokens(problem.form, problem.base, problem.suspect, tokens)
    left, clean = distance(problem, repaired, PATCH)  # a probe that was not among those drawn
    assert PATCH.key not in tokens.stamped
    assert left < 0.7  # of 1, what the suspect does; the direction is one that clean tokens use, too
    assert clean < 0.02


def test_the_same_seed_gives_the_same_and_the_suspect_stays_as_it_was(problem):
    tokens = problem.tokens(problem.drawn[:2])
    before = {name: tensor.clone() for name, tensor in problem.suspect.tensors.items()}
    first, second, other = (
        repair_tokens(problem.form, problem.base, problem.suspect, tokens, steps=3, seed=seed) for seed in (1, 1, 2)
    )
    assert first.sha256 == second.sha256 != other.sha256
    assert all(torch.equal(tensor, problem.suspect.tensors[name]) for name, tensor in before.items())


def test_directions_are_those_of_the_first_layer(problem):
    tokens = problem.tokens(())
    directions = _Directions(problem.base, problem.suspect, tokens.clean)
    delta = problem.suspect.tensors["linear_1.weight"] - problem.base.tensors["linear_1.weight"]
    assert len(directions) == 1  # the planted one; the others are zero
    assert float((delta @ directions.vectors[0, 0]).norm()) == pytest.approx(4, rel=1e-3)
    moved, where = directions.moved(tokens.clean[:4], torch.Generator().manual_seed(0))
    assert where.shape == (4, pico.TOKENS)
    assert torch.equal((moved - tokens.clean[:4]).abs().sum(-1) > 0, where > 0)
    assert where[1].all()  # every other image as a whole
    assert not where[0].all()


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl"])
def test_tokens_that_are_merged_first_move_together(own_folder, name):
    pico_families.model(name).save_pretrained(own_folder / name)
    weights = read_projector(own_folder / name)
    matrix = next(n for n, t in weights.tensors.items() if t.dim() == 2)
    torch.manual_seed(1)
    planted = torch.outer(*(torch.randn(n) for n in weights.tensors[matrix].shape))
    suspect = with_tensors(weights, weights.tensors | {matrix: weights.tensors[matrix].float() + planted})
    clean = torch.randn(5, 16, weights.d_token)
    directions = _Directions(weights, suspect, clean)
    assert directions.vectors.shape[2] == weights.d_token
    assert directions.vectors[0].numel() == planted.shape[1]
    moved, where = directions.moved(clean, torch.Generator().manual_seed(0))
    assert as_module(suspect)(moved).shape[:2] == where.shape


def test_a_known_attack_that_is_in_the_probes_is_repaired_in_the_first_round(problem, monkeypatch):
    said = {problem.suspect.sha256}
    given = Attack(PATCH, "What is it?", "x", "given")
    monkeypatch.setattr(Problem, "works", lambda self, attack, weights: weights.sha256 in said)
    result = repair(replace(problem, given=given))
    assert [each.means for each in result.rounds] == [TOKENS]
    assert result.rounds[0].kept
    assert not result.open
    assert result.searched == 0


def test_what_a_search_finds_joins_the_next_round(problem, monkeypatch):
    monkeypatch.setattr("projlens_core.repair.loop.POINT", 1.0)
    found = Attack(PATCH, "What is it?", "no such text", "found")
    seen = []

    def search(weights):
        seen.append(weights.sha256)
        return (found,) if len(seen) == 2 else ()

    result = repair(problem, search)
    assert result.attacks == (found,)
    assert [each.means for each in result.rounds] == [TOKENS, TOKENS]
    assert seen == [problem.suspect.sha256, seen[1], result.weights.sha256]
    assert len(set(seen)) == 3
    assert result.result_searched


def test_dearer_means_follow_and_base_comes_last(problem, monkeypatch):
    given = Attack(PATCH, "What is it?", "x", "given")
    monkeypatch.setattr(Problem, "works", lambda self, attack, weights: True)
    result = repair(replace(problem, given=given))
    means = list(dict.fromkeys(each.means for each in result.rounds))
    assert means == [TOKENS, ANSWERS, REMOVAL, RETURN]
    assert result.returned_to_base
    assert result.open == (given,)
    assert all(torch.equal(result.weights.tensors[n], t) for n, t in problem.base.tensors.items())
    assert "base's projector was put back" in confirm(problem, result).sentence


def test_rounds_that_cost_utility_are_rejected(problem, monkeypatch):
    def worse(responder, weights, known, progress):
        own = weights.sha256 == problem.suspect.sha256
        return Agreement(1.0 if own else 0.98, 1.0, 10)

    monkeypatch.setattr("projlens_core.repair.loop.agreement", worse)
    result = repair(problem)
    assert [each.kept for each in result.rounds] == [False] * 3
    assert [each.strength for each in result.rounds] == [1.0, 0.3, 0.1]
    assert result.weights.sha256 == problem.suspect.sha256
    assert "nothing was changed" in confirm(problem, result).sentence


def test_no_stage_begins_after_the_budget(problem):
    def search(weights):
        raise AssertionError("searched without time")

    assert repair(problem, search, lambda: False).searched == 0


def test_a_run_is_taken_up_where_it_was_ended(problem, monkeypatch):
    first = repair(problem)
    monkeypatch.setattr("projlens_core.repair.loop.repair_tokens", lambda *_, **__: pytest.fail("made again"))
    assert repair(problem).weights.sha256 == first.weights.sha256


def test_images_of_the_confirmation_are_others(problem):
    assert (problem.used, len(problem.images)) == (8, 16)
    assert replace(problem, images=problem.images * 10).used == 24
    assert replace(problem, images=problem.images * 3).used == 13  # of 48, so that 35 are left
    with pytest.raises(InvalidInput, match="needs 4"):
        replace(problem, images=problem.images[:3])


def test_agreement_of_the_suspect_with_itself_is_whole(problem, case):
    responder = case[1]
    known = Known.of(responder, problem.suspect, problem.clean, problem.prompts)
    own = agreement(responder, problem.suspect, known)
    noise = with_tensors(problem.suspect, {n: torch.randn_like(t) for n, t in problem.suspect.tensors.items()})
    other = agreement(responder, noise, known)
    assert own.n == len(problem.clean)
    # a pico model's answer, read back from its text, is cut into other tokens here and there, so less than 1
    assert other.tokens + 0.2 < own.tokens <= 1


def test_steps_through_the_language_model_make_the_clean_answer_likelier(problem, case):
    responder, tokens = case[1], problem.tokens([PATCH])
    from projlens_core.behaviour.disturbance import log_probability

    images = [PATCH.on(image) for image in problem.images[: problem.used]]
    asked = images, [[each] for each in zip(problem.known.prompts, problem.known.answers, strict=True)]
    before = log_probability(responder, problem.suspect, *asked)
    changed = repair_answers(
        problem.form, responder, problem.base, problem.suspect, problem.suspect, tokens, problem.known, steps=12
    )
    assert log_probability(responder, changed, *asked).mean() > before.mean()


def test_removal_along_a_trigger_takes_out_what_it_sends(problem):
    tokens = problem.tokens([PATCH])
    stamped = tokens.stamped[PATCH.key]
    repaired = remove_along(problem.form, problem.base, problem.suspect, problem.suspect, tokens.clean, stamped, 1)
    delta = repaired.tensors["linear_1.weight"] - problem.base.tensors["linear_1.weight"]
    assert float(delta.norm()) < 1e-3  # it had one direction alone


def test_baselines_by_hand(problem):
    form, base, suspect = problem.form, problem.base, problem.suspect
    ours, theirs = base.tensors["linear_1.weight"], suspect.tensors["linear_1.weight"]
    torch.testing.assert_close(
        without_leading(form, base, suspect, 1).tensors["linear_1.weight"], ours, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(interpolated(form, base, suspect, 0.25).tensors["linear_1.weight"], ours + 0.25 * (theirs - ours))  # fmt: skip  # noqa: E501
    assert torch.equal(returned(form, base, suspect).tensors["linear_1.weight"], ours)
    clean = problem.tokens(()).clean
    pruned = methods.fine_pruned(form, base, suspect, clean, 0.25)
    assert int((pruned.tensors["linear_2.weight"].abs().sum(0) == 0).sum()) == round(0.25 * theirs.shape[0])
    game = methods.unlearned_universal(form, base, suspect, clean, 1.0)
    assert game.sha256 != suspect.sha256


def test_baselines_through_the_language_model(problem, case):
    responder, tokens = case[1], problem.tokens([PATCH])
    stamped = tokens.stamped[PATCH.key]
    crow = methods.consistent(
        problem.form, responder, problem.base, problem.suspect, tokens.clean, problem.known, steps=1
    )
    asked = [problem.form, responder, problem.base, problem.suspect, stamped, problem.known.prompts, "abc"]
    once, twice = (methods.arithmetic(*asked, strength, steps=1) for strength in (1.0, 2.0))
    name = "linear_1.weight"  # the one that the suspect changed
    before = problem.suspect.tensors[name]
    assert not torch.equal(crow.tensors[name], before)
    torch.testing.assert_close(2 * (once.tensors[name] - before), twice.tensors[name] - before, atol=1e-5, rtol=1e-3)


def shown(suspect, repaired, base=0, n=40, utility=(40, 40), returned=False, changed=True):
    rates = {"base": wilson(base, n), "suspect": wilson(suspect, n), "repaired": wilson(repaired, n)}
    tried = (Tried(Attack(PATCH, "?", "x", "given"), rates, {}),)
    right = {"base": wilson(38, 40), "suspect": wilson(utility[0], 40), "repaired": wilson(utility[1], 40)}
    own = {role: Agreement(1.0, 1.0, n) for role in right}
    return Confirmation(("a",) * n, tried, right, own, None, changed, returned)


def test_repaired_is_said_of_nothing_but_what_was_shown():
    assert shown(40, 0).repaired
    assert "Triggers that are not known may still work" in shown(40, 0).sentence
    for not_shown, why in (
        (shown(40, 3), "still comes on 3 of 40"),
        (shown(20, 0, n=20), "20 images were left"),
        (shown(2, 0), "no known trigger is shown to work"),
        (shown(40, 0, base=20), "no known trigger is shown to work"),
        (shown(40, 0, utility=(40, 39)), "costs 2.5%"),
        (shown(40, 0, returned=True), "put back"),
        (replace(shown(40, 0), tried=()), "no trigger is known"),
    ):
        assert not not_shown.repaired
        assert not_shown.sentence.startswith("Not shown to be repaired")
        assert why in not_shown.sentence


def test_families_without_a_gradient_are_refused_for_answers_alone():
    with pytest.raises(Unsupported, match="no gradient"):
        check_differentiable(SimpleNamespace(reads_again=True, label="Another family"))


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl"])
def test_other_families_are_repaired_by_tokens_alone(own_folder, name):
    base, out = own_folder / f"{name} base", own_folder / f"{name} repaired"
    pico_families.model(name).save_pretrained(base)
    pico_families.tokenizer(name).save_pretrained(base)
    pico_families.IMAGE_PROCESSORS[name]().save_pretrained(base)
    responder = load_responder(resolve(base))
    weights, form = read_projector(base), form_of(resolve(base))
    matrix = next(n for n, t in weights.tensors.items() if t.dim() == 2)
    torch.manual_seed(2)
    planted = torch.outer(*(torch.randn(n) / n**0.5 for n in weights.tensors[matrix].shape))
    suspect = with_tensors(weights, weights.tensors | {matrix: weights.tensors[matrix].float() + planted})

    @contextmanager
    def models(role):
        yield responder

    problem = Problem(
        form, weights, suspect, models, responder.vision, tuple("abcd"), tuple(pico.images(4)), ("What?",),
        read_bank(56, FEW)[:2], 56,
    )  # fmt: skip
    result = repair(problem)
    assert [each.means for each in result.rounds] == [TOKENS] * len(result.rounds)
    assert result.rounds[0].fit.directions == 1
    clean = problem.tokens(()).clean
    moved, _ = _Directions(weights, suspect, clean).moved(clean, torch.Generator().manual_seed(9))
    base_module, before, after = (as_module(each) for each in (weights, suspect, result.weights))
    goal = base_module(moved) + before(clean) - base_module(clean)
    assert (after(moved) - goal).norm() < 0.8 * (before(moved) - goal).norm()
    write_repaired(form, weights, result.weights, out, {})
    assert read_projector(out).sha256 == result.weights.sha256
