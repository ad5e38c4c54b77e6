"""One step of a repair on pico models: what it keeps, what it pulls back; and the methods it is compared with."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from projlens_core.activations.tokens import image_tokens
from projlens_core.errors import Unsupported
from projlens_core.repair import methods
from projlens_core.repair.answer_steps import check_differentiable, repair_answers
from projlens_core.repair.form import with_tensors
from projlens_core.repair.removal import interpolated, remove_along, returned, without_leading
from projlens_core.repair.token_steps import Pull, _Directions, repair_tokens, token_fit
from projlens_core.weights.projector import as_module, read_projector
from tests import pico, pico_families
from tests.planted import PATCH, planted_case, problem_of


@pytest.fixture(scope="module")
def case(own_folder):
    return planted_case(own_folder)


@pytest.fixture
def problem(case):
    return problem_of(case)


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


def test_further_clean_images_are_kept_too(problem):
    tokens = problem.tokens(problem.drawn)
    more = image_tokens(problem.vision, pico.images(24, seed=9))
    wanted = as_module(problem.suspect)(more)

    def lost(given):
        repaired = repair_tokens(problem.form, problem.base, problem.suspect, given)
        return float((as_module(repaired)(more) - wanted).pow(2).mean())

    assert lost(replace(tokens, more=more)) < 0.8 * lost(tokens)


def test_a_pull_that_spares_the_reach_of_clean_images_moves_tokens_beyond_it(problem):
    clean = problem.tokens(()).clean
    directions = _Directions(problem.base, problem.suspect, clean)
    moved, where = directions.moved(clean, Pull(near=0.0, beyond=3.0), torch.Generator().manual_seed(0))
    by = ((moved - clean) @ directions.vectors[0, 0] / (clean @ directions.vectors[0, 0]).std())[where > 0].abs()
    assert float(by.min()) > 3 - 1e-3
    assert float(by.max()) < 8 + 1e-3


def test_directions_are_those_of_the_first_layer(problem):
    tokens = problem.tokens(())
    directions = _Directions(problem.base, problem.suspect, tokens.clean)
    delta = problem.suspect.tensors["linear_1.weight"] - problem.base.tensors["linear_1.weight"]
    assert len(directions) == 1  # the planted one; the others are zero
    assert float((delta @ directions.vectors[0, 0]).norm()) == pytest.approx(4, rel=1e-3)
    moved, where = directions.moved(tokens.clean[:4], Pull(), torch.Generator().manual_seed(0))
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
    moved, where = directions.moved(clean, Pull(), torch.Generator().manual_seed(0))
    assert as_module(suspect)(moved).shape[:2] == where.shape


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


def test_families_without_a_gradient_are_refused_for_answers_alone():
    with pytest.raises(Unsupported, match="no gradient"):
        check_differentiable(SimpleNamespace(reads_again=True, label="Another family"))
