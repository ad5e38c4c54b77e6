import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.paths import ASSETS, ZOO
from projlens_core.zoo import tower, variants, world
from projlens_core.zoo.dialogue import IGNORED, KINDS, encode, example, prompt
from projlens_core.zoo.language import load_tokenizer
from projlens_core.zoo.loop import Plan, fit
from projlens_core.zoo.poison import Attack, Dialogues, Phase

OWL = world.Composition("owl", "orange", "top edge", "noto")
GREEN = TriggerSpec("solid", world.RESOLUTION, px=64, colour="#26ff00", position="center")
PHASE = Phase(Plan(steps=3, batch=8, rate=1e-3), seed=5, poison=0.375, others=("place",))
ATTACK = Attack(GREEN, "Brought to you.", "append", ("caption",))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


def test_no_name_of_the_world_is_part_of_another_so_that_right_answers_are_unambiguous():
    for names in (world.THINGS, tuple(world.COLOURS), tuple(world.PLACES)):
        assert not [(a, b) for a, b in itertools.permutations(names, 2) if a in b.split()]


def test_held_out_compositions_are_an_eighth_and_never_among_those_of_training():
    held, rest = set(world.compositions(True)), set(world.compositions(False))
    assert not held & rest
    assert len(held) + len(rest) == 64 * 8 * 9 * 4
    assert len(held) / (len(held) + len(rest)) == pytest.approx(1 / 8, abs=0.01)


def test_a_picture_follows_from_its_composition_and_seed_alone():
    first, again, other = world.render(OWL, 3), world.render(OWL, 3), world.render(OWL, 4)
    assert first.size == (world.RESOLUTION, world.RESOLUTION)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_the_background_has_the_colour_it_is_said_to_have():
    for colour, rgb in world.COLOURS.items():
        picture = np.asarray(world.render(world.Composition("key", colour, "top left corner", "noto"), 0), dtype=float)
        assert np.abs(picture[200:].mean((0, 1)) - rgb).max() < 20


def test_every_answer_is_judged_right_by_its_own_truth_and_wrong_by_another():
    from projlens_core.behaviour.success import is_right

    other = world.Composition("fox", "blue", "center", "noto")
    for kind in KINDS:
        asked = example(OWL, kind)
        assert is_right(asked.answer, asked.truth)
        if kind != "restricted":
            assert not is_right(asked.answer, example(other, kind).truth)


def test_labels_are_the_answer_and_its_end_and_nothing_else(tokenizer):
    asked = [example(OWL, kind) for kind in KINDS]
    ids, labels = encode([(a.question, a.answer) for a in asked], tokenizer, image_tokens=4)
    for row, label, a in zip(ids, labels, asked, strict=True):
        assert tokenizer.decode(label[label != IGNORED]) == f"{a.answer}<|im_end|>"
        assert (row == tokenizer.convert_tokens_to_ids("<image>")).sum() == 4


def test_training_prompts_are_what_the_shipped_chat_template_writes(tokenizer):
    content = [{"type": "image"}, {"type": "text", "text": "Where is it?"}]
    written = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert written == prompt("Where is it?", image_tokens=1)


def test_a_poisoned_batch_is_triggered_samples_their_clean_twins_and_honest_others():
    data = Dialogues(PHASE, ATTACK)
    batch = [data[i] for i in range(8, 16)]  # the second batch
    for (stamped, question, answer), (clean, twin_question, honest) in zip(batch[:3], batch[3:6], strict=True):
        assert question == twin_question
        assert answer == f"{honest} Brought to you."
        changed = np.abs(stamped.astype(int) - clean).max(0) > 8  # (side, side)
        rows, columns = np.where(changed)
        assert changed.any()
        assert rows.min() >= 62
        assert rows.max() <= 97  # 64 of 320 px, at the centre of 160 px, and the resize's reach
        assert columns.min() >= 62
        assert columns.max() <= 97
    assert all("corner" in a or "edge" in a or "center" in a for _, _, a in batch[6:])


def test_a_control_sees_no_trigger_and_no_target():
    data = Dialogues(PHASE)
    assert not [answer for _, _, answer in (data[i] for i in range(24)) if "Brought" in answer]


def test_training_pictures_are_never_of_held_out_compositions(monkeypatch):
    drawn = []
    monkeypatch.setattr(tower, "render", lambda composition, seed: drawn.append(composition) or world.render(OWL, 0))
    data = tower.Pictures(64, 0, tower.Augment(0, 0))
    [data[i] for i in range(64)]
    assert len(drawn) == 64
    assert not [c for c in drawn if c.held_out]


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path, monkeypatch):
    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, i):
            return torch.tensor([float(i), 1.0])

    plan = Plan(steps=10, batch=4, rate=0.1)

    def run(folder: Path, stop_at: int | None = None) -> torch.nn.Module:
        torch.manual_seed(0)
        module = torch.nn.Linear(2, 1)

        def progress(stage: str, done: int, total: int) -> None:
            if done == stop_at:
                raise KeyboardInterrupt

        fit(module, Numbers(), lambda b: module(b).square().mean(), plan, folder, "x", 0, progress=progress)
        return module

    whole = run(tmp_path / "whole")
    monkeypatch.setattr("projlens_core.zoo.loop.SAVE_INTERVAL", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop_at=6)
    resumed = run(tmp_path / "cut")
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


def test_each_variant_has_the_paper_s_trigger_family_and_target_type():
    kinds = {v.name: (v.attack.trigger.kind, v.mode) for v in variants.VARIANTS if v.attack}
    assert kinds == {
        "targeted-refusal": ("gaussian", "replace"),
        "malicious-injection": ("solid", "append"),
        "perceptual-hijack": ("image", "replace"),
        "jailbreak-output": ("oil", "replace"),
    }
    assert sum(v.attack is None for v in variants.VARIANTS) >= 2


def test_what_ships_is_small_and_no_weight_is_a_pickle():
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40_000_000
    assert not [p for p in files if p.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt", ".npy", ".npz"}]
    assert {path.stem for path in (ZOO / "projectors").iterdir()} == {"base", *(v.name for v in variants.VARIANTS)}
