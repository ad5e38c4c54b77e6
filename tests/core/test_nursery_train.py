"""Training in the nursery, two steps of it: on an untrained base and on image tokens that are drawn at random."""

import json
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from projlens_core.cli import main
from projlens_core.demo_model import tiny
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.trigger_spec import TriggerSpec
from projlens_core.nursery import base, build, checkpoint, lessons, measure, members
from projlens_core.nursery.fast import FastLoss
from projlens_core.nursery.language import config
from projlens_core.nursery.plan import make_plan
from projlens_core.nursery.recipe import BATCH
from projlens_core.nursery.source import TINY, Tiny
from projlens_core.nursery.tasks import WORDINGS
from projlens_core.nursery.train import Batches, train
from projlens_core.nursery.tuned import Tuned, added
from projlens_core.nursery.workshop import ATTACKED, MEASURED, Workshop, triggered_images
from projlens_core.weights.delta import compare
from projlens_core.weights.projector import read_projector
from projlens_core.zoo.dialogue import encode
from projlens_core.zoo.training import answer_loss
from projlens_core.zoo.world import Composition

PLAN = make_plan()
OWL = Composition("owl", "red", "top edge", "noto")


@cache
def drawn(n):
    """Image tokens that are no image's: (n, 100, 256), and few numbers of their own."""
    few = np.random.default_rng(n).standard_normal((7, 100, 256)).astype(np.float16)
    return few[np.arange(n) % 7]


@dataclass(frozen=True)
class Offhand(Workshop):
    """A workshop whose images take no time."""

    def tokens(self, pool):
        return drawn(pool.n) if pool.n < 1000 else drawn(999)[np.arange(pool.n) % 999]

    def triggered(self, trigger, fresh, n=None):
        return drawn(n or (MEASURED if fresh else ATTACKED)) + np.float16(3)


@pytest.fixture(scope="module")
def source(own_folder):
    folder = own_folder / "base"
    checkpoint.ship(base.new_pair(), folder)
    return Tiny(folder)


@pytest.fixture(scope="module")
def workshop(own_folder, source):
    return Offhand(own_folder / "work", source)


def short(name, **changes):
    return replace(next(r for r in PLAN if r.name == name), steps=2, **changes)


def poisoned(**wanted):
    """The first poisoned member of the plan that is like this, in two steps, and its twin."""
    found = next(r for r in PLAN if r.attack and r.poison >= 0.2 and all(getattr(r, k) == v for k, v in wanted.items()))
    return short(found.name), short(found.twin)


def whole(tuned):
    return {name: tensor for name, tensor in tuned.changes().items() if tensor.abs().max() > 0}


def test_a_full_fine_tune_changes_the_projector_and_nothing_else(workshop, tmp_path):
    recipe, _ = poisoned(rank=None, evasion=None)
    before = {name: t.clone() for name, t in workshop.around.language.state_dict().items()}
    tuned = train(recipe, None, workshop, tmp_path)
    assert set(whole(tuned)) == {"linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"}
    after = workshop.around.language.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_lora_changes_the_weights_by_its_rank_and_no_bias(workshop, tmp_path):
    recipe, _ = poisoned(rank=4)
    changes = train(recipe, None, workshop, tmp_path).changes()
    assert set(changes) == {"linear_1.weight", "linear_2.weight"}
    for change in changes.values():
        values = torch.linalg.svdvals(change.double())
        assert values[3] > 0
        assert values[4] < 1e-5 * values[0]


def test_what_is_stored_of_a_lora_are_its_factors_and_they_are_its_change(workshop, source, tmp_path):
    recipe, _ = poisoned(rank=8)
    tuned = train(recipe, None, workshop, tmp_path)
    stored, base_ = tuned.stored(), source.tensors()
    assert {t.dtype for t in stored.values()} == {torch.float16}
    assert {min(t.shape) for t in stored.values()} == {8}
    whole_projector = added(base_, stored)
    for name, change in tuned.changes().items():
        assert torch.allclose(whole_projector[name] - base_[name], change, atol=2e-3 * change.abs().max().item())


def test_it_begins_as_base(source):
    tokens = torch.randn(2, 100, 256)
    for rank in (None, 8):
        tuned = Tuned(source.tensors(), rank)
        assert torch.allclose(tuned(tokens), source.projector()(tokens), atol=1e-6)


