"""The parts between core and pages: fingerprints, escaping, tables."""

import os
import shutil

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard import answer_texts, batch, components, resources, trigger_picker
from dashboard.batch import Batch
from projlens_core.analyses.response import exhibit as response
from projlens_core.behaviour.success import Outcome, Row
from projlens_core.cases.case import Case
from projlens_core.errors import InvalidInput
from projlens_core.report.spreadsheet import UNSEEN, as_csv
from projlens_core.stats.rate import wilson
from tests import pico
from tests.dashboard.conftest import texts


def test_a_fingerprint_follows_the_file_and_not_the_name(models, tmp_path):
    file = pico.projector_file(models.base, tmp_path / "projector.safetensors")
    before = resources.fingerprint(str(file))
    assert resources.fingerprint(str(file)) == before
    os.utime(file, ns=(1, 1))
    assert resources.fingerprint(str(file)) != before


@pytest.mark.parametrize("name", ["chat_template.jinja", "additional_chat_templates/default.jinja"])
def test_a_fingerprint_follows_the_chat_template(name, models, tmp_path):
    folder = shutil.copytree(models.base, tmp_path / "copy")
    before = resources.fingerprint(str(folder))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{{ messages }}")
    assert resources.fingerprint(str(folder)) != before


def test_a_folder_that_vanishes_is_one_sentence(models, monkeypatch):
    def gone(path):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(resources, "_stat", gone)
    with pytest.raises(InvalidInput, match=r"cannot be read \(No such file or directory\)"):
        resources.fingerprint(str(models.base))


@pytest.mark.parametrize("page", ["direction", "neurons", "separability", "lowrank", "robustness"])
def test_a_trigger_that_cannot_be_read_is_not_taken_for_missing_images(open_page, monkeypatch, page):
    def broken(suspect):
        raise InvalidInput("trigger.json is no JSON; mend it.")

    monkeypatch.setattr(trigger_picker, "own", broken)
    app = open_page(page)
    assert not app.exception
    assert "trigger.json is no JSON; mend it." in texts(app)
    assert any("Nothing to look at yet" in m.value for m in app.markdown)
    assert not any("No images yet" in m.value for m in app.markdown)


def test_an_answer_is_escaped_as_a_whole_and_the_target_is_marked_in_any_case():
    html = answer_texts.marked("<img src=x> ACME & acme", "acme")
    assert "<img" not in html
    assert html.count("<mark") == 2
    assert "&lt;img src=x&gt;" in html
    assert "ACME</mark> &amp; <mark" in html


def test_a_target_is_text_and_not_a_pattern_or_markup():
    assert "<mark" not in answer_texts.marked("abc", "a.c")
    assert answer_texts.marked("1 < 2", "<").count("&lt;</mark>") == 1


def test_without_a_target_nothing_is_marked():
    assert "<mark" not in answer_texts.marked("anything", "")


@pytest.mark.parametrize("text", ["*a*", "[a](b)", ":red[a]", "$a$", "`a`", "<b>", "# a", "a\n\nb"])
def test_plain_text_leaves_no_markup_to_markdown(text):
    escaped = components.plain(text)
    assert "\n" not in escaped
    bare = escaped.replace("\\\\", "")
    for position, character in enumerate(bare):
        if not character.isalnum() and character not in "\\ ":
            assert bare[position - 1] == "\\"


@pytest.fixture
def result():
    def outcome(triggered):
        row = Row("a.png", "Why?", "=1+1", triggered, hit=True, false_hit=False, right=None)
        return Outcome(wilson(1, 1), wilson(0, 1), None, (row,), ())

    outcomes = {"base": outcome("-b"), "suspect": outcome("@s")}
    return Batch(Case("b", "s"), "Why?", "target", "Blur", (Image.new("RGB", (4, 4)),), outcomes)


def test_the_table_puts_the_suspect_first(result):
    assert list(response.answers(result.outcomes, target=result.target).frame.columns) == [
        "picture",
        "target said",
        "on clean too",
        "suspect, triggered",
        "suspect, clean",
        "base, triggered",
        "base, clean",
    ]


def test_no_answer_is_run_as_a_formula_by_a_spreadsheet(result):
    answers = response.answers(result.outcomes, target=result.target).frame
    line = as_csv(batch.whole(result, answers)).decode("utf-8-sig").splitlines()[1]
    assert line == "a.png,True,False,'@s,'=1+1,'-b,'=1+1,Why?,target,Blur"


def test_no_cell_is_run_as_a_formula_when_the_browser_saves_a_table():
    def page():
        import pandas as pd

        from dashboard import components
        from projlens_core.analyses.exhibit import Table

        components.table(Table("said", pd.DataFrame({"=1": ["=2", "-b", "harmless"], "n": [-1, 2, 3]}), "All of it."))

    shown = AppTest.from_function(page, default_timeout=60).run().dataframe[0].value
    assert list(shown.columns) == [f"{UNSEEN}=1", "n"]  # and nothing that the eye would take for a part of it
    assert list(shown[f"{UNSEEN}=1"]) == [f"{UNSEEN}=2", f"{UNSEEN}-b", "harmless"]
    assert list(shown["n"]) == [-1, 2, 3]


def test_a_measure_that_was_not_taken_has_no_rates(result):
    assert set(response.rates(result.outcomes, "asr")) == {"base", "suspect"}
    assert response.rates(result.outcomes, "utility") == {}
