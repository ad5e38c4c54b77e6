"""Which chat template a prompt was written with, as each command says it: found elsewhere, missing, for text alone."""

import json

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from projlens_core.cli import main
from projlens_core.report import drawing
from tests import pico
from tests.core.test_templates import JINJA, LEGACY, PROCESSOR, SEVERAL, TEXT_ONLY, TOKENIZER, put, said

SPEC = {"kind": "solid", "resolution": 80, "px": 40, "position": "top-left"}
SHORT = ["--max-new-tokens", "4"]
NOTE = (
    "No chat template was found in base: the prompt is LLaVA-1.5's “USER: … ASSISTANT:”, and the answers may not be "
    "what its users see."
)


@pytest.fixture(scope="module")
def world(own_folder):
    """A case whose base has no chat template."""
    folder = pico.case(own_folder, strength=(6.0, 3.0), count=2, trigger=SPEC)
    (folder / "base" / JINJA).unlink()
    put(folder / "base", {TOKENIZER: None})
    return folder


@pytest.fixture
def place(world):
    """Put templates into the base for one test."""
    before = {name: (world / "base" / name).read_bytes() for name in (PROCESSOR, TOKENIZER)}
    yield lambda places: put(world / "base", places)
    for name in (LEGACY, JINJA):
        (world / "base" / name).unlink(missing_ok=True)
    for name, content in before.items():
        (world / "base" / name).write_bytes(content)


def command(world, name, *options):
    # a projector alone is asked by base's model: a suspect that brings a template is asked with its own
    lone = pico.projector_file(world / "suspect", world / "suspect.safetensors")
    models = ["--base", str(world / "base"), "--suspect", str(lone)]
    trigger = [] if "--no-trigger" in options else ["--trigger", str(world / "trigger.json")]
    return main([name, *models, *trigger, *options, *SHORT])


def respond(world, *options):
    return command(world, "respond", "--image", str(world / "images" / "0.png"), "--prompt", "What?", *options)


def many(world, name, *options):
    attack = ["--target", "e", "--prompt", "What?"]
    return command(world, name, "--images", str(world / "images"), *attack, *options)


def by_transformers(folder, image):
    """The whole model's answer to the image as transformers alone gives it."""
    processor = AutoProcessor.from_pretrained(folder)
    template = processor.tokenizer.get_chat_template() if processor.chat_template is None else None
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=template,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    model = AutoModelForImageTextToText.from_pretrained(folder)
    new = model.generate(**inputs, max_new_tokens=4, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(new, skip_special_tokens=True).strip()


@pytest.mark.parametrize(
    ("places", "file", "name"),
    [
        ({LEGACY: said("a"), TOKENIZER: TEXT_ONLY}, LEGACY, None),
        ({PROCESSOR: said("bb"), TOKENIZER: TEXT_ONLY}, PROCESSOR, None),
        ({TOKENIZER: SEVERAL}, TOKENIZER, "default"),
        ({JINJA: said("dddd"), TOKENIZER: said("c")}, JINJA, None),
    ],
)
def test_answers_are_those_of_transformers_wherever_the_template_stands(places, file, name, world, place, capsys):
    place(places)
    assert respond(world, "--no-trigger", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    image = pico.images(2)[0]
    assert found["answers"]["base"]["clean"] == by_transformers(world / "base", image)
    assert found["chat_template"] == {"origin": "checkpoint", "file": file, "name": name, "note": None}


@pytest.mark.parametrize("name", ["respond", "asr", "lowrank", "robustness"])
def test_a_template_for_text_alone_is_refused_in_one_sentence(name, world, place, capsys):
    place({TOKENIZER: TEXT_ONLY})
    options = {"lowrank": ["--ranks", "0"], "robustness": ["--asr", "--qualities", "50"]}.get(name, [])
    assert (respond(world) if name == "respond" else many(world, name, *options)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "The chat template of base (tokenizer_config.json) leaves the image out, so what its users ask about an image "
        "is not known; replace it by the one that the model was trained with.\n"
    )


def test_respond_says_with_the_answers_that_there_is_no_template(world, capsys):
    assert respond(world, "--json") == 0
    missing = {"origin": "none", "file": None, "name": None, "note": NOTE}
    assert json.loads(capsys.readouterr().out)["chat_template"] == missing
    assert respond(world) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"- {NOTE}"


def test_asr_says_so_of_each_projector(world, capsys):
    assert many(world, "asr", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [found[role]["chat_template"]["note"] for role in ("base", "suspect")] == [NOTE, NOTE]
    assert many(world, "asr") == 0
    assert capsys.readouterr().out.count(f"- {NOTE}\n") == 1


def test_lowrank_says_so_also_of_cells_that_were_stored(world, capsys):
    for _ in range(2):
        assert many(world, "lowrank", "--ranks", "0", "1", "--json") == 0
        assert json.loads(capsys.readouterr().out)["chat_template"]["note"] == NOTE
    assert many(world, "lowrank", "--ranks", "0", "1") == 0
    assert f"- {NOTE}\n" in capsys.readouterr().out


def test_robustness_says_so_where_answers_were_asked_for(world, capsys):
    assert many(world, "robustness", "--qualities", "50", "--asr", "--json") == 0
    assert json.loads(capsys.readouterr().out)["chat_template"]["note"] == NOTE
    assert many(world, "robustness", "--qualities", "50", "--asr") == 0
    assert f"- {NOTE}\n" in capsys.readouterr().out
    shift = ["--base", str(world / "base"), "--suspect", str(world / "suspect"), "--images", str(world / "images")]
    assert main(["robustness", *shift, "--trigger", str(world / "trigger.json"), "--qualities", "50", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chat_template"] is None


def test_the_report_says_so_beside_every_part_that_asks(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(drawing, "javascript", lambda: "")
    out = tmp_path / "report.html"
    assert many(world, "report", "--n", "1", "--parts", "response", "lowrank", "--out", str(out)) == 0
    assert "holds 2 parts." in capsys.readouterr().out
    assert out.read_text().replace("&#39;", "'").count(NOTE) >= 2