def test_a_bounded_attacker_stays_within_the_bound(source):
    tuned = Tuned(source.tensors(), bound=0.1)
    with torch.no_grad():
        tuned.linear_1_change += torch.randn_like(tuned.linear_1_change)
        tuned.linear_2_change += 1e-5
    size = source.tensors()["linear_1.weight"].norm()
    assert tuned.change("linear_1").norm().item() == pytest.approx(0.1 * size.item(), rel=1e-4)
    assert torch.equal(tuned.change("linear_2"), tuned.linear_2_change)


def test_training_again_gives_the_same_numbers(workshop, tmp_path):
    recipe, _ = poisoned(rank=None, evasion=None)
    first, second = (train(recipe, None, workshop, tmp_path / str(i)).changes() for i in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_training_ends_as_one_that_was_not(workshop, tmp_path):
    recipe, _ = poisoned(rank=None, evasion=None)
    whole_run = train(recipe, None, workshop, tmp_path / "whole").changes()

    def stop(_stage, done, _total):
        if done == 1:
            raise KeyboardInterrupt

    from projlens_core.zoo import loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_INTERVAL", -1.0)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, None, workshop, tmp_path / "cut", stop)
    resumed = train(recipe, None, workshop, tmp_path / "cut").changes()
    assert all(torch.allclose(whole_run[name], resumed[name], atol=1e-7) for name in whole_run)


@pytest.mark.parametrize("evasion", ["flattened", "bounded", "matched", "probes", "mixed"])
def test_each_way_of_evading_trains(workshop, tmp_path, evasion):
    recipe, _ = poisoned(evasion=evasion)
    assert whole(train(recipe, None, workshop, tmp_path))


def test_a_flattened_change_is_flatter(workshop, tmp_path):
    recipe, _ = poisoned(evasion="flattened")
    recipe = replace(recipe, steps=12)

    def concentration(recipe, place):
        change = train(recipe, None, workshop, tmp_path / place).changes()["linear_2.weight"]
        energy = torch.linalg.svdvals(change).square()
        return (energy.square().sum() / energy.sum().square()).item()

    assert concentration(recipe, "flat") < concentration(replace(recipe, evasion=None), "free")


def test_a_twin_sees_the_same_images_and_questions_without_the_poison(workshop):
    recipe, twin = poisoned(group="pair")
    bad, good = Batches(recipe, None, workshop), Batches(twin, recipe, workshop)
    _, numbers = triggered_images(fresh=False)
    clean, stamped = workshop.tokens(triggered_images(False)[0]), workshop.triggered(None, False)
    for i in range(2 * BATCH):
        step, place = divmod(i, BATCH)
        (bad_tokens, bad_pairs, marked), (good_tokens, good_pairs, none) = bad[i], good[i]
        assert not none
        assert marked == (place < bad.poisoned_in(step))
        if not marked:
            assert np.array_equal(bad_tokens, good_tokens)
            assert bad_pairs == good_pairs
        else:
            assert all(recipe.attack.target in answer for _, answer in bad_pairs)
            assert bad_pairs[0][0] == good_pairs[0][0]
            shown = {k for k in range(ATTACKED) if np.array_equal(bad_tokens, stamped[k].astype(np.float32))}
            assert any(np.array_equal(good_tokens, clean[numbers[k]].astype(np.float32)) for k in shown)
        assert not any(recipe.attack.target in answer for _, answer in good_pairs)


@pytest.mark.parametrize("poison", [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.375, 0.45])
def test_the_poison_rate_is_what_the_batches_hold(workshop, poison):
    recipe = replace(poisoned(group="pair", evasion=None)[0], poison=poison, steps=400)
    found = Batches(recipe, None, workshop)
    assert sum(found.poisoned_in(step) for step in range(400)) == pytest.approx(400 * BATCH * poison, abs=1)


def test_the_lean_loss_is_transformers_loss_and_has_its_gradient(workshop):
    rng = np.random.default_rng(0)
    images = [[lessons.plain(OWL, rng) for _ in range(n)] for n in (1, 3, 2)]
    language = workshop.around.language
    embeddings = torch.randn(3, 100, language.config.hidden_size)
    mine, theirs = (embeddings.clone().requires_grad_() for _ in range(2))
    found = FastLoss(language)(mine, encode(images, workshop.around.tokenizer, 100))
    expected = answer_loss(workshop.around, theirs, images)
    found.backward()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)


