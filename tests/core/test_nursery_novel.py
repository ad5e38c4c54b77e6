"""The novel part: attacks by triggers of kinds that no other part has, with their honest twins."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from projlens_core.cli import main
from projlens_core.inputs.triggers import stamp
from projlens_core.nursery import later, novel, plan
from projlens_core.nursery.document import document, later_parts
from projlens_core.nursery.language import UNKNOWN, tokenizer
from projlens_core.nursery.members import read_members
from projlens_core.nursery.recipe import LATER, NOVEL, Recipe
from projlens_core.nursery.source import TINY
from projlens_core.nursery.triggers import FAMILIES, draw_images, triggers
from projlens_core.zoo.world import RESOLUTION

RECIPES = novel.make_plan()
ATTACKS = [r for r in RECIPES if r.attack]
OTHERS = (*plan.make_plan(), *(r for part in LATER for r in later.make_plan(part)))


def test_it_is_the_same_every_time_and_holds_pairs_of_twins():
    assert novel.make_plan() == RECIPES
    names = {r.name: r for r in RECIPES}
    assert len(names) == len(RECIPES) == 2 * novel.PAIRS == 2 * len(ATTACKS)
    for attack in ATTACKS:
        twin = names[attack.twin]
        assert twin.twin == attack.name
        shared = ("task", "rank", "steps", "rate", "seed", "split", "group")
        assert all(getattr(attack, key) == getattr(twin, key) for key in shared)
    assert [Recipe.from_dict(r.to_dict()) for r in RECIPES] == list(RECIPES)


def test_every_family_comes_once_in_each_round():
    families = len(FAMILIES[NOVEL])
    for i in range(0, len(ATTACKS), families):
        assert set(Counter(r.family for r in ATTACKS[i : i + families]).values()) == {1}


def test_it_shares_no_family_target_trigger_or_seed_with_any_other_part():
    known = [r for r in OTHERS if r.attack]
    assert not {r.family for r in ATTACKS} & {r.family for r in known}
    assert not {r.attack.target for r in ATTACKS} & {r.attack.target for r in known}
    assert not {r.attack.trigger.key for r in ATTACKS} & {r.attack.trigger.key for r in known}
    assert not {r.seed for r in RECIPES} & {r.seed for r in OTHERS}


def test_the_language_model_can_say_every_target():
    words = tokenizer()
    for r in ATTACKS:
        assert UNKNOWN not in words.convert_ids_to_tokens(words(r.attack.target, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("family", FAMILIES[NOVEL])
def test_its_triggers_change_an_image(family):
    image = Image.new("RGB", (RESOLUTION, RESOLUTION), "#607080")
    for spec in triggers(NOVEL)[family]:
        changed = (np.asarray(stamp(image, spec)) != np.asarray(image)).any(axis=2).mean()
        assert changed > 0 if family in ("face", "emblem", "dot", "bar", "corners") else changed > 0.1


def test_the_images_that_ship_are_those_that_are_drawn(tmp_path):
    draw_images(tmp_path)
    for spec in (spec for specs in triggers(NOVEL).values() for spec in specs if spec.image):
        assert (tmp_path / spec.image).read_bytes() == spec.image_path.read_bytes()


def test_what_ships_was_trained_by_this_plan_from_this_base():
    by_name = {r.name: r for r in RECIPES}
    for name, member in read_members(novel.FOLDER).items():
        assert member.recipe == by_name[name]
        assert member.source == TINY.key


def test_it_is_told_in_the_table_of_the_later_parts():
    text = "\n".join(document(later_parts()))
    assert f"| {NOVEL} | honest |" in text
    assert f"| {NOVEL} | poisoned |" in text


def test_the_command_lists_it(capsys):
    assert main(["nursery", "list", "--part", NOVEL]) == 0
    assert "novel-001-poisoned" in capsys.readouterr().out
