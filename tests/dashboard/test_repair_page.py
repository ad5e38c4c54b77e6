"""The page Repair on pico models: what it says before, what it shows after, what it offers to take away."""

import io
import json
import zipfile

import pytest

from projlens_core.repair.writer import SIDECAR
from tests import pico
from tests.dashboard.conftest import press, texts, titles


@pytest.fixture
def page(open_page):
    return open_page("repair")


def test_nothing_is_repaired_before_it_is_asked_for(page):
    assert not page.exception
    assert any("Not repaired yet" in element.value for element in page.markdown)
    assert not titles(page)


def test_a_repair_shows_before_and_after_and_can_be_taken_away(page):
    page.toggle(key="repair_search").set_value(False).run()
    page.toggle(key="repair_known").set_value(True).run()
    page.text_input(key="repair_target").set_value("xyz").run()
    press(page, "Start")
    assert not page.exception
    assert "Before and after, on fresh images" in titles(page)
    assert any("Singular values of ΔW₂" in title for title in titles(page))
    assert page.metric[0].value == "Not shown"
    assert any(element.value.startswith("Not shown to be repaired") for element in page.markdown)
    for view in ("Answers", "Triggers", "Rounds"):
        page.segmented_control(key="repair_view").set_value(view).run()
        assert not page.exception
        assert len(page.dataframe) == 1


def test_a_suspect_in_which_nothing_is_found_is_shown_as_it_is(page):
    press(page, "Start")
    assert not page.exception
    assert page.metric[0].value == "Left as it is"
    assert any("the search found no trigger" in element.value for element in page.markdown)
    for view in ("Answers", "Triggers", "Rounds"):
        page.segmented_control(key="repair_view").set_value(view).run()
        assert not page.exception


def test_what_is_taken_away_is_the_suspect_with_its_sidecar(models):
    from dashboard import resources
    from dashboard.page import Request
    from dashboard.pickers import SetChoice
    from dashboard.repairs import repaired
    from projlens_core.analyses.repair import RepairOptions
    from projlens_core.inputs.triggers import TriggerSpec
    from projlens_core.runtime.progress import silent

    choice = SetChoice(resources.samples(), TriggerSpec("solid", 40))
    asked, known = (Request(models.case, choice, silent, ask=ask) for ask in (True, False))
    made = repaired(asked, (RepairOptions(search=False), False))
    assert repaired(known, (RepairOptions(search=False), False)) is made
    assert repaired(known, (RepairOptions(search=False, seed=1), False)) is None
    archive = zipfile.ZipFile(io.BytesIO(made.archive))
    assert {SIDECAR, "model.safetensors", "config.json"} <= set(archive.namelist())
    assert json.loads(archive.read(SIDECAR))["sentence"] == made.exhibit.data["sentence"]


def test_a_form_that_cannot_be_written_is_said_before_anything_runs(open_page, models, tmp_path):
    import torch
    from safetensors.torch import load_file

    tensors = load_file(pico.projector_file(models.suspect, tmp_path / "p.safetensors"))
    (tmp_path / "pickled").mkdir()
    torch.save(tensors, tmp_path / "pickled" / "mm_projector.bin")
    app = open_page("repair", {"base": str(models.base), "suspect": str(tmp_path / "pickled" / "mm_projector.bin")})
    assert not app.exception
    assert "only safetensors are written" in texts(app)


def test_without_a_case_the_page_leads_to_the_case_page(open_page):
    app = open_page("repair", {})
    assert any("No case yet" in element.value for element in app.markdown)