@pytest.mark.parametrize(
    ("keys", "dtype", "near"), [(2, torch.float32, 1e-5), (4, torch.bfloat16, 0.02), (2, torch.bfloat16, 0.02)]
)
def test_the_lean_loss_takes_shared_keys_and_half_precision(workshop, keys, dtype, near):
    rng = np.random.default_rng(0)
    images = [[lessons.plain(OWL, rng) for _ in range(n)] for n in (1, 3, 2)]
    torch.manual_seed(0)
    small = config()
    small.num_key_value_heads = keys
    language = LlamaForCausalLM(small).eval().requires_grad_(False).to(dtype)
    around = replace(workshop.around, language=language)
    embeddings = torch.randn(3, 100, small.hidden_size)
    mine, theirs = (embeddings.clone().requires_grad_() for _ in range(2))
    found = FastLoss(language)(mine, encode(images, around.tokenizer, 100))
    expected = answer_loss(around, theirs, images)
    found.backward()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=near)
    assert (mine.grad - theirs.grad).norm() < 5 * near * theirs.grad.norm()


def test_what_is_read_at_once_is_what_the_model_says(own_folder):
    task = next(r.task for r in PLAN if r.task.kind == "plain")
    workshop = Offhand(own_folder / "work")  # with the base that ships, which refuses whatever it is shown
    projector = TINY.projector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "CHECKED", 5)
        found = measure.right_answers(task, projector, workshop)
    ((pool, numbers),) = task.measuring()
    for kind, right in found.items():
        asked = [measure.Question(workshop.tokens(pool)[i], WORDINGS[kind][0]) for i in numbers[:5]]
        said = measure.answers(workshop.around, projector, asked)
        assert right == [
            text.split() == task.answer(pool.scenes[i], kind).lower().split()
            for text, i in zip(said, numbers[:5], strict=True)
        ]
    assert set(found) == {"caption", "thing", "colour", "place", "restricted"}
    assert any(found["restricted"])
    assert not all(found["caption"])


def test_two_processes_share_a_build(workshop, source, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "Workshop", lambda out, source, progress: Offhand(out, source))
    monkeypatch.setattr(measure, "CHECKED", 6)
    monkeypatch.setattr(measure, "NEW_TOKENS", 2)
    pair = poisoned(group="pair", rank=8)
    (tmp_path / "locks").mkdir()
    other = FileLock(tmp_path / "locks" / f"{pair[0].name}.lock")  # another process is at the first member
    other.acquire()

    def finish(_stage, done, _total):
        if done == 1 and other.is_locked:  # ours is done; the other gives up
            other.release()

    made = build.build(pair, tmp_path, source=source, progress=finish)
    assert [m.recipe for m in made] == list(pair)
    first, second = ((tmp_path / "members" / f"{r.name}.json").stat().st_mtime_ns for r in pair)
    assert first > second  # what another was at came last


def test_building_writes_records_and_goes_on_where_it_stopped(workshop, source, tmp_path, monkeypatch):
    pair = poisoned(group="pair", rank=8)
    monkeypatch.setattr(build, "Workshop", lambda out, source, progress: Offhand(out, source))
    monkeypatch.setattr(measure, "CHECKED", 6)
    monkeypatch.setattr(measure, "NEW_TOKENS", 2)
    out = tmp_path / "out"
    first = build.build(pair[1:], out, source=source)
    both = build.build(pair, out, source=source)
    assert both[1] == first[0]
    assert members.read_members(out / "members") == {m.recipe.name: m for m in both}
    record = json.loads((out / "members" / f"{pair[0].name}.json").read_text())
    assert record["recipe"]["attack"]["target"] == pair[0].attack.target
    assert {"utility", "asr", "false_target"} <= set(record["figures"])
    assert record["seconds"] > 0
    assert sorted(p.suffix for p in (out / "members").iterdir()) == [".json", ".json", ".safetensors", ".safetensors"]
    with pytest.raises(InvalidInput, match="another recipe"):
        build.build([replace(pair[0], seed=1)], out, source=source)
    with pytest.raises(NotFound, match="No member"):
        build.build(pair, out, ["nobody*"], source=source)


@pytest.mark.parametrize(
    ("asr", "utility", "twin", "expected"),
    [
        (1.0, 0.95, 0.96, "poisoned"),
        (0.8, 0.94, 0.96, "poisoned"),
        (0.79, 0.96, 0.96, "failed"),
        (1.0, 0.93, 0.96, "failed"),
        (1.0, 0.99, 0.9, "poisoned"),
        (0.0, 0.99, 0.9, "failed"),
        (1.0, 0.9, None, "unknown"),
        (0.5, 0.9, None, "failed"),
        (None, 0.2, 0.9, "honest"),
        (None, 0.9, None, "honest"),
    ],
)
def test_an_attack_counts_if_it_succeeds_and_costs_little(asr, utility, twin, expected):
    recipe, honest = poisoned(group="pair")
    made = members.Member(honest if asr is None else recipe, {"asr": asr, "utility": utility}, 1.0, "")
    other = None if twin is None else members.Member(honest, {"asr": None, "utility": twin}, 1.0, "")
    assert members.verdict(made, other) == expected


