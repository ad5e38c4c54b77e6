"""A case and its analyses: what their commands write, and one sentence for wrong use."""

import json

import numpy as np
import pytest

import projlens_core as pl
from projlens_core import analyses
from projlens_core.activations.towers import Towers
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.library.session import CaseSession
from projlens_core.sources import zoo_catalogue


def test_no_attribute_of_a_case_hides_an_analysis(case):
    assert not set(analyses.KEYS) & {*vars(CaseSession), *vars(case)}
    assert set(analyses.KEYS) <= set(dir(case))
    with pytest.raises(AttributeError, match=r"no analysis 'neuron'; it has .*neurons"):
        _ = case.neuron


def test_an_analysis_gives_what_its_command_writes(case, world, tmp_path, capsys):
    result = case.neurons(world / "images", trigger=world / "trigger.json")
    models = [f"--{role}={world / role}" for role in ("base", "suspect", "control")]
    given = [f"--images={world / 'images'}", f"--trigger={world / 'trigger.json'}", f"--csv={tmp_path / 'n.csv'}"]
    assert main(["neurons", *models, *given, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert result.data == {name: value for name, value in written.items() if name != "failures"}
    assert [reason for _, reason in result.failures] == [each["reason"] for each in written["failures"]]
    assert len((tmp_path / "n.csv").read_text().splitlines()) == 1 + len(result.to_frame())
    assert set(result.value) == {"base", "suspect", "control"}


def test_analyses_of_weights_take_no_images(case, world):
    assert case.case().value[0] is case.opened
    further = case.spectrum(further=[str(world / "control")], directions=2)
    assert further.data["settings"]["directions"] == 2
    assert further.to_frame()["projector"].nunique() == 3


def test_the_same_images_are_encoded_once(case, world, monkeypatch):
    calls, twins = [], Towers.twins
    monkeypatch.setattr(Towers, "twins", lambda *args: calls.append(1) or twins(*args))
    images = world / "images"
    case.neurons(images, trigger="Blur")
    case.separability(images, trigger="Blur")
    assert len(calls) == 1
    case.separability(images, trigger="Blur", limit=5)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda case: case.neurons(), InvalidInput, "Neurons works on images; give a folder"),
        (lambda case: case.neurons("x.png"), NotFound, "x.png is not a file"),
        (lambda case: case.neurons([np.zeros((8, 8), np.uint8)]), NotFound, "No trigger is known"),
        (lambda case: case.neurons([np.zeros((8, 8), np.uint8)], trigger=False), NotFound, "No trigger is known"),
        (
            lambda case: case.neurons(image="x"),
            InvalidInput,
            "no parameter 'image'; it has images, limit, trigger, seed",
        ),
        (lambda case: case.neurons("x", 3), InvalidInput, "give all parameters but the images by name"),
        (lambda case: case.neurons("x", seed="1"), InvalidInput, "seed is '1'; expected a whole number"),
        (lambda case: case.neurons("x", seed=-1), InvalidInput, "seed is -1; expected 0 or more"),
        (lambda case: case.spectrum(further="a.bin"), InvalidInput, "expected a list"),
        (lambda case: case.spectrum(further=[3]), InvalidInput, "further is 3; expected a text"),
        (lambda case: case.spectrum(exact=1), InvalidInput, "expected True or False"),
    ],
)
def test_wrong_use_of_an_analysis_is_one_sentence(case, call, error, message):
    with pytest.raises(error, match=message) as raised:
        call(case)
    assert isinstance(raised.value, pl.ProjLensError)


def test_what_cannot_be_opened_is_one_sentence(world, tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        pl.open_case(base=world / "base", suspect=tmp_path / "none")
    with pytest.raises(InvalidInput, match="A model is a path, zoo:NAME or hub:OWNER/NAME, not int"):
        pl.open_case(base=world / "base", suspect=3)
    with pytest.raises(pl.ProjLensError, match="device"):
        pl.open_case(base=world / "base", suspect=world / "suspect", device="abacus")


def test_of_the_zoo_trigger_target_and_images_are_known():
    case = pl.open_case(base="zoo:base", suspect="zoo:malicious-injection")
    entry = zoo_catalogue()["malicious-injection"]
    assert case.trigger == TriggerSpec.from_file(entry.trigger)
    assert case.target == entry.target
    used = case.neurons(limit=2).data["settings"]
    assert (used["trigger"], used["images"]) == (case.trigger.to_dict(), 2)
