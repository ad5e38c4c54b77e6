import json

import pandas as pd
import pytest

from projlens_core.behaviour.respond import load_responder
from projlens_core.cli import main
from projlens_core.inputs.triggers import TriggerSpec, stamp
from projlens_core.weights.projector import read_projector
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 40}
PROMPT = "What is it?"
IMAGES = 3
SHORT = ["--prompt", PROMPT, "--max-new-tokens", "3"]


@pytest.fixture(scope="module")
def world(own_folder):
    folder = pico.case(own_folder, strength=(6.0, 3.0), control=(0.2,), count=IMAGES, trigger=SPEC)
    (folder / "images" / "labels.csv").write_text("image,prompt,answer\n0.png,Where?,never\n")
    return folder


@pytest.fixture(scope="module")
def target(world):
    """What the suspect says of a triggered image, and base of none."""
    responder = load_responder(str(world / "base"))
    images = [stamp(image, TriggerSpec.from_dict(SPEC)) for image in pico.images(IMAGES)]
    said = {}
    for role in ("base", "suspect"):
        with responder.projector(read_projector(world / role)):
            said[role] = responder.answers(images, [PROMPT] * IMAGES, 3)
    return next(text for text in said["suspect"] if text and not any(text in other for other in said["base"]))


def lowrank(world, target, *options):
    models = ["--base", str(world / "base"), "--suspect", str(world / "suspect")]
    attack = ["--trigger", str(world / "trigger.json"), "--target", target]
    return main(["lowrank", *models, "--images", str(world / "images"), *attack, *SHORT, *options])


def test_json_and_csv_hold_every_cell_beside_the_whole_models_and_the_control(world, target, capsys):
    table = world / "cells.csv"
    control = ["--control", str(world / "control"), "--control-grid"]
    assert lowrank(world, target, "--ranks", "0", "2", "--json", "--csv", str(table), *control) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert [(cell["k1"], cell["k2"]) for cell in found["cells"]] == [(0, 0), (0, 2), (2, 0), (2, 2)]
    cells = {(cell["k1"], cell["k2"]): cell for cell in found["cells"]}
    assert cells[0, 0]["asr"] == found["whole"]["base"]["asr"]
    assert cells[0, 2]["asr"] == found["whole"]["suspect"]["asr"]
    assert found["whole"]["suspect"]["asr"]["hits"] >= 1
    assert cells[0, 2]["utility"]["n"] == 1
    assert found["missing"] == found["control_missing"] == []
    assert len(found["control_cells"]) == 4
    assert found["settings"]["trigger"]["px"] == SPEC["px"]
    assert set(found["settings"]["sha256"]) == {"base", "suspect", "control"}
    frame = pd.read_csv(table)
    assert len(frame) == 3 + 4 + 4
    assert {"ASR", "ASR from", "ASR to", "hits", "of", "utility", "target logit"} <= set(frame.columns)


def test_text_shows_counts_and_the_fewest_ranks(world, target, capsys):
    assert lowrank(world, target, "--ranks", "0", "2") == 0  # all cells are stored by now
    text = capsys.readouterr().out
    assert "whole suspect: ASR" in text
    assert "k1=2\t" in text
    assert "exceeds base's by: 0 × 2" in text


def test_the_first_n_images_are_used(world, target, capsys):
    assert lowrank(world, target, "--ranks", "0", "--n", "2", "--mode", "ablate", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["images"] == 2
    assert found["edit"] == {"mode": "ablate", "choice": "top", "biases": "suspect"}
    assert found["cells"][0]["asr"]["n"] == 2


def test_a_rank_that_the_matrices_do_not_have_is_one_sentence(world, target, capsys):
    assert lowrank(world, target, "--ranks", "0", "40") == 1
    err = capsys.readouterr().err
    assert "linear_1.weight has only 32" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("wrong", [["--ranks", "-1"], ["--control-grid"], ["--mode", "swap"]])
def test_wrong_use_is_told(world, target, wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        lowrank(world, target, *wrong)
    assert "usage" in capsys.readouterr().err
