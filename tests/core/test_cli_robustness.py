import json

import pandas as pd
import pytest

from projlens_core.cli import main
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 40, "position": "top-left"}
IMAGES = 3


@pytest.fixture(scope="module")
def world(own_folder):
    return pico.case(own_folder, strength=(6.0, 3.0), control=(0.2,), count=IMAGES, trigger=SPEC)


def robustness(world, *options, trigger=True):
    models = ["--base", str(world / "base"), "--suspect", str(world / "suspect"), "--control", str(world / "control")]
    given = ["--trigger", str(world / "trigger.json")] if trigger else []
    return main(["robustness", *models, "--images", str(world / "images"), *given, *options])


def test_json_and_csv_hold_every_change_with_the_control_and_answers(world, capsys):
    table = world / "changes.csv"
    asked = ["--asr", "--target", "zzz", "--prompt", "What?", "--max-new-tokens", "2"]
    levels = ["--sizes", "0.5", "--qualities", "50"]
    assert robustness(world, *levels, *asked, "--json", "--csv", str(table)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert [change["label"] for change in found["changes"]] == ["unchanged", "size 0.5×", "compression JPEG 50"]
    assert found["changes"][0]["shift"]["suspect"]["kept"] == 1
    assert set(found["changes"][1]["shift"]) == {"suspect", "control"}
    assert found["changes"][2]["asr"]["suspect"]["n"] == IMAGES
    assert found["settings"]["levels"] == {"size": [0.5], "quality": [50]}
    frame = pd.read_csv(table)
    assert frame["change"].tolist() == ["unchanged", "size 0.5×", "compression JPEG 50"]
    assert {"suspect: AUROC", "control: gain", "suspect: ASR"} <= set(frame.columns)


def test_levels_can_be_crossed_and_text_shows_one_line_a_change(world, capsys):
    assert robustness(world, "--strengths", "0.5", "--scales", "0.5", "--cross") == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith("change\tAUROC")
    assert text.count("\n") == 1 + 4 + 2  # with whose tower suspect and control read from
    assert "strength 0.5×, resize 0.5×" in text


def test_a_level_that_makes_no_sense_is_one_sentence(world, capsys):
    assert robustness(world, "--qualities", "100") == 1
    err = capsys.readouterr().err
    assert "quality is 100; it must be from 1 to 95" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("options", [["--asr"], []])
def test_an_own_suspect_needs_trigger_and_target(world, options, capsys):
    with pytest.raises(SystemExit, match="2"):
        robustness(world, *options, trigger=bool(options))
    assert "required" in capsys.readouterr().err