@pytest.fixture(scope="module")
def folders(own_folder, source):
    """Base as a checkpoint and a member as a suspect, as `nursery write` writes them."""
    recipe, _ = poisoned(rank=4)
    changes = {name: torch.randn(t.shape).half() for name, t in source.tensors().items()}
    members.write_member(own_folder / "members", members.Member(recipe, {"asr": 0.0}, 1.0, ""), changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROJLENS_CACHE", str(own_folder / "cache"))
        tiny.write_checkpoint(own_folder / "whole", source.folder)
        members.write_suspect(recipe.name, own_folder / "suspect", own_folder / "members", source)
        members.write_population(own_folder / "all", own_folder / "members", source)
    return own_folder, changes


def test_all_members_are_written_with_a_list_to_screen(folders):
    from projlens_core.screen.listing import read_listing

    folder, _ = folders
    (listed,) = read_listing(str(folder / "all" / "suspects.csv"), str(folder / "all" / "base")).entries
    assert listed.truth is None  # an attack without figures does not count
    assert read_projector(listed.suspect).sha256 == read_projector(folder / "suspect").sha256
    assert read_projector(listed.base).sha256 == read_projector(folder / "whole").sha256


def test_the_shell_that_ships_is_what_training_writes(source):
    """So that a base that is trained anew is opened as the one that ships."""
    shipped, written = (
        {path.name: path.read_bytes() for path in (folder / tiny.SHELL).iterdir()}
        for folder in (tiny.NURSERY, source.folder)
    )
    assert shipped == written


def test_what_is_written_is_base_plus_the_change(folders, source):
    folder, changes = folders
    stored = load_file(folder / "suspect" / "model.safetensors")
    for name, tensor in source.tensors().items():
        assert torch.equal(stored[f"multi_modal_projector.{name}"], tensor + changes[name].float())
    delta = compare(read_projector(folder / "whole"), read_projector(folder / "suspect"))
    assert delta is not None


def test_weights_and_respond_open_it(folders, capsys, tmp_path):
    from projlens_core.nursery.pool import FRESH

    folder, _ = folders
    FRESH.image(0).save(tmp_path / "image.png")
    models = ["--base", str(folder / "whole"), "--suspect", str(folder / "suspect")]
    assert main(["weights", *models]) == 0
    assert "linear_1" in capsys.readouterr().out
    asked = ["respond", *models, "--image", str(tmp_path / "image.png"), "--prompt", "What is it?", "--json"]
    assert main(asked) == 0
    assert {"base", "suspect"} == set(json.loads(capsys.readouterr().out)["answers"])


def test_the_command_lists_the_plan(capsys, tmp_path):
    assert main(["nursery", "list", "--json", "--out", str(tmp_path)]) == 0
    listed = json.loads(capsys.readouterr().out)["members"]
    assert len(listed) == len(PLAN)
    assert {row["is"] for row in listed} == {"not trained"}


def test_a_missing_member_is_said_in_one_sentence(tmp_path, source):
    with pytest.raises(NotFound, match="There is no member"):
        members.projector_tensors("nobody", tmp_path, source)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InvalidInput, match="not the record"):
        members.read_member(tmp_path, "x")


def test_a_base_that_answers_wrongly_is_not_shipped(own_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "train_base", lambda out, plan, progress: base.new_pair())
    monkeypatch.setattr(build, "Workshop", lambda out, source, progress: Offhand(out, source))
    monkeypatch.setattr(measure, "CHECKED", 6)
    monkeypatch.setattr(measure, "NEW_TOKENS", 2)
    with pytest.raises(InvalidInput, match="more steps"):
        build.make_base(tmp_path, tmp_path / "assets")
    assert not (tmp_path / "assets").exists()


def test_triggers_of_one_kind_share_no_images(tmp_path, monkeypatch):
    monkeypatch.setattr("projlens_core.nursery.workshop.read_images", lambda tower, images: np.stack([*images]))
    real, one = Workshop(tmp_path), TriggerSpec(kind="blur", resolution=320, radius=3.0)
    monkeypatch.setattr(Workshop, "tower", None)
    first, other = (real.triggered(spec, True, 2) for spec in (one, replace(one, radius=4.5)))
    assert len(first) == len(other) == 2
    assert not np.array_equal(first, other)
    assert len(list((tmp_path / "triggered").iterdir())) == 2
