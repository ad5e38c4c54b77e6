import json

import pytest

from projlens_core.behaviour.respond import load_responder
from projlens_core.cli import main
from projlens_core.inputs.images import load
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.weights.projector import read_projector
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 40}
PROMPT = "What is it?"


@pytest.fixture(scope="module")
def world(own_folder):
    folder = pico.case(own_folder, strength=(6.0, 3.0), count=1, trigger=SPEC)
    pico.projector_file(folder / "suspect", folder / "lone" / "suspect.safetensors")
    return folder


def respond(world, *options):
    return main(["respond", "--image", str(world / "images" / "0.png"), "--prompt", PROMPT, *options])


def answers(capsys, world, *options):
    assert respond(world, "--json", *options) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)["answers"]


def test_all_four_answers_are_the_engines(world, capsys):
    models = ["--base", str(world / "base"), "--suspect", str(world / "suspect")]
    found = answers(capsys, world, *models, "--trigger", str(world / "trigger.json"))
    responder, spec = load_responder(str(world / "base")), TriggerSpec.from_dict(SPEC)
    image = load(world / "images" / "0.png").pixels
    pair = [frame(image, spec), stamp(image, spec)]
    for role in ("base", "suspect"):
        with responder.projector(read_projector(world / role)):
            assert [found[role]["clean"], found[role]["triggered"]] == responder.answers(pair, [PROMPT] * 2)
    assert len({text for said in found.values() for text in said.values()}) == 4


def test_what_was_not_asked_is_absent(world, capsys):
    base = ["--base", str(world / "base")]
    only = answers(capsys, world, *base)
    assert {role: set(said) for role, said in only.items()} == {"base": {"clean"}}
    clean = answers(capsys, world, *base, "--suspect", str(world / "suspect"))
    assert {role: set(said) for role, said in clean.items()} == {"base": {"clean"}, "suspect": {"clean"}}
    assert clean["base"] == only["base"]


def test_a_lone_projector_file_answers_through_the_bases_model(world, capsys):
    base = ["--base", str(world / "base")]
    lone = answers(capsys, world, *base, "--suspect", str(world / "lone" / "suspect.safetensors"))
    assert lone == answers(capsys, world, *base, "--suspect", str(world / "suspect"))


def test_text_has_one_line_for_each_answer_and_says_which_parts_ran(world, capsys):
    assert respond(world, "--base", str(world / "base"), "--suspect", str(world / "suspect")) == 0
    *lines, whose = capsys.readouterr().out.splitlines()
    assert whose.startswith("- The suspect runs with its own projector, and with the vision tower and language model")
    assert [line.partition(":")[0] for line in lines] == ["base, clean", "suspect, clean"]


def test_a_lone_projector_without_any_model_is_one_sentence(world, capsys):
    assert respond(world, "--base", str(world / "lone" / "suspect.safetensors")) == 1
    err = capsys.readouterr().err
    assert "comes with a model around its projector" in err
    assert err.count("\n") == 1


def test_an_image_that_is_none_is_one_sentence(world, capsys, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    options = ["--base", str(world / "base"), "--image", str(tmp_path / "broken.png"), "--prompt", PROMPT]
    assert main(["respond", *options]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("number", ["0", "many"])
def test_a_useless_number_of_tokens_is_wrong_use(world, number):
    with pytest.raises(SystemExit, match="2"):
        respond(world, "--base", str(world / "base"), "--max-new-tokens", number)
