import io
import json
import zipfile

import pytest

from dashboard import reports, state
from projlens_core.report import drawing
from projlens_core.report.bundle import pack, unpack
from tests.core.test_bundle import some_record
from tests.core.test_report import HOSTILE, hostile_record
from tests.dashboard.conftest import SAMPLES, press, texts, titles


@pytest.fixture(autouse=True)
def no_vega(monkeypatch):
    """What the browser would run is tested there; putting it together takes seconds."""
    monkeypatch.setattr(drawing, "javascript", lambda: "")


@pytest.fixture
def report(open_page):
    return open_page("report")


def choose(app, *parts: str):
    app.button_group(key="report_parts").set_value(list(parts))
    return app


def test_nothing_is_computed_before_generate_is_pressed(report):
    assert not report.exception
    assert any("No report yet" in m.value for m in report.markdown)
    assert not report.download_button or all("Report" not in b.label for b in report.download_button)


def test_a_report_and_a_bundle_are_made_of_the_chosen_parts(report):
    press(choose(report, "case", "separability"), "Generate")
    assert not report.exception
    labels = [button.label for button in report.download_button]
    assert {"Report (HTML)", "Case bundle (ZIP)"} <= set(labels)
    _, record = report.session_state[state.RECORD]
    assert [exhibit.key for exhibit in record.exhibits] == ["case", "separability"]
    assert unpack(pack(record)).exhibits[0].key == "case"
    assert "Singular values of ΔW₂" in titles(report)
    assert reports.html(record).startswith(b"<!doctype html>")


def test_what_generating_costs_is_said_before_and_it_can_be_stopped(report):
    choose(report, "case", "response", "lowrank").run()
    answers = 3 * SAMPLES * (2 + 1) + SAMPLES * 2 * (5 * 5 + 3)  # of each projector; of each cell and projector
    assert any(f"Up to {answers} answers of the language model: about" in each.value for each in report.caption)
    choose(report, "case", "verdict").run()
    assert any("No language model is asked" in each.value for each in report.caption)
    assert any("Verdict: minutes more" in each.value for each in report.caption)
    report.session_state[state.STOPPED] = True  # as a click on Stop leaves it
    report.run()
    assert any("Stopped; no report was made" in each.value for each in report.caption)


def test_a_part_that_fails_is_said_and_the_others_are_there(report):
    press(choose(report, "case", "lowrank"), "Generate")
    assert not report.exception
    assert "Low-rank lab: not done: No target text is known for this suspect; give one." in texts(report)
    assert "Singular values of ΔW₂" in titles(report)


def test_a_record_of_another_case_is_not_shown(report, models):
    press(choose(report, "case"), "Generate")
    report.query_params["suspect"] = str(models.control)
    report.run()
    assert any("No report yet" in m.value for m in report.markdown)


def test_without_a_case_a_bundle_can_still_be_opened(open_page):
    app = open_page("report", {})
    assert not app.exception
    assert any("No case yet" in m.value for m in app.markdown)
    app.session_state[state.STORED] = unpack(pack(some_record()))
    app.run()
    assert not app.exception
    assert "Made 2026-11-23 00:00 UTC by ProjLens 0.1.0. Nothing was computed here." in texts(app)
    assert "Computed with ProjLens 0.1.0 with other source files, python 3.11 (here " in texts(app)
    assert titles(app) == ["Attack success rate"]
    press(app, "Close the bundle")
    assert titles(app) == []


def test_a_stored_result_is_shown_in_the_place_of_the_cases_own(report):
    report.session_state[state.STORED] = unpack(pack(some_record()))
    report.run()
    assert not report.exception
    assert [metric.label for metric in report.metric] == ["ASR"]
    assert report.dataframe[0].value["picture"].tolist() == ["a.png", "b.png"]
    assert "Logit lens: not done: It was not asked for." in texts(report)


def test_texts_of_a_bundle_are_no_markup(open_page):
    app = open_page("report", {})
    record = hostile_record()
    app.session_state[state.STORED] = record
    app.run()
    assert not app.exception
    assert all("[link](" not in element.value for element in (*app.caption, *app.markdown))
    assert HOSTILE not in app.metric[0].label


def upload(app, data: bytes):
    return app.file_uploader[0].set_value(("case.zip", data, "application/zip")).run()


def test_an_uploaded_bundle_is_shown_and_one_that_is_refused_is_one_sentence(report):
    upload(report, b"These are notes.")
    assert not report.exception
    assert "The file is no case bundle, or a damaged one" in texts(report)
    upload(report, pack(some_record()))
    assert not report.exception
    assert "Targeted refusal" in texts(report)
    assert "no case bundle" not in texts(report)
    assert titles(report) == ["Attack success rate"]


def test_the_command_is_left_out_where_images_lie_in_the_session_alone(report):
    press(choose(report, "case"), "Generate")
    _, record = report.session_state[state.RECORD]
    assert record.provenance.command == ""  # the trigger is nobody's own
    with zipfile.ZipFile(io.BytesIO(pack(record))) as archive:
        assert json.loads(archive.read("manifest.json"))["provenance"]["settings"]["images"] == 6
