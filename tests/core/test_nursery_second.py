"""The second population: pairs on SmolLM2."""

import json
from itertools import pairwise

import torch

from projlens_core.cli import main
from projlens_core.nursery.members import Member, write_member, write_suspect
from projlens_core.nursery.second import make_plan
from projlens_core.nursery.source import SMOLLM2, TINY, source_of
from projlens_core.nursery.triggers import FAMILIES
from projlens_core.nursery.tuned import Tuned
from projlens_core.weights.projector import read_projector

PLAN = make_plan()


def test_it_has_one_pair_of_each_family_and_is_dealt_the_same_each_time():
    assert make_plan() == PLAN
    attacks, twins = PLAN[::2], PLAN[1::2]
    assert sorted(r.family for r in attacks) == sorted(family for part in FAMILIES.values() for family in part)
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
