"""A suspect with a tower or language model of its own on the pages, and the switch that leaves them out."""

import html
import json
import re

import pytest

from projlens_core.cases.case import PROJECTOR_ONLY, Case
from projlens_core.cli import main
from projlens_core.inputs.triggers import PRESETS
from tests.dashboard.conftest import press, texts
from tests.whole_models import KINDS

QUESTION = "What is in the picture?"


@pytest.fixture(scope="module")
def made(models, tmp_path_factory):
    """{kind: its folder}."""
    kept = {}

    def get(kind):
        if kind not in kept:
            kept[kind] = KINDS[kind][0](models.base, tmp_path_factory.mktemp("whole")).given
        return kept[kind]

    return get


def spoken(app):
    """All that stands on the page as text, without what keeps Markdown from acting."""
    shown = [element.value for element in (*app.markdown, *app.caption, *app.text)]
    answers = [html.unescape(re.sub(r"<[^>]*>", "", element.proto.body)) for element in app.get("html")]
    return " ".join([re.sub(r"\\(.)", r"\1", " ".join(shown)), *answers])


def answer(capsys, case, image, *options):
    trigger = image.parent.parent / "trigger.json"  # the page's first, which frames the clean image, too
    trigger.write_text(next(iter(PRESETS.values())).to_json())
    asked = ["respond", "--base", case.base, "--suspect", case.suspect, "--image", str(image), "--prompt", QUESTION]
    asked += ["--trigger", str(trigger)]
    assert main([*asked, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)["answers"]["suspect"]["clean"]


@pytest.mark.parametrize("kind", ["language model, whole", "LoRA on both"])
def test_the_page_shows_the_answers_of_the_whole_suspect(kind, open_page, models, made, samples, capsys):
    case = Case(str(models.base), str(made(kind)))
    page = open_page("response", case.to_params())
    press(page, "Ask")
    assert not page.exception
    own = answer(capsys, case, samples / "sample-0.png")
    assert own in spoken(page)
    assert "The suspect runs with its own projector and" in spoken(page)
    alone = Case(case.base, case.suspect, projector_only=True)
    page = open_page("response", alone.to_params())
    press(page, "Ask")
    lent = answer(capsys, case, samples / "sample-0.png", "--projector-only")
    assert lent != own
    assert lent in spoken(page)
    assert "Projector-only experiment" in spoken(page)


@pytest.mark.parametrize("name", ["activation", "neurons", "separability", "direction"])
def test_pages_about_activations_say_whose_tower_they_read_from(name, open_page, models, made):
    page = open_page(name, Case(str(models.base), str(made("vision tower, whole")), str(models.control)).to_params())
    assert not page.exception
    said = spoken(page)
    assert "The suspect runs with its own projector and vision tower" in said
    assert "The control runs with its own projector, and with the vision tower" in said


def test_the_low_rank_lab_says_that_it_is_about_the_projector_alone(open_page, models, made):
    case = Case(str(models.base), str(made("language model, whole")))
    page = open_page("lowrank", case.to_params())
    page.text_input(key=f"target {case.suspect}").set_value("a").run()
    assert not page.exception
    assert "Projector-only experiment" in spoken(page)


def test_weights_say_that_no_model_ran(open_page, models, made):
    for name in (None, "weights"):
        page = open_page(name, Case(str(models.base), str(made("language model, whole"))).to_params())
        assert "no vision tower and no language model was run" in spoken(page)


def test_the_switch_on_the_case_page_makes_it_an_experiment_and_stands_in_the_address(open_page, models, made):
    page = open_page(None, Case(str(models.base), str(made("vision tower, whole"))).to_params())
    page.toggle[0].set_value(True).run()
    assert not page.exception
    assert page.query_params[PROJECTOR_ONLY] == "1"
    assert any("projector only" in element.proto.body for element in page.get("html"))
    page.toggle[0].set_value(False).run()
    assert PROJECTOR_ONLY not in page.query_params


def test_what_cannot_be_loaded_is_one_sentence_on_the_page(open_page, models, made, tmp_path):
    whole = made("language model, whole")
    lone = tmp_path / "whole.safetensors"
    lone.write_bytes((whole / "model.safetensors").read_bytes())
    page = open_page("response", Case(str(models.base), str(lone)).to_params())
    press(page, "Ask")
    assert not page.exception
    assert "brings its own language model" in texts(page)
    assert "projector only" in texts(page)
