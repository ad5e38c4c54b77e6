import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.activations.model import load_vision
from projlens_core.activations.shift import analyse
from projlens_core.cli import main
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.weights.projector import read_projector
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 20}


@pytest.fixture(scope="module")
def world(own_folder):
    folder = pico.case(own_folder, strength=(4.0,), count=6, trigger=SPEC)
    pico.suspect(folder / "base", folder / "control", strength=(1.0, 1.0, 1.0), seed=5)
    pico.projector_file(folder / "suspect", folder / "lone" / "suspect.safetensors")
    (folder / "images" / "note.txt").write_text("not an image")
    return folder


def activations(world, *options, suspect="suspect"):
    models = ["--base", str(world / "base"), "--suspect", str(world / suspect)]
    return main(["activations", *models, "--images", str(world / "images"), *options])


def document(capsys, world, *options, **models):
    assert activations(world, *options, "--json", **models) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_json_holds_what_the_engine_found(world, capsys):
    found = document(capsys, world, "--trigger", str(world / "trigger.json"))
    vision, spec = load_vision(str(world / "base")), TriggerSpec.from_dict(SPEC)
    images = [image.pixels for image in load_folder(world / "images").images]
    expected = analyse(
        read_projector(world / "base"),
        read_projector(world / "suspect"),
        vision.encode([frame(image, spec) for image in images]),
        vision.encode([stamp(image, spec) for image in images]),
    )
    assert found["direction_cosine"] == pytest.approx(expected.direction_cosine, abs=1e-5)
    assert [sample["image"] for sample in found["samples"]] == [f"{i}.png" for i in range(6)]
    for name in ("clean", "triggered"):
        condition = getattr(expected, name)
        fit = found["fit"][name]
        assert (fit["r"], fit["slope"], fit["n"]) == pytest.approx((condition.fit.r, condition.fit.slope, 96), rel=1e-3)
        assert fit["low"] < fit["r"] < fit["high"]
        means = torch.tensor([sample[name]["mean"] for sample in found["samples"]])
        torch.testing.assert_close(means, condition.sample_mean, rtol=1e-4, atol=1e-5)
        largest = torch.tensor([sample[name]["max"] for sample in found["samples"]])
        torch.testing.assert_close(largest, condition.sample_max, rtol=1e-4, atol=1e-5)
    assert found["separation"]["auroc"] == pytest.approx(expected.separation.auroc)
    assert found["contrast"]["projection"] == pytest.approx(float(expected.contrast.projection.mean()), rel=1e-3)


def test_files_that_are_no_images_are_listed(world, capsys):
    (failure,) = document(capsys, world)["failures"]
    assert failure["image"] == "note.txt"
    assert "PNG" in failure["reason"]


def test_what_was_not_asked_is_absent(world, capsys):
    found = document(capsys, world)
    assert found["direction_cosine"] is found["separation"] is found["contrast"] is None
    assert found["fit"].keys() == {"clean"}
    assert found["samples"][0].keys() == {"image", "clean"}
    assert "control" not in found


def test_a_control_stands_beside(world, capsys):
    found = document(capsys, world, "--control", str(world / "control"), "--limit", "5")
    assert found["direction"]["explained"] == pytest.approx(1.0, abs=1e-4)
    assert found["control"]["direction"]["explained"] < 0.9
    assert found["control"]["fit"]["clean"]["n"] == 5 * pico.TOKENS


def test_a_lone_projector_file_borrows_the_bases_tower(world, capsys):
    lone = document(capsys, world, suspect="lone/suspect.safetensors")
    assert lone["fit"] == document(capsys, world)["fit"]


def test_figures_that_do_not_exist_are_null(world, capsys, tmp_path):
    """A changed output bias moves every token equally far, so that there is no r; and JSON has no NaN."""
    moved = pico.checkpoint(tmp_path / "moved")
    tensors = load_file(moved / "model.safetensors")
    tensors["multi_modal_projector.linear_2.bias"] += 1.0
    save_file(tensors, moved / "model.safetensors")
    fit = document(capsys, world, suspect=moved)["fit"]["clean"]
    assert fit["r"] is None
    assert "equally far" in fit["note"]


def test_text_names_suspect_control_and_every_image(world, capsys):
    assert activations(world, "--trigger", str(world / "trigger.json"), "--control", str(world / "control")) == 0
    text = capsys.readouterr().out
    assert "suspect: 100.0% of the embedding shift" in text
    assert "control: " in text
    assert "AUROC" in text
    assert all(f"{i}.png\t" in text for i in range(6))
    assert "left out: note.txt" in text


def test_a_trigger_too_large_for_every_image_is_one_sentence(world, capsys, tmp_path):
    (tmp_path / "large.json").write_text(json.dumps({"kind": "solid", "px": 60}))
    assert activations(world, "--trigger", str(tmp_path / "large.json")) == 1
    err = capsys.readouterr().err
    assert "fits on none of the 6 images" in err
    assert err.count("\n") == 1


def test_a_suspect_of_another_shape_is_one_sentence(world, capsys, tmp_path):
    config = pico.default_config()
    config.vision_config.hidden_size = 64
    pico.checkpoint(tmp_path / "wide", config=config)
    assert activations(world, suspect=tmp_path / "wide") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_an_empty_folder_is_one_sentence(world, capsys, tmp_path):
    arguments = ["--base", str(world / "base"), "--suspect", str(world / "suspect"), "--images", str(tmp_path)]
    assert main(["activations", *arguments]) == 1
    assert "has no images" in capsys.readouterr().err


def test_a_suspect_equal_to_the_base_is_one_sentence(world, capsys):
    assert activations(world, suspect="base") == 1
    assert "no drift direction" in capsys.readouterr().err


def test_trigger_and_no_trigger_exclude_each_other(world, capsys):
    with pytest.raises(SystemExit, match="2"):
        activations(world, "--trigger", "x.json", "--no-trigger")
