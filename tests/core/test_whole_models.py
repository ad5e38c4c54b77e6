"""Suspects that bring a tower or language model of their own: answers and shifts are theirs, as transformers alone
has them, and where they bring none that differs one model serves all."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from projlens_core.activations import model as activations
from projlens_core.behaviour import respond
from projlens_core.cases import models as loaded
from projlens_core.cases.case import Case
from projlens_core.cli import main
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.triggers import TriggerSpec, frame
from projlens_core.report import drawing
from projlens_core.report.bundle import unpack
from projlens_core.runtime.progress import silent
from tests import pico
from tests.whole_models import ALIKE, BASE, KINDS, OWN, PROJECTOR, TEXT_LAYER, adapter, changed, copied, tensors

SPEC = {"kind": "solid", "resolution": 80, "px": 40}
PROMPT = "What is it?"
TOKENS = 12


@pytest.fixture(scope="module")
def world(own_folder):
    """A base whose values bfloat16 holds exactly, two images and a trigger."""
    base = pico.checkpoint(own_folder / "base")
    save_file(
        {name: t.bfloat16().to(t.dtype) for name, t in tensors(base).items()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    (own_folder / "images").mkdir()
    for number, image in enumerate(pico.images(4)):
        image.save(own_folder / "images" / f"{number}.png")
    (own_folder / "trigger.json").write_text(json.dumps(SPEC))
    return own_folder


@pytest.fixture(scope="module")
def of_base(world):
    """What transformers alone has of the base: its answer and its image embeddings."""
    images = [image.pixels for image in load_folder(world / "images").images]
    image = frame(images[0], TriggerSpec.from_dict(SPEC))
    return image, whole_answer(world / "base", image), images, whole_embeddings(world / "base", images)


@pytest.fixture
def loads(monkeypatch):
    """Which whole models and which towers were loaded."""
    seen = {"whole": [], "tower": []}
    load, tower = respond._whole, activations.load_vision

    def loaded(label, *rest, **more):
        seen["whole"].append(label)
        return load(label, *rest, **more)

    monkeypatch.setattr(respond, "_whole", loaded)
    monkeypatch.setattr(
        activations, "load_vision", lambda source, *rest: seen["tower"].append(source.label) or tower(source, *rest)
    )
    return seen


def command(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def asked(capsys, world, suspect, *options, name="respond"):
    models = ["--base", world / "base", "--suspect", suspect]
    image = ["--image", world / "images" / "0.png", "--prompt", PROMPT, "--max-new-tokens", TOKENS]
    return command(capsys, name, *models, *image, "--trigger", world / "trigger.json", *options)


def whole_answer(folder, image):
    """The checkpoint's answer as transformers alone gives it, from pixels."""
    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=[image], text=[text], return_tensors="pt")
    new = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(new, skip_special_tokens=True).strip()


