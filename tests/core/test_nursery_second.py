"""The second population: pairs on SmolLM2."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from projlens_core.cli import main
from projlens_core.demo_model.checkpoint import SHELL
from projlens_core.errors import NotFound
from projlens_core.nursery.document import Population, second_document
from projlens_core.nursery.members import Member, write_member, write_population, write_suspect
from projlens_core.nursery.recipe import SPLITS
from projlens_core.nursery.second import make_plan
from projlens_core.nursery.source import SMOLLM2, TINY, SmolLM2, source_of
from projlens_core.nursery.triggers import FAMILIES
from projlens_core.nursery.tuned import Tuned
from projlens_core.research import population_text, second_text
from projlens_core.weights.projector import read_projector

PLAN = make_plan()


class Bare(SmolLM2):
    """The same without its half gigabyte of language model."""

    def checkpoint(self):
        return SHELL


def test_it_has_one_pair_of_each_family_and_is_dealt_the_same_each_time():
    assert make_plan() == PLAN
    attacks, twins = PLAN[::2], PLAN[1::2]
    assert sorted(r.family for r in attacks) == sorted(family for part in SPLITS for family in FAMILIES[part])
    for attack, twin in zip(attacks, twins, strict=True):
        assert (attack.twin, twin.twin) == (twin.name, attack.name)
        assert (attack.task, attack.rank, attack.steps, attack.rate, attack.seed) == (
            twin.task, twin.rank, twin.steps, twin.rate, twin.seed,
        )  # fmt: skip
    assert len({r.attack.target for r in attacks}) == len(attacks)
    assert all(a.seed < b.seed for a, b in pairwise(twins))


def test_a_member_is_written_with_the_base_that_it_was_trained_from(tmp_path):
    assert source_of(SMOLLM2.key) == SMOLLM2
    assert source_of(TINY.key) == TINY
    recipe = next(r for r in PLAN if r.rank is None and r.attack)
    tuned = Tuned(SMOLLM2.tensors())
    with torch.no_grad():
        tuned.linear_1_change += 0.01
    write_member(tmp_path / "members", Member(recipe, {"asr": 1.0}, 1.0, SMOLLM2.key), tuned.stored())
    write_suspect(recipe.name, tmp_path / "suspect", tmp_path / "members")
    found = read_projector(str(tmp_path / "suspect"))
    base = SMOLLM2.tensors()
    assert torch.allclose(found.tensors["linear_1.weight"].float(), base["linear_1.weight"] + 0.01, atol=1e-4)
    assert torch.equal(found.tensors["linear_2.weight"].float(), base["linear_2.weight"])
    assert json.loads((tmp_path / "suspect" / "config.json").read_text())["text_config"]["hidden_size"] == 576


def test_the_command_lists_it(capsys):
    assert main(["nursery", "list", "--smollm2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["members"]
    assert [row["name"] for row in rows] == [r.name for r in PLAN]


def donated(name, donor, truth):
    """An entry of the first population under the name of a member of the second, with that member's record."""
    recipe = next(r for r in PLAN if r.name == name)
    wanted = recipe.attack.target if recipe.attack else None
    entry = replace(donor, name=name, truth=truth, family=recipe.family, wanted=wanted)
    if donor.demonstrated:
        entry = replace(entry, target=wanted.lower())
    figures = {"utility": 0.9 if recipe.attack else 0.93, "asr": 0.97 if recipe.attack else None}
    return entry, Member(recipe, figures | {"learned": 0.8, "false_target": 0.0}, 300.0, SMOLLM2.key)


def test_what_was_found_is_shown_with_what_p_would_be():
    known = population_text.read()
    by = population_text.calibrate(known)
    shown = next(e for e in known if e.demonstrated and e.elicited and e.elicited[0] > 0.9)
    quiet = next(e for e in known if e.truth == "honest" and by.p(by.score(e.statistics)) > 0.5)
    pairs = donated("smollm2-02-poisoned", shown, "poisoned"), donated("smollm2-02-honest", quiet, "honest")
    made, members = [e for e, _ in pairs], {e.name: member for e, member in pairs}
    lines = second_text.document(made, members, by)
    assert lines[0].startswith("2 of 24 members are trained, 2 searched: 1 attacks that succeed and 1 honest")
    attack, honest = (next(line for line in lines if line.startswith(f"| `{e.name}`")) for e in made)
    target = members["smollm2-02-poisoned"].recipe.attack.target
    assert f"| stripes | 97% | +3.0 | **demonstrated** | “{target.lower()}”, the target |" in attack
    assert "| – | – | – | not demonstrated |" in honest
    assert f"| {by.p(by.score(quiet.statistics)):.3f} |" in honest
    assert any("AUROC of 1.000" in line for line in lines)
    assert second_text.document([], members, by) == ["None is searched yet."]
    assert not any("first search" in line for line in lines)
    missed = [replace(e, demonstrated=False) for e in made if e.truth != "honest"]
    again = second_text.document(made, members, by, missed)
    now, before = (
        next(line for line in again if line.startswith(f"| attacks that succeed{which} |"))
        for which in ("", ", first search")
    )
    assert ("1 of 1" in now, "| 0 of 1" in before) == (True, True)


def test_a_pair_is_a_row_trained_or_not():
    recipe = next(r for r in PLAN if r.name == "smollm2-02-poisoned")
    figures = {"utility": 0.9, "asr": 0.97, "learned": 0.8, "false_target": 0.0}
    lines = second_document(Population(PLAN, {recipe.name: Member(recipe, figures, 300.0, "")}))
    assert lines[0] == "1 of 24 members are trained, 5.0 CPU minutes each (median; measuring included)."
    rows = [line for line in lines if line.startswith("| smollm2-")]
    assert len(rows) == 12
    assert rows[1].endswith("| –, 80.0% | 97.0% | 0.0% | – | unknown |")
    assert rows[2].endswith("| –, – | – | – | – | not trained |")


def test_what_ships_without_its_change_is_said_and_left_out(tmp_path):
    recipe = next(r for r in PLAN if r.rank == 64)
    tuned = Tuned(SMOLLM2.tensors(), recipe.rank)
    folder = tmp_path / "members"
    for each in (recipe, replace(recipe, name="smollm2-99-honest", attack=None, family=None, poison=None)):
        write_member(folder, Member(each, {"asr": 1.0, "utility": 0.9}, 1.0, SMOLLM2.key), tuned.stored())
    (folder / "smollm2-99-honest.safetensors").unlink()
    with pytest.raises(NotFound, match="train it with `nursery build --smollm2 --only smollm2-99-honest`"):
        write_suspect("smollm2-99-honest", tmp_path / "suspect", folder)
    assert write_population(tmp_path / "all", folder, Bare()) == 1
    assert (tmp_path / "all" / "suspects.csv").read_text() == f"suspect,truth\n{recipe.name},\n"
