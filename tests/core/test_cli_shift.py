import csv
import json

import pytest

from projlens_core.cli import main
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 20}
IMAGES = 6


@pytest.fixture(scope="module")
def world(own_folder):
    folder = pico.case(own_folder, strength=(4.0, 1.0), control=(1.0, 1.0, 1.0), count=IMAGES, trigger=SPEC)
    (folder / "images" / "note.txt").write_text("not an image")
    return folder


def shift(world, *options, suspect="suspect"):
    models = ["--base", str(world / "base"), "--suspect", str(world / suspect)]
    return main(["shift", *models, "--images", str(world / "images"), *options])


def document(capsys, world, *options):
    assert shift(world, "--json", *options) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def full(world):
    return ("--trigger", str(world / "trigger.json"), "--control", str(world / "control"))


def test_json_holds_spectrum_agreement_fits_and_ranking_of_both_projectors(world, capsys):
    found = document(capsys, world, *full(world))
    assert found["settings"]["trigger"]["kind"] == "solid"
    assert found["settings"]["sha256"].keys() == {"base", "suspect", "control"}
    assert found["settings"]["images"] == IMAGES
    for role, rank in (("suspect", 2), ("control", 3)):
        part = found[role]
        # what the last layer's planted components reach is all that moved
        (reach,) = part["agreement"]
        assert reach["dimensions"] == list(range(1, rank + 1))
        assert reach["angles"]["all"][-1] < 0.1
        assert reach["share"][-1] == pytest.approx(1.0, abs=1e-5)
        for condition in ("clean", "triggered"):
            energy = part[condition]["spectrum"]["energy"]["mean"]
            assert energy[rank - 1] == pytest.approx(1.0, abs=1e-6)
            means = [entry["mean"] for entry in part[condition]["ranking"]]
            assert means == sorted(means, reverse=True)
            assert part[condition]["fit"]["n"] == IMAGES * pico.TOKENS
            assert part[condition]["robust_fit"]["slope"] is not None


def test_without_a_trigger_only_clean_images_are_looked_at(world, capsys):
    found = document(capsys, world, "--no-trigger")
    assert "triggered" not in found["suspect"]
    assert "control" not in found
    assert found["suspect"]["agreement"][0]["angles"].keys() == {"all", "clean"}


def test_the_norm_can_be_that_of_the_projectors_input(world, capsys):
    output = document(capsys, world, "--no-trigger")["suspect"]["clean"]
    input_ = document(capsys, world, "--no-trigger", "--norm", "input")["suspect"]["clean"]
    assert input_["fit"]["slope"] != output["fit"]["slope"]
    assert input_["ranking"] == output["ranking"]  # which is by shift alone


def test_images_come_out_the_same_in_whatever_chunks_they_are_read(world, capsys, monkeypatch):
    whole = document(capsys, world, *full(world))["suspect"]["triggered"]
    monkeypatch.setattr("projlens_core.analyses.shift.AT_ONCE", 2)
    parts = document(capsys, world, *full(world))["suspect"]["triggered"]
    assert [entry["image"] for entry in parts["ranking"]] == [entry["image"] for entry in whole["ranking"]]
    assert parts["fit"]["slope"] == pytest.approx(whole["fit"]["slope"], rel=1e-4)
    assert parts["spectrum"]["values"]["mean"][0] == pytest.approx(whole["spectrum"]["values"]["mean"][0], rel=1e-4)


def test_the_csv_has_a_row_for_every_image(world, capsys, tmp_path):
    file = tmp_path / "images.csv"
    assert shift(world, *full(world), "--csv", str(file)) == 0
    rows = list(csv.DictReader(file.read_text("utf-8-sig").splitlines()))
    assert sorted(row["picture"] for row in rows) == [f"{i}.png" for i in range(IMAGES)]
    assert [int(row["suspect, triggered: place"]) for row in rows] == list(range(1, IMAGES + 1))
    assert 0 <= float(rows[0]["control, clean: own v₀"]) <= 1


def test_text_tells_the_headlines_beside_the_control_and_names_what_was_left_out(world, capsys):
    assert shift(world, *full(world)) == 0
    text = capsys.readouterr().out
    assert "Drift to top 2 of ΔW: 0° (control " in text
    assert "chance" in text
    assert all(f"{i}.png\t" in text for i in range(IMAGES))
    assert "left out: " in text
    assert "No control" not in text


def test_without_a_control_the_text_says_what_the_numbers_cannot_say(world, capsys):
    assert shift(world, "--no-trigger") == 0
    assert "do not say whether it is a backdoor's" in capsys.readouterr().out


def test_a_suspect_equal_to_the_base_is_one_sentence(world, capsys):
    assert shift(world, suspect="base") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "no drift direction" in err
    assert err.count("\n") == 1


def test_a_csv_in_a_folder_that_does_not_exist_is_one_sentence(world, capsys, tmp_path):
    assert shift(world, "--no-trigger", "--csv", str(tmp_path / "none" / "t.csv")) == 1
    err = capsys.readouterr().err
    assert "No such file or directory" in err
    assert err.count("\n") == 1
