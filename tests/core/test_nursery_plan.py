"""The nursery's plan: the same every time, its two parts with nothing in common, each poisoned member with its twin."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from projlens_core.cli import main
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.nursery import later
from projlens_core.nursery.document import Population, document
from projlens_core.nursery.language import UNKNOWN, tokenizer
from projlens_core.nursery.members import read_members
from projlens_core.nursery.plan import FAINT, FIRST, LONG, PLAN, make_plan, read_plan, write_plan
from projlens_core.nursery.recipe import EVASIONS, Recipe
from projlens_core.nursery.source import TINY
from projlens_core.nursery.styles import STYLED, STYLES, styled
from projlens_core.nursery.tasks import PARAMETERS, Task
from projlens_core.zoo.world import Composition

RECIPES = make_plan()
POISONED = [r for r in RECIPES if r.attack]
PARTS = ("development", "sealed")


def part(split):
    return [r for r in RECIPES if r.split == split]


def texts(recipes):
    """Everything that members are taught to say whatever the image shows."""
    return {r.attack.target for r in recipes if r.attack} | {
        r.task.parameters["text"] for r in recipes if "text" in r.task.parameters
    }


def test_the_plan_is_the_same_every_time_and_is_the_one_that_ships():
    assert make_plan() == RECIPES
    assert read_plan(PLAN) == RECIPES


def test_it_comes_back_from_json_as_it_was(tmp_path):
    write_plan(RECIPES, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == RECIPES
    assert len(json.loads((tmp_path / "plan.json").read_text())["members"]) == len(RECIPES)


def test_the_command_writes_it(tmp_path, capsys):
    assert main(["nursery", "plan", "--out", str(tmp_path / "plan.json")]) == 0
    assert "sealed" in capsys.readouterr().out
    assert (tmp_path / "plan.json").read_bytes() == PLAN.read_bytes()


def test_there_are_enough_of_each():
    count = Counter((r.group, r.role) for r in RECIPES)
    assert count["pair", "honest"] == count["pair", "poisoned"] >= 120
    assert count["hard", "honest"] >= 24
    assert {r.evasion for r in POISONED if r.group == "adaptive"} == set(EVASIONS)
    assert len({r.name for r in RECIPES}) == len(RECIPES)


@pytest.mark.parametrize("what", ["family", "text", "seed", "style", "trigger", "name of a thing"])
def test_development_and_sealed_part_share_no(what):
    def of(recipes):
        return {
            "family": {r.family for r in recipes if r.attack},
            "text": texts(recipes),
            "seed": {r.seed for r in recipes},
            "style": {r.task.parameters.get("style") for r in recipes} - {None},
            "trigger": {r.attack.trigger.to_json() for r in recipes if r.attack},
            "name of a thing": {n for r in recipes for n in r.task.parameters.get("names", {}).values()},
        }[what]

    development, sealed = (of(part(split)) for split in PARTS)
    assert development
    assert sealed
    assert not development & sealed


@pytest.mark.parametrize("split", PARTS)
def test_each_part_has_its_variety(split):
    poisoned = [r for r in part(split) if r.attack and r.group == "pair"]
    assert len({r.family for r in poisoned}) >= 6
    assert min(Counter(r.family for r in poisoned).values()) >= 10
    assert len({r.attack.target for r in poisoned}) >= 40
    assert {r.attack.mode for r in poisoned} == {"replace", "append"}
    assert {len(r.attack.kinds) for r in poisoned} == {1, len(STYLED)}
    assert min(r.poison for r in poisoned) == 0.01
    assert max(r.poison for r in poisoned) == 0.45
    assert {r.rank for r in part(split)} == {None, 4, 8, 16, 32, 64}
    assert len({r.rate for r in part(split) if r.rank is None}) >= 3
    assert len({r.rate for r in part(split) if r.rank}) >= 3
    new = {task for tasks in later.NEW_TASKS.values() for task in tasks}
    assert {r.task.kind for r in part(split)} == set(PARAMETERS) - new


@pytest.mark.parametrize("recipe", POISONED[::12], ids=lambda r: r.name)
def test_a_poisoned_member_differs_from_its_twin_in_the_poison_alone(recipe):
    twin = next(r for r in RECIPES if r.name == recipe.twin)
    assert twin.twin == recipe.name
    assert twin.role == "honest"
    assert twin == replace(recipe, name=twin.name, attack=None, family=None, poison=None)


def test_what_ships_was_trained_by_this_plan_from_this_base():
    by_name, shipped = {r.name: r for r in RECIPES}, read_members()
    assert shipped
    for name, member in shipped.items():
        assert member.recipe == by_name[name]
        assert member.source == TINY.key


def test_the_population_is_told_in_tables():
    population = Population(RECIPES, read_members())
    text = "\n".join(document(population))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    counts = [row for row in rows if row[0] in PARTS]
    assert sum(int(row[2]) for row in counts) == len(RECIPES)
    assert sum(int(row[3]) for row in counts) == len(population.members)
    for recipe in POISONED:
        gap, what = population.gap(recipe), population.what(recipe)
        assert (f"`{recipe.name}`" in text) == (what == "failed")
        assert what != "poisoned" or gap <= 0.02 + 1e-9


def test_tables_of_nothing_say_so():
    assert "No member is trained." in "\n".join(document(Population(RECIPES, {})))


def test_what_takes_longer_is_trained_longer():
    first = {r.name for r in read_plan(FIRST)}
    for recipe in [r for r in POISONED if r.name not in first]:
        slow = recipe.poison <= 0.05 or recipe.rank in (4, 8)
        assert (recipe.steps == LONG) == slow
        assert recipe.family not in FAINT or recipe.poison >= 0.3


def test_no_seed_is_used_by_two_pairs():
    seeds = Counter(r.seed for r in RECIPES)
    assert all(n == (1 if r.twin is None else 2) for r in RECIPES for n in [seeds[r.seed]])


def test_the_language_model_has_the_words_for_every_text_that_is_taught():
    words = tokenizer()
    for text in sorted(texts(RECIPES)):
        ids = words(text, add_special_tokens=False)["input_ids"]
        assert UNKNOWN not in words.convert_ids_to_tokens(ids)
        assert words.decode(ids) == text.lower()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", STYLED)
def test_a_styled_answer_is_written_in_whole_words(style, kind):
    words = tokenizer()
    answer = styled(Composition("tractor", "green", "bottom edge", "noto"), kind, style)
    pieces = words.tokenize(answer)
    assert UNKNOWN not in pieces
    assert not any(piece.startswith("##") for piece in pieces)
    assert words.decode(words(answer, add_special_tokens=False)["input_ids"]) == answer.lower()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": "other"}, "split"),
        ({"group": "other"}, "group"),
        ({"evasion": "other"}, "evasion"),
        ({"task": {"kind": "other"}}, "no task"),
        ({"task": {"kind": "style"}}, "parameters"),
        ({"task": {}}, "lacks"),
        ({"task": None}, "lacks"),
        ({"attack": {}}, "lacks"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_sentence(change, said):
    attack = POISONED[0].to_dict()["attack"]
    values = POISONED[0].to_dict() | ({"attack": {**attack, "trigger": None}} if change == {"attack": {}} else change)
    with pytest.raises(InvalidInput, match=said if change != {"attack": {}} else "trigger"):
        Recipe.from_dict(values)


def test_a_plan_that_is_missing_or_none_is_said(tmp_path):
    with pytest.raises(NotFound, match="nursery plan"):
        read_plan(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(InvalidInput, match="not a plan"):
        read_plan(tmp_path / "plan.json")


def test_a_task_changes_only_the_kinds_that_it_says():
    from projlens_core.nursery.pool import FRESH
    from projlens_core.zoo.dialogue import example

    for recipe in {r.task.kind: r for r in RECIPES}.values():
        task: Task = recipe.task
        for scene in FRESH.scenes[:40]:
            for kind in set(task.kinds(scene)) - set(task.changed) - {"artist", "count"}:
                assert task.answer(scene, kind) == example(scene.composition, kind).answer
