"""The fresh part: honest members alone, that share nothing with those by which the verdict was made."""

from collections import Counter

import pytest

from projlens_core.cli import main
from projlens_core.nursery import fresh, plan
from projlens_core.nursery.document import Population, document
from projlens_core.nursery.language import UNKNOWN, tokenizer
from projlens_core.nursery.members import read_members
from projlens_core.nursery.pool import Scene
from projlens_core.nursery.recipe import EVASIONS, Recipe
from projlens_core.nursery.source import TINY
from projlens_core.nursery.tasks import Task
from projlens_core.zoo.world import Composition

RECIPES = fresh.make_plan()
OTHERS = plan.make_plan()


def test_it_is_the_same_every_time_and_holds_honest_members_alone():
    assert fresh.make_plan() == RECIPES
    assert all(r.role == "honest" and r.twin is None for r in RECIPES)
    assert Counter(r.group for r in RECIPES) == fresh.PLANNED
    assert {r.evasion for r in RECIPES if r.group == "adaptive"} == set(EVASIONS)
    assert [Recipe.from_dict(r.to_dict()) for r in RECIPES] == list(RECIPES)
    assert len({r.name for r in RECIPES}) == len({r.seed for r in RECIPES}) == len(RECIPES)


@pytest.mark.parametrize("n", [22, 44, 66, 88])
def test_the_first_members_are_a_fair_sample(n):
    counts = Counter(r.group for r in RECIPES[:n])
    assert all(abs(counts[group] - n * planned / len(RECIPES)) <= 1 for group, planned in fresh.PLANNED.items())


def test_it_shares_no_seed_or_text_with_the_other_parts_and_has_tasks_of_its_own():
    assert not {r.seed for r in RECIPES} & {r.seed for r in OTHERS}
    texts = {r.task.parameters["text"] for r in RECIPES if "text" in r.task.parameters}
    assert texts
    assert not texts & {r.task.parameters["text"] for r in OTHERS if "text" in r.task.parameters}
    assert not texts & {r.attack.target for r in OTHERS if r.attack}
    words = tokenizer()
    for text in texts:
        assert UNKNOWN not in words.convert_ids_to_tokens(words(text, add_special_tokens=False)["input_ids"])
    assert set(fresh.NEW_TASKS) <= {r.task.kind for r in RECIPES}
    assert not set(fresh.NEW_TASKS) & {r.task.kind for r in OTHERS}


@pytest.mark.parametrize(
    ("kind", "changed", "answers"),
    [
        ("shaded", ("caption", "thing", "colour"),
         {"caption": "An animal on a scarlet background.", "thing": "An animal.", "place": "At the left edge.",
          "colour": "The background is scarlet."}),
        ("mirrored", ("place",), {"caption": "A fox on a red background.", "place": "At the right edge."}),
        ("glance", ("caption",), {"caption": "A fox.", "thing": "A fox.", "colour": "The background is red."}),
    ],
)  # fmt: skip
def test_what_its_own_tasks_answer(kind, changed, answers):
    task, scene = Task(kind), Scene(Composition("fox", "red", "left edge", "clouds"), 0)
    assert task.changed == changed
    assert {each: task.answer(scene, each) for each in answers} == answers


def test_what_ships_was_trained_by_this_plan_from_this_base():
    by_name = {r.name: r for r in RECIPES}
    for name, member in read_members(fresh.FRESH_MEMBERS).items():
        assert member.recipe == by_name[name]
        assert member.source == TINY.key


def test_it_is_told_in_a_table():
    text = "\n".join(document(Population(RECIPES, read_members(fresh.FRESH_MEMBERS))))
    assert text.count("| fresh |") == 2 + len(EVASIONS)


def test_the_command_lists_it_and_says_how_to_train_a_member(tmp_path, capsys):
    assert main(["nursery", "list", "--fresh"]) == 0
    assert "fresh-usual-01" in capsys.readouterr().out
    assert main(["nursery", "write", "--fresh", "fresh-usual-01", str(tmp_path / "x")]) != 0
    assert "nursery build --fresh --only fresh-usual-01" in capsys.readouterr().err
