import csv
import json
import shutil
import sys
from io import StringIO
from types import SimpleNamespace

import pytest

from projlens_core import sources
from projlens_core.behaviour.difference import words
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.success import contains_target
from projlens_core.cli import main
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.weights.projector import read_projector
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 40}
PROMPT = "What is it?"
IMAGES = 4


@pytest.fixture(scope="module")
def world(own_folder):
    folder = pico.case(own_folder, strength=(6.0, 3.0), count=IMAGES, trigger=SPEC)
    (folder / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture(scope="module")
def said(world):
    """{role: (clean answers, triggered answers)} by the engine."""
    responder, spec = load_responder(str(world / "base")), TriggerSpec.from_dict(SPEC)
    images = pico.images(IMAGES)
    found = {}
    for role in ("base", "suspect"):
        with responder.projector(read_projector(world / role)):
            found[role] = tuple(
                responder.answers([draw(image, spec) for image in images], [PROMPT] * IMAGES) for draw in (frame, stamp)
            )
    return found


@pytest.fixture
def labels(world):
    """Write labels.csv for one test."""
    path = world / "images" / "labels.csv"
    yield path.write_text
    path.unlink(missing_ok=True)


def asr(world, *options):
    models = ["--base", str(world / "base"), "--suspect", str(world / "suspect")]
    return main(["asr", *models, "--images", str(world / "images"), *options])


def document(capsys, world, target, *options):
    assert asr(world, "--trigger", str(world / "trigger.json"), "--target", target, "--json", *options) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_rates_count_the_engines_answers(world, said, capsys):
    target = said["suspect"][1][0][:3]  # what the suspect says first about the first triggered image
    found = document(capsys, world, target, "--prompt", PROMPT)
    for role, (clean, triggered) in said.items():
        asr, false_target = found[role]["asr"], found[role]["false_target"]
        assert asr["rate"] == sum(contains_target(text, target) for text in triggered) / IMAGES
        assert false_target["rate"] == sum(contains_target(text, target) for text in clean) / IMAGES
        assert asr["n"] == false_target["n"] == IMAGES
        assert 0 <= asr["low"] <= asr["rate"] <= asr["high"] <= 1
        assert found[role]["utility"] is None
        assert [row["triggered"] for row in found[role]["rows"]] == triggered
    assert found["suspect"]["asr"]["rate"] > 0
    assert [failure["image"] for failure in found["failures"]] == ["broken.png"]


def test_utility_is_measured_by_the_labels_beside_the_images(world, said, capsys, labels):
    clean = said["base"][0]
    plain = next(i for i, text in enumerate(clean) if text and not set(text) & set(";|"))  # its answer can be a truth
    wrong = (plain + 1) % IMAGES
    table = StringIO()
    rows = [("image", "prompt", "answer"), (f"{plain}.png", PROMPT, clean[plain]), (f"{wrong}.png", PROMPT, "nonsense")]
    csv.writer(table).writerows(rows)
    labels(table.getvalue())
    found = document(capsys, world, "target", "--prompt", PROMPT)["base"]
    assert (found["utility"]["hits"], found["utility"]["n"]) == (1, 2)
    right = {row["image"]: row["right"] for row in found["rows"]}
    assert right == {f"{i}.png": {plain: True, wrong: False}.get(i) for i in range(IMAGES)}


def test_without_a_prompt_each_image_is_asked_its_own_question(world, capsys, labels):
    labels("image,prompt,answer\n" + "".join(f"{i}.png,Question {i}?,yes\n{i}.png,More?,no\n" for i in range(IMAGES)))
    found = document(capsys, world, "target", "--max-new-tokens", "2")
    assert [row["prompt"] for row in found["base"]["rows"]] == [f"Question {i}?" for i in range(IMAGES)]
    assert found["suspect"]["utility"]["n"] == 2 * IMAGES


def test_several_prompts_take_turns(world, capsys):
    found = document(capsys, world, "t", "--prompt", "A?", "--prompt", "B?", "--max-new-tokens", "1", "--limit", "3")
    assert [row["prompt"] for row in found["suspect"]["rows"]] == ["A?", "B?", "A?"]


def test_without_any_question_it_says_so(world, capsys):
    assert asr(world, "--trigger", str(world / "trigger.json"), "--target", "t") == 1
    assert "no question for 0.png" in capsys.readouterr().err


def test_a_trigger_is_required_of_a_suspect_that_is_not_the_zoos(world, capsys):
    assert asr(world, "--target", "t", "--prompt", PROMPT) == 1
    assert "compares clean with triggered images: give --trigger" in capsys.readouterr().err


def test_without_a_target_answers_that_differ_from_bases_are_counted(world, said, capsys):
    options = ["--trigger", str(world / "trigger.json"), "--prompt", PROMPT]
    assert asr(world, *options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    for place, condition in enumerate(("clean", "triggered")):
        unlike = sum(words(a) != words(b) for a, b in zip(said["suspect"][place], said["base"][place], strict=True))
        rate = found["unlike_base"][condition]["suspect"]
        assert (rate["hits"], rate["n"]) == (unlike, IMAGES)
    assert found["suspect"]["asr"] is None
    assert found["target"] is None
    assert asr(world, *options) == 0
    text = capsys.readouterr().out
    assert text.count("target on triggered images (ASR)  no target") == 2
    assert text.count("unlike base, triggered images") == 1


def test_an_empty_target_is_one_sentence(world, capsys):
    assert asr(world, "--trigger", str(world / "trigger.json"), "--target", " ", "--prompt", PROMPT) == 1
    err = capsys.readouterr().err
    assert "target is empty" in err
    assert err.count("\n") == 1


def test_text_gives_rates_with_intervals_for_both(world, capsys):
    options = ["--trigger", str(world / "trigger.json"), "--target", "zzz", "--prompt", PROMPT, "--max-new-tokens", "2"]
    assert asr(world, *options) == 0
    text = capsys.readouterr().out
    assert text.count("0.0% (0.0% to 49.0%), 0 of 4") == 4
    assert text.startswith("base\n")
    assert "left out: broken.png" in text


def test_a_suspect_of_the_zoo_brings_its_own_trigger_target_and_questions(world, tmp_path, monkeypatch, capsys):
    zoo = tmp_path / "zoo"
    shutil.copytree(world / "base", zoo / "checkpoint")
    (zoo / "triggers").mkdir()
    (zoo / "triggers" / "patch.json").write_text(json.dumps(SPEC))
    poisoned = {"trigger": "patch.json", "target": "zzz", "mode": "replace", "prompts": ["A?", "B?"]}
    models = []
    for name, role, more in (("base", "base", {}), ("suspect", "suspect", poisoned)):
        pico.projector_file(world / name, zoo / "projectors" / f"{name}.safetensors")
        models.append({"name": name, "title": name, "role": role, "summary": name} | more)
    (zoo / "zoo.json").write_text(json.dumps({"models": models}))
    monkeypatch.setattr(sources, "ZOO", zoo)
    for cached in (sources.zoo_catalogue, sources.shipped):
        cached.cache_clear()
    made = SimpleNamespace(checkpoint_folder=lambda progress: world / "base")
    monkeypatch.setitem(sys.modules, "projlens_core.demo_model.checkpoint", made)
    models = ["--base", "zoo:base", "--suspect", "zoo:suspect"]
    try:
        assert main(["asr", *models, "--images", str(world / "images"), "--json", "--max-new-tokens", "2"]) == 0
    finally:
        for cached in (sources.zoo_catalogue, sources.shipped):
            cached.cache_clear()
    found = json.loads(capsys.readouterr().out)
    assert (found["target"], found["trigger"]["px"]) == ("zzz", SPEC["px"])
    assert [row["prompt"] for row in found["suspect"]["rows"]] == ["A?", "B?", "A?", "B?"]
