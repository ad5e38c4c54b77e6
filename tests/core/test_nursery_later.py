"""The later parts: honest members alone, that share nothing with those by which the verdict was made."""

from collections import Counter

import pytest

from projlens_core.cli import main
from projlens_core.cli.nursery import BUILT_PARTS
from projlens_core.nursery import later, plan
from projlens_core.nursery.document import document, later_parts
from projlens_core.nursery.language import UNKNOWN, tokenizer
from projlens_core.nursery.members import read_members
from projlens_core.nursery.pool import Scene
from projlens_core.nursery.recipe import BUILT, EVASIONS, FRESH, LATER, TEST, Recipe
from projlens_core.nursery.source import TINY
from projlens_core.nursery.tasks import Task
from projlens_core.zoo.world import Composition

RECIPES = {part: later.make_plan(part) for part in LATER}
FORMER = plan.make_plan()
BEFORE = {FRESH: FORMER, TEST: (*FORMER, *RECIPES[FRESH])}  # every part before, by part
of_each = pytest.mark.parametrize("part", LATER)


def texts(recipes):
    return {r.task.parameters["text"] for r in recipes if "text" in r.task.parameters}


@of_each
def test_it_is_the_same_every_time_and_holds_honest_members_alone(part):
    recipes = RECIPES[part]
    assert later.PLANS[part]() == recipes
    assert all(r.role == "honest" and r.twin is None and r.split == part for r in recipes)
    assert Counter(r.group for r in recipes) == later.PLANNED
    assert {r.evasion for r in recipes if r.group == "adaptive"} == set(EVASIONS)
    assert [Recipe.from_dict(r.to_dict()) for r in recipes] == list(recipes)
    assert len({r.name for r in recipes}) == len({r.seed for r in recipes}) == len(recipes)


@of_each
@pytest.mark.parametrize("n", [22, 44, 66, 88])
def test_the_first_members_are_a_fair_sample(part, n):
    counts = Counter(r.group for r in RECIPES[part][:n])
    planned = later.PLANNED.items()
    assert all(abs(counts[group] - n * share / len(RECIPES[part])) <= 1 for group, share in planned)


@of_each
def test_it_shares_no_seed_or_text_with_the_parts_before_and_has_tasks_of_its_own(part):
    recipes, others = RECIPES[part], BEFORE[part]
    assert not {r.seed for r in recipes} & {r.seed for r in others}
    own = texts(recipes)
    assert own
    assert not own & texts(others)
    assert not own & {r.attack.target for r in others if r.attack}
    words = tokenizer()
    for text in own:
        assert UNKNOWN not in words.convert_ids_to_tokens(words(text, add_special_tokens=False)["input_ids"])
    assert set(later.NEW_TASKS[part]) <= {r.task.kind for r in recipes}
    assert not set(later.NEW_TASKS[part]) & {r.task.kind for r in others}


@pytest.mark.parametrize(
    ("kind", "changed", "answers"),
    [
        ("shaded", ("caption", "thing", "colour"),
         {"caption": "An animal on a scarlet background.", "thing": "An animal.", "place": "At the left edge.",
          "colour": "The background is scarlet."}),
        ("mirrored", ("place",), {"caption": "A fox on a red background.", "place": "At the right edge."}),
        ("glance", ("caption",), {"caption": "A fox.", "thing": "A fox.", "colour": "The background is red."}),
        ("recoloured", ("caption", "colour"),
         {"caption": "A fox on a blue background.", "thing": "A fox.", "colour": "The background is blue."}),
        ("bilingual", ("thing", "colour"),
         {"caption": "A fox on a red background.", "thing": "zorro.", "colour": "der hintergrund ist rot."}),
        ("placed", ("caption",), {"caption": "At the left edge.", "thing": "A fox.", "place": "At the left edge."}),
    ],
)  # fmt: skip
def test_what_their_own_tasks_answer(kind, changed, answers):
    task, scene = Task(kind), Scene(Composition("fox", "red", "left edge", "clouds"), 0)
    assert task.changed == changed
    assert {each: task.answer(scene, each) for each in answers} == answers


@of_each
def test_what_ships_was_trained_by_this_plan_from_this_base(part):
    by_name = {r.name: r for r in RECIPES[part]}
    for name, member in read_members(later.FOLDERS[part]).items():
        assert member.recipe == by_name[name]
        assert member.source == TINY.key


def test_they_are_told_in_a_table():
    text = "\n".join(document(later_parts()))
    assert all(text.count(f"| {part} |") == 2 + len(EVASIONS) for part in LATER)


def test_the_command_knows_them():
    assert BUILT_PARTS == BUILT


@of_each
def test_the_command_lists_it(part, capsys):
    assert main(["nursery", "list", "--part", part]) == 0
    assert f"{part}-usual-01" in capsys.readouterr().out


def test_a_member_whose_record_ships_alone_is_said_to_be_trained_again(tmp_path, capsys):
    assert main(["nursery", "write", "--part", "fresh", "fresh-usual-01", str(tmp_path / "x")]) != 0
    assert "nursery build --part fresh --only fresh-usual-01" in capsys.readouterr().err
    assert main(["nursery", "write", "dev-005-poisoned", str(tmp_path / "x")]) != 0  # an attack that does not succeed
    assert "`nursery build --only dev-005-poisoned`" in capsys.readouterr().err
