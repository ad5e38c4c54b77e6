"""The report from the command line: each part alone, both files whole, and the command that repeats it."""

import shlex

import pytest
import torch

from projlens_core.activations.model import load_vision
from projlens_core.analyses.context import AnalysisInputs, inputs_for
from projlens_core.cases.case import Case
from projlens_core.cli import main
from projlens_core.cli import report as command
from projlens_core.errors import Cancelled, NotFound
from projlens_core.inputs.images import ImageSet, load_folder, named_image
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.report import drawing, gather
from projlens_core.report.bundle import unpack
from projlens_core.runtime import versions
from projlens_core.sources import zoo_catalogue
from tests import pico


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect", strength=(6.0, 2.0))
    (folder / "images").mkdir()
    for number, image in enumerate(pico.images(3)):
        image.save(folder / "images" / f"{number}.png")
    return folder


@pytest.fixture
def case(models) -> Case:
    return Case(str(models / "base"), str(models / "suspect"))


@pytest.fixture(autouse=True)
def no_vega(monkeypatch, tmp_path):
    """What the browser would run is tested there; putting it together takes seconds."""
    monkeypatch.setattr(drawing, "javascript", lambda: "")
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))


def test_a_part_that_fails_says_why_and_the_rest_is_there(case):
    record = gather.record_of(AnalysisInputs(case), ["case", "separability", "response"])
    assert [exhibit.key for exhibit in record.exhibits] == ["case"]
    assert [(part.part, part.reason) for part in record.missing] == [
        ("Separability", "No trigger is known for this suspect; give one."),
        ("Response", "No trigger is known for this suspect; give one."),
    ]
    assert set(record.provenance.hashes) == {"base", "suspect"}
    assert record.provenance.settings["parts"] == ["case", "separability", "response"]


def test_parts_come_in_the_order_of_the_pages_whatever_was_asked(case, models):
    spec = TriggerSpec(kind="solid", px=12, colour="#26ff00")
    asked = AnalysisInputs(case, load_folder(models / "images"), spec=spec)
    record = gather.record_of(asked.first(2), ["neurons", "case"])
    assert [exhibit.key for exhibit in record.exhibits] == ["case", "neurons"]
    assert record.provenance.settings["images"] == 2
    assert record.provenance.settings["seed"] == 0
    provenance = record.provenance
    assert set(provenance.hashes) == {"base", "suspect", "pictures", "vision tower"}
    assert provenance.hashes["vision tower"] == load_vision(case.base).key
    assert set(provenance.machine) == {"device", "threads", "processor"}
    assert provenance.machine["threads"] == str(torch.get_num_threads())
    assert provenance.versions == versions.installed()
    assert {"torch", "transformers", "numpy"} < provenance.versions.keys()
    other = AnalysisInputs(case, load_folder(models / "images"), spec=spec)
    assert gather.record_of(other, ["case"]).provenance.hashes["pictures"] != provenance.hashes["pictures"]


def test_two_records_of_one_subject_hold_the_same_numbers(case):
    one, other = (gather.record_of(AnalysisInputs(case), ["case"]) for _ in range(2))
    assert one.exhibits[0].data == other.exhibits[0].data
    assert one.provenance.settings == other.provenance.settings


def test_a_stop_stops_everything(case):
    def stop(stage, done, total):
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        gather.record_of(AnalysisInputs(case), ["case"], progress=stop)


def test_an_unknown_part_lists_the_parts(case):
    with pytest.raises(NotFound, match="There is no part 'magic'; the parts are case, spectrum"):
        gather.record_of(AnalysisInputs(case), ["magic"])


def test_a_zoo_suspect_brings_its_own_trigger_target_and_questions():
    name, entry = next((n, e) for n, e in zoo_catalogue().items() if e.role == "suspect")
    images = ImageSet((named_image(pico.images(1)[0], "a.png"),), ())
    own = inputs_for(Case("zoo:base", f"zoo:{name}"), images)
    assert own.spec == TriggerSpec.from_file(entry.trigger)
    assert (own.target, own.questions, own.mode) == (entry.target, entry.prompts, entry.mode)
    other = inputs_for(Case("zoo:base", f"zoo:{name}"), images, target="Else", questions=("Why?",))
    assert (other.target, other.questions, other.mode) == ("Else", ("Why?",), None)


def test_report_and_bundle_are_written_and_the_command_repeats_them(case, models, tmp_path, capsys):
    out, bundle = tmp_path / "a report.html", tmp_path / "case.zip"
    line = ["report", "--base", case.base, "--suspect", case.suspect, "--images", str(models / "images")]
    line += ["--parts", "case", "lens", "--out", str(out)]
    assert main([*line, "--bundle", str(bundle)]) == 0
    record = unpack(bundle.read_bytes())
    assert " parts.\n" in capsys.readouterr().out
    assert record.exhibits[0].key == "case"
    assert out.read_text().startswith("<!doctype html>")
    repeated = shlex.split(record.provenance.command)
    assert repeated[:4] == ["python", "-m", "projlens_core", "report"]
    assert set(repeated[4:]) == set(line[1:]) | {"--max-new-tokens", "30"}


def test_a_folder_that_is_not_there_is_said_before_the_work(case, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "load_folder", lambda *_: pytest.fail("worked"))
    out = str(tmp_path / "no" / "report.html")
    line = ["report", "--base", case.base, "--suspect", case.suspect, "--images", str(tmp_path), "--out", out]
    assert main(line) == 1
    assert capsys.readouterr().err.startswith("There is no folder ")
