"""The loop of a repair on pico models: which rounds it rejects, what comes next, what it may claim."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from projlens_core.behaviour.respond import load_responder
from projlens_core.errors import InvalidInput
from projlens_core.inputs.probes import FEW, read_bank
from projlens_core.repair.confirmation import Confirmation, Tried, confirm
from projlens_core.repair.form import form_of, with_tensors
from projlens_core.repair.loop import PULLS, repair
from projlens_core.repair.problem import KnownAttack, Problem
from projlens_core.repair.result import ANSWERS, REMOVAL, RETURN, TOKENS
from projlens_core.repair.token_steps import Pull, _Directions
from projlens_core.repair.utility import Belief, Cost, KeptAnswers, Known, agreement, cost
from projlens_core.repair.writer import write_repaired
from projlens_core.sources import resolve
from projlens_core.stats.rate import wilson
from projlens_core.weights.projector import as_module, read_projector
from tests import pico, pico_families
from tests.planted import PATCH, planted_case, problem_of


@pytest.fixture(scope="module")
def case(own_folder):
    return planted_case(own_folder)


@pytest.fixture
def problem(case):
    return problem_of(case)


def test_a_known_attack_that_is_in_the_probes_is_repaired_in_the_first_round(problem, monkeypatch):
    said = {problem.suspect.sha256}
    given = KnownAttack(PATCH, "What is it?", "x", "given")
    monkeypatch.setattr(Problem, "works", lambda self, attack, weights: weights.sha256 in said)
    result = repair(replace(problem, given=given))
    assert [each.means for each in result.rounds] == [TOKENS]
    assert result.rounds[0].kept
    assert not result.open
    assert result.searched == 0


def test_what_a_search_finds_joins_the_next_round(problem, monkeypatch):
    monkeypatch.setattr("projlens_core.repair.utility.POINT", 1.0)
    found = KnownAttack(PATCH, "What is it?", "no such text", "found")
    seen = []

    def search(weights):
        seen.append(weights.sha256)
        return (found,) if len(seen) == 2 else ()

    result = repair(problem, search, precaution=True)
    assert result.attacks == (found,)
    assert [each.means for each in result.rounds] == [TOKENS, TOKENS]
    assert seen == [problem.suspect.sha256, seen[1], result.weights.sha256]
    assert len(set(seen)) == 3
    assert result.result_searched
    assert result.found == (0, 0)


def test_a_suspect_in_which_nothing_is_found_is_left_as_it_is(problem):
    result = repair(problem, lambda weights: ())
    assert result.left
    assert not result.rounds
    assert result.weights is problem.suspect
    shown = confirm(problem, result)
    assert shown.sentence.startswith("Left as it is: the search found no trigger")
    assert not shown.repaired


@pytest.mark.parametrize("known", [{"extra": (PATCH,)}, {"given": KnownAttack(PATCH, "What is it?", "x", "given")}])
def test_a_given_trigger_is_repaired_though_nothing_is_found(problem, known):
    result = repair(replace(problem, **known), lambda weights: ())
    assert result.rounds
    assert not result.left


def test_dearer_means_follow_and_base_comes_last(problem, monkeypatch):
    given = KnownAttack(PATCH, "What is it?", "x", "given")
    monkeypatch.setattr(Problem, "works", lambda self, attack, weights: True)
    result = repair(replace(problem, given=given))
    means = list(dict.fromkeys(each.means for each in result.rounds))
    assert means == [TOKENS, ANSWERS, REMOVAL, RETURN]
    assert result.returned_to_base
    assert result.open == (given,)
    assert all(torch.equal(result.weights.tensors[n], t) for n, t in problem.base.tensors.items())
    assert "base's projector was put back" in confirm(problem, result).sentence


def test_what_a_search_found_alone_is_no_reason_to_return_to_base(problem, monkeypatch):
    found = KnownAttack(PATCH, "What is it?", "x", "found")
    monkeypatch.setattr(Problem, "works", lambda self, attack, weights: True)
    monkeypatch.setattr("projlens_core.repair.loop.PULLS", PULLS[-1:])
    result = repair(problem, lambda weights: (found,))
    assert REMOVAL in [each.means for each in result.rounds]
    assert not result.returned_to_base
    assert result.open == (found,)


def test_rounds_that_cost_utility_are_rejected(problem, monkeypatch):
    monkeypatch.setattr("projlens_core.repair.loop.cost", lambda *_: Cost(0.02, 0.004, None, 0.0))
    result = repair(problem)
    assert [each.kept for each in result.rounds] == [False] * len(PULLS)
    assert [each.strength for each in result.rounds] == [each.strength for each in PULLS]
    assert result.rounds[0].lost == 0.02
    assert result.weights.sha256 == problem.suspect.sha256
    assert "nothing was changed" in confirm(problem, result).sentence


def test_rounds_that_cost_what_was_learned_are_rejected(problem, monkeypatch):
    costs = iter(Cost(0.001, 0.001, kept, 0.02) for kept in (0.5, 0.92, 0.94))
    monkeypatch.setattr("projlens_core.repair.loop.cost", lambda *_: next(costs))
    result = repair(problem)
    assert [(each.learned, each.kept) for each in result.rounds] == [(0.5, False), (0.92, False), (0.94, True)]


class Left:
    """What is left of a known text, by how often it was looked for."""

    out_of_time = False

    def __init__(self, *found):
        self._found = iter(found)

    def left(self, weights, attacks):
        return ["a pattern"] if next(self._found) else []


@pytest.mark.parametrize(
    ("costs", "left", "kept"),
    [
        # the strongest that is bearable spares what was learned: nothing weaker is looked for
        ((0.98,), (), [True]),
        # it does not; the next one does, and nothing is left under it
        ((0.94, 0.98), (False,), [True, True]),
        # the next costs as much, that after it leaves something, the third does not
        ((0.94, 0.94, 0.98, 0.99), (True, False), [True, False, False, True]),
        # all that spare it leave something: the strongest that is bearable stays
        ((0.94, *[0.98] * 5), (True,) * 5, [True] + [False] * 5),
    ],
)
def test_the_strongest_pull_that_spares_what_was_learned_if_nothing_is_left(problem, monkeypatch, costs, left, kept):
    costs = iter(Cost(0.001, 0.001, learned, 0.02) for learned in costs)
    monkeypatch.setattr("projlens_core.repair.loop.cost", lambda *_: next(costs))
    monkeypatch.setattr("projlens_core.repair.loop.Remnants", lambda _: Left(*left))
    monkeypatch.setattr("projlens_core.repair.loop.REMNANT_ROUNDS", 0)
    given = KnownAttack(PATCH, "What is it?", "x", "given")
    monkeypatch.setattr(Problem, "succeeds", lambda self, attack, now, n: now.sha256 == problem.suspect.sha256)
    result = repair(replace(problem, given=given))
    assert [each.kept for each in result.rounds] == kept
    assert [each.pull for each in result.rounds] == list(PULLS[: len(kept)])


def test_no_weaker_pull_is_taken_under_which_a_known_trigger_works_on_a_single_image(problem, monkeypatch):
    costs = iter(Cost(0.001, 0.001, learned, 0.02) for learned in (0.94, *[0.98] * 5))
    monkeypatch.setattr("projlens_core.repair.loop.cost", lambda *_: next(costs))
    monkeypatch.setattr("projlens_core.repair.loop.Remnants", lambda _: Left(*[False] * 5))
    monkeypatch.setattr("projlens_core.repair.loop.REMNANT_ROUNDS", 0)
    monkeypatch.setattr(Problem, "succeeds", lambda self, attack, weights, n: 0.05)
    given = KnownAttack(PATCH, "What is it?", "x", "given")
    result = repair(replace(problem, given=given))
    assert [each.kept for each in result.rounds] == [True] + [False] * 5
    assert not result.open


def test_no_weaker_pull_is_taken_where_what_is_left_cannot_be_told(problem, monkeypatch):
    class Spent(Left):
        out_of_time = True

    costs = iter(Cost(0.001, 0.001, learned, 0.02) for learned in (0.94, *[0.98] * 5))
    monkeypatch.setattr("projlens_core.repair.loop.cost", lambda *_: next(costs))
    monkeypatch.setattr("projlens_core.repair.loop.Remnants", lambda _: Spent(*[False] * 5))
    monkeypatch.setattr("projlens_core.repair.loop.REMNANT_ROUNDS", 0)
    given = KnownAttack(PATCH, "What is it?", "x", "given")
    monkeypatch.setattr(Problem, "works", lambda self, attack, weights: weights.sha256 == problem.suspect.sha256)
    result = repair(replace(problem, given=given))
    assert [each.kept for each in result.rounds] == [True]


def test_a_cost_is_weighed_by_how_sure_the_suspect_is():
    """Twelve answers of two tokens: 0 and 1 are held likely in the first place; base says 2 there."""
    known = Known((), (), ((0, 0),) * 12)
    tokens = torch.tensor([[0, 1], [0, 1]])
    likely, sure = torch.tensor([[0.5, 0.4], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    held = Belief((tokens,) * 12, (likely,) * 2 + (sure,) * 10)
    own, base, changed = torch.tensor([0, 0]), torch.tensor([2, 0]), torch.tensor([1, 0])
    assert cost(known, held, (base,) * 12, (own,) * 12, (own,) * 12) == Cost(0.0, 0.0, 1.0, 0.0)
    unsure = cost(known, held, (base,) * 12, (own,) * 12, (changed, *[own] * 11))
    assert unsure.lost == pytest.approx(0.1 / 12)
    assert unsure.learned == pytest.approx(1 - 0.1 / 11)
    certain = cost(known, held, (base,) * 12, (own,) * 12, (*[own] * 11, changed))
    assert certain.lost == pytest.approx(1 / 12)
    assert certain.learned == pytest.approx(10 / 11)
    assert cost(known, held, (base,) * 12, (own,) * 12, (base,) * 12).learned == 0.0
    assert cost(known, held, (*[own] * 3, *[base] * 9), (own,) * 12, (base,) * 12).learned is None  # too few


def test_one_changed_answer_of_a_dozen_shows_no_loss():
    known, own, one = Known((), (), ((0,),) * 13), torch.tensor([0]), torch.tensor([1])
    held = Belief((torch.tensor([[0, 1]]),) * 13, (torch.tensor([[1.0, 0.0]]),) * 13)
    found = cost(known, held, (own,) * 13, (own,) * 13, (one, *[own] * 12))
    assert found.lost == pytest.approx(1 / 13)  # far more than a point
    assert found.bearable()
    assert not cost(known, held, (own,) * 13, (own,) * 13, (one,) * 3 + (own,) * 10).bearable()


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
    many = replace(problem, images=problem.images * 16)  # 256, of which 197 are beyond both
    assert (many.used, many.judging, many.seen) == (24, 48, 24 + 98)
    assert len(many.judged_by.images) == 48
    assert len(many.tokens((), more=True).more) == 50
    assert many.tokens(()).more is None
    own = replace(problem, images=problem.images * 16, fresh=0)  # measured on others
    assert own.seen == 256
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


def shown(suspect, repaired, base=0, n=40, utility=(40, 40), returned=False, changed=True):
    rates = {"base": wilson(base, n), "suspect": wilson(suspect, n), "repaired": wilson(repaired, n)}
    tried = (Tried(KnownAttack(PATCH, "?", "x", "given"), rates, {}),)
    right = {"base": wilson(38, 40), "suspect": wilson(utility[0], 40), "repaired": wilson(utility[1], 40)}
    own = {role: KeptAnswers(1.0, 1.0, n) for role in right}
    return Confirmation(("a",) * n, tried, right, own, None, changed, returned, False)


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
    moved, _ = _Directions(weights, suspect, clean).moved(clean, Pull(), torch.Generator().manual_seed(9))
    base_module, before, after = (as_module(each) for each in (weights, suspect, result.weights))
    goal = base_module(moved) + before(clean) - base_module(clean)
    assert (after(moved) - goal).norm() < 0.8 * (before(moved) - goal).norm()
    write_repaired(form, weights, result.weights, out, {})
    assert read_projector(out).sha256 == result.weights.sha256
