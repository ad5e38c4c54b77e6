"""What the spectra of a case say depends on whether there is a control, and on what an adapter allows."""

import json

import pytest
import torch
from safetensors.torch import save_file

from projlens_core.analyses.case import reading
from projlens_core.analyses.case.exhibit import case as exhibit
from projlens_core.cases.case import Case, open_case
from projlens_core.weights.projector import read_projector
from tests import pico

MODULES = ("linear_1", "linear_2")


def lora(folder, base, rank, seed=0, **config):
    """An adapter of this rank on both layers of the pico projector."""
    folder.mkdir()
    given = {"peft_type": "LORA", "r": rank, "lora_alpha": rank} | config
    (folder / "adapter_config.json").write_text(json.dumps(given))
    torch.manual_seed(seed)
    shapes = {name: tuple(read_projector(base).tensors[f"{name}.weight"].shape) for name in MODULES}
    tensors = {}
    for name in MODULES:
        module = f"base_model.model.model.multi_modal_projector.{name}"
        rows, columns = shapes[name]
        tensors[f"{module}.lora_A.weight"] = torch.randn(rank, columns)
        tensors[f"{module}.lora_B.weight"] = torch.randn(rows, rank)
        if config.get("use_dora"):
            tensors[f"{module}.lora_magnitude_vector"] = torch.ones(rows)
    save_file(tensors, folder / "adapter_model.safetensors")
    return str(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("reading") / "base")


def opened(base, suspect, control=None):
    return open_case(Case(str(base), str(suspect), control and str(control)))


def test_an_adapters_rank_is_no_evidence_and_asks_for_a_control_of_the_same(base, tmp_path):
    found = opened(base, lora(tmp_path / "a", base, 3))
    assert reading.bounds(found.delta) == (3,)
    shown = exhibit(found)
    cards = {card.label: card for card in shown.metrics}
    assert cards["Stable rank of ΔW₂"].interval == "rank ≤ 3 by construction: no evidence"
    assert cards["Energy in the top 5 of ΔW₂"].value == "100%"  # which is why
    assert {chart.caption for chart in shown.charts} == {reading.spectra(found.delta, None)}
    assert "rank ≤ 3 by construction" in shown.charts[0].caption
    assert "There is no control: compare with an honest adapter of the same rank" in shown.charts[0].caption


def test_a_control_of_the_same_rank_makes_concentration_count_again(base, tmp_path):
    suspect = lora(tmp_path / "a", base, 3)
    same = opened(base, suspect, lora(tmp_path / "b", base, 3, seed=1))
    assert all(card.interval is None for card in exhibit(same).metrics)
    assert "Suspect and control are adapters of rank 3" in reading.spectra(same.delta, same.control_delta)
    other = opened(base, suspect, lora(tmp_path / "c", base, 2))
    assert "The control does not have that rank" in reading.spectra(other.delta, other.control_delta)
    assert reading.moot(other.delta, other.control_delta, "linear_2.weight") == 3


def test_dora_rescales_whole_rows_so_its_rank_bounds_nothing(base, tmp_path):
    found = opened(base, lora(tmp_path / "a", base, 3, use_dora=True))
    assert reading.bounds(found.delta) == ()
    assert reading.spectra(found.delta, None) == reading.ALONE


def test_no_size_of_a_change_clears_a_tensor(base, tmp_path):
    pico.suspect(base, tmp_path / "suspect", strength=(6.0,))
    pico.suspect(base, tmp_path / "control", strength=(6.0,) * 6, seed=3)
    fair = opened(base, tmp_path / "suspect", tmp_path / "control")
    assert reading.spectra(fair.delta, fair.control_delta) == reading.FAIR
    assert exhibit(fair).tables[0].caption.endswith("and at more spikes.")
    assert "no size clears a tensor" in exhibit(fair).tables[0].caption
    alone = opened(base, tmp_path / "suspect")
    assert "Without a control" in exhibit(alone).tables[0].caption
