import csv
import json

import pytest

from projlens_core.cli import main
from projlens_core.sources import resolve
from projlens_core.weights.projector import read_projector
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 20}
IMAGES = 5


@pytest.fixture(scope="module")
def world(own_folder):
    folder = pico.case(own_folder, strength=(4.0,), control=(1.0, 1.0, 1.0), count=IMAGES, trigger=SPEC)
    pico.projector_file(folder / "suspect", folder / "lone" / "suspect.safetensors")
    (folder / "images" / "note.txt").write_text("not an image")
    return folder


def run(command, world, *options, suspect="suspect"):
    models = ["--base", str(world / "base"), "--suspect", str(world / suspect)]
    return main([command, *models, "--images", str(world / "images"), *map(str, options)])


def document(capsys, command, world, *options, **models):
    assert run(command, world, *options, "--json", **models) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_lens_json_holds_words_chance_and_what_decided_them(world, capsys):
    options = ("--trigger", world / "trigger.json", "--control", world / "control", "--target", "ab", "--top", "7")
    found = document(capsys, "lens", world, *options)
    assert [word["token"] for word in found["targets"]] == ["a", "b"]
    assert found["vocabulary"] == len(pico.SPECIALS) + len(pico.CHARACTERS)
    for role in ("suspect", "control"):
        for sign in ("plus", "minus"):
            one = found[role][sign]
            assert len(one["top"]) == len(one["nearest"]) == 7
            assert one["best_target_rank"] == min(one["target_ranks"])
            assert 0 < one["p"] <= 1
            total = sum(share for word in one["rank_frequency"] for share in word["shares"])
            assert total == pytest.approx(7)
    assert found["suspect"]["explained"] == pytest.approx(1.0, abs=1e-3)
    settings = found["settings"]
    assert (settings["target"], settings["on"], settings["centred"], settings["normed"], settings["images"]) == (
        "ab",
        "triggered",
        False,
        True,
        IMAGES,
    )
    assert settings["sha256"]["suspect"] == read_projector(world / "suspect").sha256
    assert [failure["image"] for failure in found["failures"]] == ["note.txt"]


def test_lens_reads_clean_images_where_there_is_no_trigger(world, capsys):
    found = document(capsys, "lens", world)
    assert found["settings"]["on"] == "clean"
    assert found["targets"] == []
    assert found["suspect"]["plus"]["p"] is None
    assert "control" not in found


def test_lens_on_triggered_images_needs_a_trigger(world, capsys):
    assert run("lens", world, "--on", "triggered") == 1
    assert "without a trigger; give one" in capsys.readouterr().err


def test_lens_reads_both_conditions_centred_and_bare(world, capsys):
    options = ("--trigger", world / "trigger.json", "--on", "both", "--centred", "--bare")
    settings = document(capsys, "lens", world, *options)["settings"]
    assert (settings["on"], settings["centred"], settings["normed"]) == ("both", True, False)


def test_lens_writes_the_rank_frequencies_as_a_spreadsheet_reads_them(world, capsys, tmp_path):
    file = tmp_path / "ranks.csv"
    assert run("lens", world, "--csv", file, "--top", "3") == 0
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["projector"] for row in rows} == {"suspect"}
    first = [row for row in rows if row["direction"].endswith("+v₀")]  # a sign that begins a cell is quoted
    assert sum(float(row["rank 1"]) for row in first) == pytest.approx(1)
    text = capsys.readouterr().out
    assert "suspect +v₀: " in text
    assert "left out: note.txt" in text


def test_a_lone_suspect_is_read_with_the_bases_head(world, capsys):
    lone = document(capsys, "lens", world, suspect="lone/suspect.safetensors")
    assert lone["suspect"] == document(capsys, "lens", world)["suspect"]


def test_lens_of_two_lone_projectors_is_one_sentence(world, capsys):
    lone = world / "lone" / "suspect.safetensors"
    assert resolve(lone).model is None
    assert main(["lens", "--base", str(lone), "--suspect", str(lone), "--images", str(world / "images")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1


def test_separability_json_holds_every_projector_and_every_image(world, capsys):
    found = document(capsys, "separability", world, "--trigger", world / "trigger.json", "--control", world / "control")
    for role in ("base", "suspect", "control"):
        one = found[role]
        assert one["auroc"]["low"] <= one["auroc"]["auroc"] <= one["auroc"]["high"]
        assert one["auroc"]["clean"] == IMAGES
        assert 0 < one["chance"]["p"] <= 1
    assert found["base"]["gain"] is None
    difference = found["suspect"]["auroc"]["auroc"] - found["base"]["auroc"]["auroc"]
    assert found["suspect"]["gain"]["difference"] == pytest.approx(difference)
    assert [row["image"] for row in found["images"]] == [f"{i}.png" for i in range(IMAGES)]
    assert found["settings"]["trigger"]["kind"] == "solid"


def test_separability_is_told_in_words_and_written_as_csv(world, capsys, tmp_path):
    file = tmp_path / "values.csv"
    assert run("separability", world, "--trigger", world / "trigger.json", "--csv", file) == 0
    text = capsys.readouterr().out
    assert text.startswith("base: AUROC ")
    assert "- No control" in text
    assert file.read_text(encoding="utf-8-sig").splitlines()[0].startswith("image,")


def test_separability_without_a_trigger_is_one_sentence(world, capsys):
    assert run("separability", world) == 1
    assert "--trigger" in capsys.readouterr().err


def test_a_table_that_cannot_be_written_is_one_sentence(world, capsys, tmp_path):
    assert run("lens", world, "--csv", tmp_path / "missing" / "ranks.csv") == 1
    assert "cannot be written" in capsys.readouterr().err