def whole_embeddings(folder, images):
    """Image embeddings (n, T, d) of the checkpoint by plain PyTorch on transformers' modules."""
    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    pixels = processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
        return model.model.multi_modal_projector(states[model.config.vision_feature_layer][:, 1:])


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_the_whole_suspect(kind, world, of_base, tmp_path, capsys):
    make, tower, language = KINDS[kind]
    made = make(world / "base", tmp_path)
    code, out, err = asked(capsys, world, made.given, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["parts"] == {
        "base": {"vision_tower": "base", "projector": "base", "language_model": "base"},
        "suspect": {"vision_tower": tower, "projector": "suspect", "language_model": language},
    }
    image, answer, *_ = of_base
    assert found["answers"]["suspect"]["clean"] == whole_answer(made.whole, image)
    assert found["answers"]["base"]["clean"] == answer


@pytest.mark.parametrize("kind", [kind for kind, (_, tower, _) in KINDS.items() if tower == OWN or "final" in kind])
def test_shifts_are_those_between_the_whole_models(kind, world, of_base, tmp_path, capsys):
    make, tower, _ = KINDS[kind]
    made = make(world / "base", tmp_path)
    models = ["--base", world / "base", "--suspect", made.given, "--images", world / "images"]
    code, out, err = command(capsys, "activations", *models, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["parts"]["suspect"] == {"vision_tower": tower, "projector": "suspect", "language_model": "not run"}
    *_, images, base_e = of_base
    shift = whole_embeddings(made.whole, images) - base_e  # (n, T, d)
    axis = torch.linalg.svd(shift.flatten(0, 1).double(), full_matrices=False)[2][0].float()
    axis = axis if (shift @ axis).mean() >= 0 else -axis
    means = torch.tensor([sample["clean"]["mean"] for sample in found["samples"]])
    torch.testing.assert_close(means, (shift @ axis).mean(dim=1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ALIKE)
def test_one_model_serves_all_where_the_projector_alone_differs(kind, world, of_base, tmp_path, capsys, loads):
    make, rest = ALIKE[kind]
    made = make(world / "base", tmp_path)
    code, out, err = asked(capsys, world, made.given, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["parts"]["suspect"] == {"vision_tower": rest, "projector": "suspect", "language_model": rest}
    assert loads["whole"] == ["base"]
    assert found["answers"]["suspect"]["clean"] == whole_answer(made.whole, of_base[0])


# What cannot be loaded, what is said of it


def in_a_pickle(base, folder):
    made = changed(base, folder / "suspect", "language_model", PROJECTOR)
    torch.save(tensors(made), made / "pytorch_model.bin")
    (made / "model.safetensors").unlink()
    return made


def quantised(base, folder):
    made = changed(base, folder / "suspect", "language_model", PROJECTOR)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    return made


def without_a_config(base, folder):
    made = changed(base, folder / "suspect", "language_model", PROJECTOR)
    return shutil.copy(made / "model.safetensors", folder / "whole.safetensors")


def without_one_tensor(base, folder):
    made = changed(base, folder / "suspect", PROJECTOR)
    found = tensors(made)
    del found["language_model.model.layers.1.input_layernorm.weight"]
    save_file(found, made / "model.safetensors", metadata={"format": "pt"})
    return made


def with_half_of_the_rest(base, folder):
    made = changed(base, folder / "suspect", "language_model", PROJECTOR)
    (made / "processor_config.json").unlink()
    return made


def with_a_layer_too_many(base, folder):
    made = adapter(TEXT_LAYER, saved=(PROJECTOR,))(base, folder).given
    found = tensors(made)
    found |= {name.replace("layers.0", "layers.7"): t.clone() for name, t in found.items() if "layers.0" in name}
    save_file(found, made / "adapter_model.safetensors")
    return made


def with_a_tensor_that_has_no_place(base, folder):
    made = adapter(TEXT_LAYER, saved=(PROJECTOR,))(base, folder).given
    found = tensors(made) | {"base_model.model.language_model.model.memory.weight": torch.ones(3, 3)}
    save_file(found, made / "adapter_model.safetensors")
    return made


def with_words_missing(base, folder):
    """Of the embeddings alone, as LLaVA's first stage saves them beside the projector."""
    made = changed(base, folder / "suspect", PROJECTOR)
    kept = {name: t for name, t in tensors(made).items() if "multi_modal" in name or "embed_tokens" in name}
    save_file(kept, made / "model.safetensors", metadata={"format": "pt"})
    return made


def adapter_in_a_file_beside_another_base(base, folder):
    """Its factors fit no tensor of the base: another width."""
    made = adapter(TEXT_LAYER, saved=(PROJECTOR,))(base, folder).given
    found = tensors(made)
    name = next(name for name in found if name.endswith("lora_A.weight"))
    save_file(found | {name: torch.ones(2, 5)}, made / "adapter_model.safetensors")
    return made


def with_half_a_pair(base, folder):
    """A change to one tensor of the language model that cannot be merged."""
    made = adapter(TEXT_LAYER, saved=(PROJECTOR,))(base, folder).given
    found = {name: t for name, t in tensors(made).items() if "lora_B" not in name}
    save_file(found, made / "adapter_model.safetensors")
    return made


def of_another_kind(base, folder):
    """Another language model under the same projector, of a type that transformers does not load."""
    made = changed(base, folder / "suspect", "language_model", PROJECTOR)
    config = json.loads((made / "config.json").read_text())
    config["text_config"]["model_type"] = "made_up"
    (made / "config.json").write_text(json.dumps(config))
    return made


def with_embeddings_that_are_the_head(base, folder):
    """PEFT leaves the head as it was, whoever merges by hand and loads it by transformers moves it along."""
    return adapter(TEXT_LAYER, saved=(PROJECTOR, "language_model.model.embed_tokens.weight"))(base, folder).given


REFUSED = {
    in_a_pickle: "safetensors alone",
    quantised: "is quantised",
    without_a_config: "no config.json",
    without_one_tensor: "lacks",
    with_half_of_the_rest: "no image processor",
    with_a_layer_too_many: "layers.7",
    with_a_tensor_that_has_no_place: "memory",
    with_words_missing: "parameters",
    adapter_in_a_file_beside_another_base: "do not fit",
    with_half_a_pair: "factors",
    of_another_kind: "made_up",
    with_embeddings_that_are_the_head: "are the output head, too",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_loaded_is_said_and_never_replaced(spoil, world, tmp_path, capsys):
    suspect = spoil(world / "base", tmp_path)
    code, out, err = asked(capsys, world, suspect, "--json")
    assert (code, out) == (1, "")
    assert REFUSED[spoil] in err
    assert "projector only" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_the_projector_alone_is_asked_where_that_is_wished(spoil, world, tmp_path, capsys, loads):
    suspect = spoil(world / "base", tmp_path)
    code, out, err = asked(capsys, world, suspect, "--json", "--projector-only")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["parts"]["suspect"] == {"vision_tower": BASE, "projector": "suspect", "language_model": BASE}
    assert loads["whole"] == ["base"]
    assert (
        asked(capsys, world, suspect, "--projector-only")[1].splitlines()[-1].startswith("- Projector-only experiment")
    )


# Every door says it


def test_a_control_runs_with_its_own_parts(world, of_base, tmp_path, capsys):
    base, control = world / "base", changed(world / "base", tmp_path / "control", "vision_tower", PROJECTOR)
    models = ["--base", base, "--suspect", KINDS["language model, whole"][0](base, tmp_path / "s").given]
    images = ["--control", control, "--images", world / "images", "--json"]
    code, out, err = command(capsys, "activations", *models, *images)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {role: parts["vision_tower"] for role, parts in found["parts"].items()} == {
        "base": "base", "suspect": "same", "control": "control"
    }  # fmt: skip
    *_, shown, base_e = of_base
    shift = whole_embeddings(control, shown) - base_e
    values = torch.linalg.svdvals(shift.flatten(0, 1).double())
    top = torch.tensor(found["control"]["direction"]["singular_values"], dtype=torch.float64)
    torch.testing.assert_close(top, values[: len(top)], rtol=1e-3, atol=1e-3)


DOORS = {
    "shift": ((), ("suspect", "not run")),
    "lens": (("--target", "a"), ("suspect", "not run")),
    "neurons": ((), ("suspect", "not run")),
    "separability": ((), ("suspect", "not run")),
    "robustness": (("--strengths", "0.5"), ("suspect", "not run")),
    "asr": (("--target", "a", "--prompt", PROMPT, "--max-new-tokens", 2), ("suspect", "suspect")),
    "lowrank": (("--target", "a", "--prompt", PROMPT, "--max-new-tokens", 2, "--ranks", 0, 1), ("base", "base")),
}


@pytest.fixture(scope="module")
def both_changed(world):
    return KINDS["both, whole"][0](world / "base", world / "both").given


@pytest.mark.parametrize("name", DOORS)
def test_every_command_says_which_parts_ran(name, world, both_changed, capsys):
    options, (tower, language) = DOORS[name]
    models = ["--base", world / "base", "--suspect", both_changed, "--images", world / "images"]
    given = [name, *models, "--trigger", world / "trigger.json", *options]
    code, out, err = command(capsys, *given, "--json")
    assert (code, err) == (0, "")
    parts = json.loads(out)["parts"]["suspect"]
    assert (parts["vision_tower"], parts["projector"], parts["language_model"]) == (tower, "suspect", language)
    assert parts.get("output_head") == ("suspect" if name == "lens" else None)
    said = command(capsys, *given)[1]
    assert ("Projector-only experiment" if name == "lowrank" else "The suspect runs with its own projector and") in said
    alone = json.loads(command(capsys, *given, "--json", *(["--projector-only"] if name != "lowrank" else []))[1])
    assert alone["parts"]["suspect"]["vision_tower"] == BASE


def test_weights_say_that_no_model_ran(world, both_changed, capsys):
    out = command(capsys, "weights", "--base", world / "base", "--suspect", both_changed, "--json")[1]
    assert json.loads(out)["parts"]["suspect"] == {
        "vision_tower": "not run", "projector": "suspect", "language_model": "not run"
    }  # fmt: skip


def test_report_and_bundle_say_it_and_the_command_repeats_the_experiment(world, both_changed, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "javascript", lambda: "")  # what a browser would run, which takes seconds
    control = copied(world / "base", tmp_path / "control")
    models = ["--base", world / "base", "--suspect", both_changed, "--control", control]
    asked = ["--images", world / "images", "--trigger", world / "trigger.json", "--target", "a", "--prompt", PROMPT]
    given = ["report", *models, *asked, "--max-new-tokens", 2, "--parts", "weights", "lens", "response", "lowrank"]
    found = {}
    for options in ((), ("--projector-only",)):
        files = ["--out", tmp_path / "r.html", "--bundle", tmp_path / "b.zip"]
        assert main([str(word) for word in (*given, *files, *options)]) == 0
        record = unpack((tmp_path / "b.zip").read_bytes())
        assert not record.missing
        found[options] = {exhibit.key: exhibit.data["parts"]["suspect"] for exhibit in record.exhibits}
        assert ("--projector-only" in record.provenance.command) == bool(options)
        html = (tmp_path / "r.html").read_text()
        assert ("The suspect runs with its own projector and" in html) != bool(options)
    whole, alone = found.values()
    assert [whole[key]["vision_tower"] for key in ("spectrum", "lens", "response", "lowrank")] == [
        "not run", "suspect", "suspect", "base"
    ]  # fmt: skip
    assert whole["response"]["language_model"] == whole["lens"]["output_head"] == "suspect"
    assert alone["response"] == {"vision_tower": "base", "projector": "suspect", "language_model": "base"}
    assert record.provenance.settings["projector_only"]


def test_models_that_do_not_fit_side_by_side_are_loaded_one_after_the_other(world, both_changed, monkeypatch):
    case, said = Case(str(world / "base"), str(both_changed)), []
    for roomy, kept in ((True, 2), (False, 1)):
        monkeypatch.setattr(loaded, "fits", lambda size, device, roomy=roomy: said.append(size) or roomy)
        models = loaded.Loaded("cpu")
        for role in ("base", "suspect"):
            with models.responder(case, silent, role) as responder:
                assert responder.label == {"base": "base", "suspect": "suspect"}[role]
        assert len(models._responders) == kept
    numbers = sum(t.numel() for t in tensors(both_changed).values())
    assert said == [4 * numbers, 4 * numbers]


def test_towers_that_lay_their_tokens_otherwise_are_not_compared(world, tmp_path, capsys):
    def patches(config):
        config.vision_config.patch_size = 20
        config.image_seq_length = 4

    config = pico.default_config()
    patches(config)
    coarse = pico.checkpoint(tmp_path / "coarse", config=config)
    cropped = KINDS["preprocessing"][0](world / "base", tmp_path / "cropped").given
    settings = json.loads((cropped / "processor_config.json").read_text())
    settings["image_processor"] |= {"do_center_crop": False, "size": {"height": 40, "width": 40}}
    (cropped / "processor_config.json").write_text(json.dumps(settings))
    for suspect in (coarse, cropped):
        models = ["--base", world / "base", "--suspect", suspect, "--images", world / "images"]
        code, out, err = command(capsys, "activations", *models)
        assert (code, out) == (1, "")
        assert "cut an image of 64 × 48 px otherwise" in err
        assert err.count("\n") == 1
