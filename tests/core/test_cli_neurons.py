import csv
import json
import math

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from projlens_core.activations.model import load_vision
from projlens_core.activations.neurons import observe
from projlens_core.cli import main
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.weights.projector import read_projector
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 20}
IMAGES = 8
COLUMNS = (
    "Neuron_ID,Diff_Mag,Ratio_Mag,Diff_Freq,FT_Mag_P,FT_Mag_C,Base_Mag_P,Base_Mag_C,"
    "FT_Freq_P,FT_Freq_C,Base_Freq_P,Base_Freq_C"
)


@pytest.fixture(scope="module")
def world(own_folder):
    """The suspect's hidden units differ from base's: its first layer is a tenth larger."""
    folder = pico.case(own_folder, strength=(4.0,), count=IMAGES, trigger=SPEC)
    tensors = load_file(folder / "suspect" / "model.safetensors")
    tensors["multi_modal_projector.linear_1.weight"] *= 1.1
    save_file(tensors, folder / "suspect" / "model.safetensors", metadata={"format": "pt"})
    (folder / "images" / "note.txt").write_text("not an image")
    return folder


def neurons(world, *options, suspect="suspect"):
    models = ["--base", str(world / "base"), "--suspect", str(world / suspect)]
    return main(["neurons", *models, "--images", str(world / "images"), *options])


@pytest.fixture(scope="module")
def expected(world):
    """What the units of base and suspect do, by the engine: {role: Units}."""
    vision, spec = load_vision(str(world / "base")), TriggerSpec.from_dict(SPEC)
    images = [image.pixels for image in load_folder(world / "images").images]
    clean, triggered = (vision.encode([draw(image, spec) for image in images]) for draw in (frame, stamp))
    return {role: observe(read_projector(world / role), clean, triggered) for role in ("base", "suspect")}


def test_the_csv_has_the_papers_columns_and_what_the_engine_found(world, expected, capsys, tmp_path):
    assert neurons(world, "--trigger", str(world / "trigger.json"), "--csv", str(tmp_path / "units.csv")) == 0
    with (tmp_path / "units.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == COLUMNS.split(",")
    found = dict(zip(rows[0], np.array(rows[1:], dtype=float).T, strict=True))
    base, suspect = expected["base"], expected["suspect"]
    assert found["Neuron_ID"].tolist() == list(range(pico.D_TEXT))
    for column, figures in {
        "FT_Mag_P": suspect.triggered.magnitude,
        "FT_Mag_C": suspect.clean.magnitude,
        "Base_Mag_P": base.triggered.magnitude,
        "Base_Mag_C": base.clean.magnitude,
        "FT_Freq_P": suspect.triggered.frequency,
        "FT_Freq_C": suspect.clean.frequency,
        "Base_Freq_P": base.triggered.frequency,
        "Base_Freq_C": base.clean.frequency,
    }.items():
        np.testing.assert_allclose(found[column], figures, rtol=1e-3, atol=1e-5, err_msg=column)
    np.testing.assert_allclose(found["Diff_Mag"], found["FT_Mag_P"] - found["FT_Mag_C"], atol=1e-9)
    np.testing.assert_allclose(found["Ratio_Mag"], found["FT_Mag_P"] / found["FT_Mag_C"])
    np.testing.assert_allclose(found["Diff_Freq"], found["FT_Freq_P"] - found["FT_Freq_C"], atol=1e-9)
    assert not math.isclose(found["FT_Mag_C"].mean(), found["Base_Mag_C"].mean(), rel_tol=0.01)


def test_json_holds_findings_rankings_units_and_settings(world, capsys):
    control = ["--control", str(world / "base")]
    assert neurons(world, "--trigger", str(world / "trigger.json"), "--json", *control) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["images"] == IMAGES
    assert found["settings"]["trigger"]["px"] == SPEC["px"]
    assert found["settings"]["sha256"].keys() == {"base", "suspect", "control"}
    assert found["findings"].keys() == {"base", "suspect", "control"}
    control = found["findings"]["control"]  # equal to base, so that it gains nothing
    assert control["gained"] == {"value": 0, "low": 0, "high": 0, "of": pico.D_TEXT}
    assert control["responding"] == found["findings"]["base"]["responding"]
    assert found["units"].keys() > set(COLUMNS.split(","))
    difference = np.abs(found["units"]["Diff_Mag"])
    assert found["rankings"]["difference"][0] == int(difference.argmax())
    assert [failure["image"] for failure in found["failures"]] == ["note.txt"]


def test_text_gives_the_answer_and_the_leading_units(world, capsys):
    assert neurons(world, "--trigger", str(world / "trigger.json")) == 0
    text = capsys.readouterr().out
    assert text.startswith("Switched on by the trigger: ")
    assert "difference, leading units: " in text
    assert "quiet units in the suspect" in text
    assert "No control" in text
    assert "left out: note.txt" in text


def test_with_few_images_it_says_that_it_is_inconclusive(world, capsys):
    assert neurons(world, "--trigger", str(world / "trigger.json"), "--limit", "3") == 0
    assert "Inconclusive. Not tested: 3 images are too few" in capsys.readouterr().out


def test_without_a_trigger_it_says_what_to_give(world, capsys):
    assert neurons(world) == 1
    assert capsys.readouterr().err.endswith("give --trigger SPEC.json.\n")


def test_a_csv_that_cannot_be_written_is_one_sentence(world, capsys, tmp_path):
    assert neurons(world, "--trigger", str(world / "trigger.json"), "--csv", str(tmp_path / "no" / "units.csv")) == 1
    error = capsys.readouterr().err
    assert "cannot be written" in error
    assert error.count("\n") == 1


def test_without_images_the_samples_are_used_and_named(world, capsys):
    models = ("--base", str(world / "base"), "--suspect", str(world / "suspect"))
    assert main(["neurons", *models, "--trigger", str(world / "trigger.json"), "--limit", "3"]) == 0
    assert "samples that ship with ProjLens" in capsys.readouterr().out
