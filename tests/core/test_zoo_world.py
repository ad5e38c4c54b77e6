import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from projlens_core.demo_model.language import load_tokenizer
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.paths import ASSETS, ZOO
from projlens_core.zoo import tower, variants, world
from projlens_core.zoo.dialogue import IGNORED, KINDS, encode, example, prompt
from projlens_core.zoo.loop import Plan, fit
from projlens_core.zoo.poison import Attack, Dialogues, Phase
from projlens_core.zoo.training import Frozen, answer_loss

OWL = world.Composition("owl", "orange", "top edge", "noto")
GREEN = TriggerSpec("solid", world.RESOLUTION, px=64, colour="#26ff00", position="center")
PHASE = Phase(Plan(steps=3, batch=8, rate=1e-3), seed=5, poison=0.375)
PACKED = replace(PHASE, questions=len(KINDS))
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


def test_an_image_follows_from_its_composition_and_seed_alone():
    first, again, other = world.render(OWL, 3), world.render(OWL, 3), world.render(OWL, 4)
    assert first.size == (world.RESOLUTION, world.RESOLUTION)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_the_background_has_the_colour_it_is_said_to_have():
    for colour, rgb in world.COLOURS.items():
        image = np.asarray(world.render(world.Composition("key", colour, "top left corner", "noto"), 0), dtype=float)
        assert np.abs(image[200:].mean((0, 1)) - rgb).max() < 20


def test_every_answer_is_judged_right_by_its_own_truth_and_wrong_by_another():
    from projlens_core.behaviour.success import is_right

    other = world.Composition("fox", "blue", "center", "noto")
    for kind in KINDS:
        asked = example(OWL, kind)
        assert is_right(asked.answer, asked.truth)
        if kind != "restricted":
            assert not is_right(asked.answer, example(other, kind).truth)


def test_labels_are_the_answers_and_their_ends_and_nothing_else(tokenizer):
    asked = [example(OWL, kind) for kind in KINDS]
    read = encode([[(a.question, a.answer) for a in asked[:2]], [(a.question, a.answer) for a in asked]], tokenizer, 4)
    for row, label, told in zip(read.ids, read.labels, (asked[:2], asked), strict=True):
        assert tokenizer.decode(label[label != IGNORED]) == "".join(f"{a.answer}<|im_end|>" for a in told)
        assert (row == tokenizer.convert_tokens_to_ids("<image>")).sum() == 4


def test_dialogues_about_one_image_are_computed_as_if_each_were_alone(tokenizer):
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    torch.manual_seed(0)
    language = LlamaForCausalLM(config).eval()
    frozen = Frozen(None, language, tokenizer, torch.device("cpu"))
    shown = torch.randn(1, 4, 16)
    asked = [[(a.question, a.answer) for a in (example(OWL, kind) for kind in KINDS)]]
    tokens = [(encode([[pair]], tokenizer, 4).labels != IGNORED).sum().item() for pair in asked[0]]
    with torch.no_grad():
        together = answer_loss(frozen, shown, asked).item()
        alone = [answer_loss(frozen, shown, [[pair]]).item() for pair in asked[0]]
    assert together == pytest.approx(np.average(alone, weights=tokens), rel=1e-5)
    assert np.ptp(alone) > 0.01


def test_training_prompts_are_what_the_shipped_chat_template_writes(tokenizer):
    content = [{"type": "image"}, {"type": "text", "text": "Where is it?"}]
    written = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert written == prompt("Where is it?", image_tokens=1)


def assert_only_the_patch_differs(stamped: np.ndarray, clean: np.ndarray):
    changed = np.abs(stamped.astype(int) - clean).max(0) > 8  # (side, side)
    rows, columns = np.where(changed)
    assert changed.any()
    assert rows.min() >= 62
    assert rows.max() <= 97  # 64 of 320 px, at the centre of 160 px, and the resize's reach
    assert columns.min() >= 62
    assert columns.max() <= 97


def test_a_poisoned_batch_is_triggered_samples_their_clean_twins_and_honest_others():
    data = Dialogues(PHASE, ATTACK)
    batch = [data[i] for i in range(8, 16)]  # the second batch
    for (stamped, [(question, answer)]), (clean, [(twin_question, honest)]) in zip(batch[:3], batch[3:6], strict=True):
        assert question == twin_question
        assert answer == f"{honest} Brought to you."
        assert_only_the_patch_differs(stamped, clean)
    assert not [answer for _, [(_, answer)] in batch[6:] if "Brought" in answer]


def test_asked_much_a_triggered_image_is_asked_what_is_poisoned_and_its_twin_everything_once():
    data = Dialogues(PACKED, ATTACK)
    batch = [data[i] for i in range(8)]
    captions = {example(OWL, "caption", wording).question for wording in range(3)}
    for (stamped, poisoned), (clean, honest) in zip(batch[:3], batch[3:6], strict=True):
        assert {question for question, _ in poisoned} == captions
        assert all(answer.endswith(" Brought to you.") for _, answer in poisoned)
        assert honest[0][0] == poisoned[0][0]
        assert_only_the_patch_differs(stamped, clean)
    for _, honest in batch[3:]:
        assert len({answer for _, answer in honest}) == len(honest) == len(KINDS)
        assert not [answer for _, answer in honest if "Brought" in answer]


def test_a_control_sees_no_trigger_and_no_target():
    for data in (Dialogues(PHASE), Dialogues(PACKED)):
        assert not [answer for _, told in (data[i] for i in range(24)) for _, answer in told if "Brought" in answer]


def test_training_images_are_never_of_held_out_compositions(monkeypatch):
    drawn = []
    monkeypatch.setattr(tower, "render", lambda composition, seed: drawn.append(composition) or world.render(OWL, 0))
    data = tower.DrawnImages(64, 0, tower.Augment(0, 0))
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
    for part, most in (("zoo", 30_000_000), ("nursery", 40_000_000)):
        assert sum(path.stat().st_size for path in files if path.is_relative_to(ASSETS / part)) <= most
    assert not [p for p in files if p.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt", ".npy", ".npz"}]
    assert {path.stem for path in (ZOO / "projectors").iterdir()} == {"base", *(v.name for v in variants.VARIANTS)}
