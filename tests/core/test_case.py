import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.cases.case import Case, open_case
from projlens_core.errors import Cancelled, InvalidInput
from tests import pico


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect", strength=(4.0, 1.0))
    pico.suspect(base, folder / "control", strength=(0.5,), seed=2)
    pico.projector_file(folder / "suspect", folder / "lone" / "suspect.safetensors")
    return folder


def case(folder, suspect="suspect", control=None, base="base"):
    return Case(str(folder / base), str(folder / suspect), control and str(folder / control))


@pytest.mark.parametrize("control", [None, "zoo:clean-1"])
def test_case_survives_an_address(control):
    original = Case("zoo:base", "/models/a b&c=d", control)
    assert Case.from_params(original.to_params()) == original
    assert Case.from_params(original.to_params() | {"page": "3"}) == original


@pytest.mark.parametrize(("params", "said"), [({"base": "x"}, "no suspect"), ({}, "no base and no suspect")])
def test_address_without_models_is_refused(params, said):
    with pytest.raises(InvalidInput, match=said):
        Case.from_params(params)


def test_opened_case_holds_the_spectrum_that_was_planted(folder):
    opened = open_case(case(folder))
    assert opened.family.name == "llava"
    assert opened.spectra.keys() == opened.edges.keys() == {"linear_1.weight", "linear_2.weight"}
    np.testing.assert_allclose(opened.spectra["linear_2.weight"].values[:3], [4.0, 1.0, 0.0], atol=1e-5)
    assert opened.edges["linear_2.weight"].spikes == 2
    assert opened.spectra["linear_1.weight"].values.max() == 0
    assert (opened.control, opened.control_delta, opened.control_spectra) == (None, None, {})


def test_control_is_compared_with_the_same_base(folder):
    opened = open_case(case(folder, control="control"))
    assert opened.control_delta.base is opened.base
    np.testing.assert_allclose(opened.control_spectra["linear_2.weight"].values[0], 0.5, atol=1e-5)
    np.testing.assert_allclose(opened.spectra["linear_2.weight"].values[0], 4.0, atol=1e-5)


def test_progress_has_stages_that_end_and_can_be_cancelled(folder):
    seen = []
    open_case(case(folder), lambda *step: seen.append(step)).decompose(lambda *step: seen.append(step))
    assert seen == [
        *[("Reading projectors", done, 2) for done in range(3)],
        *[("Singular spectra", done, 2) for done in range(3)],
    ]

    def cancel(stage, done, total):
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        open_case(case(folder)).decompose(cancel)


def test_notes_say_what_was_not_compared(folder):
    notes = " ".join(open_case(case(folder)).notes)
    assert "Vision tower and language model: not compared" in notes
    assert "language_model (" in notes
    assert "No control" in notes


def test_suspect_that_equals_the_base_is_said_to(folder):
    assert any("equals the base's in every value" in note for note in open_case(case(folder, "base")).notes)
    assert not any("equals" in note for note in open_case(case(folder)).notes)
    controlled = open_case(case(folder, control="suspect")).notes
    assert any("controls nothing" in note for note in controlled)
    assert not any("No control" in note for note in controlled)


def test_lone_projector_runs_as_the_model_it_came_from(folder, tmp_path):
    changed = pico.checkpoint(tmp_path / "relu")
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"projector_hidden_act": "relu"}))
    opened = open_case(Case(str(changed), str(folder / "lone" / "suspect.safetensors")))
    assert opened.suspect.settings == {"act": "relu"}
    assert opened.delta.settings_changed == ()
    whole = open_case(Case(str(changed), str(folder / "suspect")))
    assert any("configs differ: act is relu in the base and gelu in the suspect" in note for note in whole.notes)


def test_two_lone_projectors_are_told_to_be_read_by_default(folder):
    lone = str(folder / "lone" / "suspect.safetensors")
    assert any("No config describes" in note for note in open_case(Case(lone, lone)).notes)


def test_rounding_that_was_stored_is_said(folder, tmp_path):
    half = pico.projector_file(folder / "suspect", tmp_path / "half.safetensors", dtype=torch.bfloat16)
    assert any(
        "float32 and the suspect as bfloat16" in n for n in open_case(Case(str(folder / "base"), str(half))).notes
    )
    assert any("8 significant bits" in note for note in open_case(Case(str(half), str(half))).notes)


def test_warnings_of_a_checkpoint_reach_the_notes(folder, tmp_path):
    pico.suspect(folder / "base", tmp_path / "coded")
    (tmp_path / "coded" / "modeling_x.py").write_text("")
    notes = open_case(Case(str(folder / "base"), str(tmp_path / "coded"))).notes
    assert any(note.startswith("Suspect: 'modeling_x.py' is code") for note in notes)


def test_suspect_of_another_shape_is_one_sentence(folder, tmp_path):
    tensors = load_file(folder / "lone" / "suspect.safetensors")
    cut = {name: tensor[:20].contiguous() if "linear_2" in name else tensor for name, tensor in tensors.items()}
    save_file(cut, tmp_path / "cut.safetensors")
    with pytest.raises(InvalidInput, match=r"linear_2\.weight is \(48, 48\) in the base and \(20, 48\)"):
        open_case(Case(str(folder / "base"), str(tmp_path / "cut.safetensors")))
