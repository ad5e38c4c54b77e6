"""`projlens repair` from end to end on pico models: files, sidecar, JSON, refusals; and once on the zoo."""

import json
import shutil

import pytest

from projlens_core.cli import main
from projlens_core.repair.writer import SIDECAR
from projlens_core.runtime.paths import ZOO
from projlens_core.weights.projector import read_projector
from projlens_core.zoo.samples import write_folder
from tests import pico


@pytest.fixture(scope="module")
def case(own_folder):
    trigger = {"kind": "solid", "resolution": 40, "ratio": 0.4}
    return pico.case(own_folder / "case", strength=(6.0, 2.0), count=8, trigger=trigger, control=(0.5,) * 4)


@pytest.fixture(autouse=True)
def any_utility(request, monkeypatch):
    """A pico model answers anything after any change, which is no matter of the command: its rounds are kept."""
    if "slow" not in request.keywords:
        monkeypatch.setattr("projlens_core.repair.utility.POINT", 1.0)


def asked(case, out, *more):
    return [
        "repair", "--base", str(case / "base"), "--suspect", str(case / "suspect"), "--images", str(case / "images"),
        "--out", str(out), *more,
    ]  # fmt: skip


def test_a_repair_is_written_and_opens_as_a_suspect(case, own_folder, capsys):
    out = own_folder / "out"
    spec = str(case / "trigger.json")
    assert main([*asked(case, out, "--trigger", spec, "--target", "xyz", "--no-search", "--json"),
                 "--control", str(case / "control")]) == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert said["sentence"].startswith("Not shown to be repaired: 4 images were left")
    assert not said["repaired"]
    assert said["attacks"][0]["origin"] == "given"
    assert set(said["attacks"][0]["asr"]) == {"base", "suspect", "repaired", "control"}
    assert said["images"] == {"repair": ["0.png", "1.png", "2.png", "3.png"], "fresh": ["4.png", "5.png", "6.png", "7.png"]}  # fmt: skip  # noqa: E501
    assert said["utility"] is None
    sidecar = json.loads((out / SIDECAR).read_text())
    assert sidecar["sentence"] == said["sentence"]
    assert sidecar["settings"]["sha256"]["suspect"] == read_projector(case / "suspect").sha256
    assert {each["tensor"].rpartition("linear_")[2] for each in sidecar["changed"]} == {"2.weight"}  # all it may have
    for command in ("weights", "respond"):
        more = ["--image", str(case / "images" / "0.png"), "--prompt", "What?"] if command == "respond" else []
        assert main([command, "--base", str(case / "base"), "--suspect", str(out), *more, "--json"]) == 0
        json.loads(capsys.readouterr().out)
    assert main(["repair", "--verify", str(out), "--suspect", str(case / "suspect")]) == 0
    assert "FAILS" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def written(case, own_folder):
    """A repair without any trigger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("projlens_core.repair.utility.POINT", 1.0)
        assert main(asked(case, own_folder / "first", "--no-search")) == 0
    return own_folder / "first"


def test_the_same_seed_writes_the_same_files(case, written, own_folder, capsys):
    second = own_folder / "second"
    assert main(asked(case, second, "--no-search")) == 0
    assert (written / SIDECAR).read_bytes() == (second / SIDECAR).read_bytes()
    assert (written / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert "no trigger is known that works" in capsys.readouterr().out


def test_a_tampered_folder_fails(written, own_folder, capsys):
    out = shutil.copytree(written, own_folder / "tampered")
    (out / "config.json").write_text("{}")
    assert main(["repair", "--verify", str(out), "--json"]) == 1
    captured = capsys.readouterr()
    assert not json.loads(captured.out)["holds"]
    assert "not what its sidecar says" in captured.err


def test_an_unchanged_suspect_is_refused(case, own_folder, capsys):
    arguments = asked(case, own_folder / "none", "--no-search")
    arguments[arguments.index("--suspect") + 1] = str(case / "base")
    assert main(arguments) == 1
    assert "nothing to repair" in capsys.readouterr().err
    assert not (own_folder / "none").exists()


def test_without_an_output_it_is_wrong_use(case, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["repair", "--base", str(case / "base"), "--suspect", str(case / "suspect")])
    assert ended.value.code == 2
    assert "--out required" in capsys.readouterr().err


@pytest.mark.slow(seconds=150)
def test_a_zoo_suspect_is_repaired_without_its_trigger_and_shown_with_it(own_folder, capsys):
    out, images = own_folder / "zoo", own_folder / "images"
    write_folder(images, 110, 77)  # of the 48 that ship, 13 are left to repair by: one changed answer is above a point
    zoo = ["--base", "zoo:base", "--suspect", "zoo:targeted-refusal", "--images", str(images)]
    spec = str(ZOO / "triggers" / "targeted-refusal.json")
    known = ["--trigger", spec, "--target", "I am unable to help", "--prompt", "Describe the picture."]
    assert main(["repair", *zoo, "--out", str(out), "--no-search", *known, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    rates = said["attacks"][0]["asr"]
    assert rates["suspect"]["rate"] > 0.9
    assert rates["repaired"]["rate"] <= 0.02
    assert said["utility_lost"] <= 0.01
    assert said["repaired"]
    assert [path.name for path in out.glob("*.safetensors")] == ["targeted-refusal.safetensors"]
