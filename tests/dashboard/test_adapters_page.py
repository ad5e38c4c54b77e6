"""Adapters on the Case page: their values, what else they change, and one sentence where they are refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tests import pico
from tests.dashboard.conftest import texts
from tests.dashboard.test_bad_inputs import boxes, is_one_sentence

MODULE = "base_model.model.model.multi_modal_projector.linear_2"
ELSEWHERE = "base_model.model.model.language_model.layers.0.mlp.experts"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("adapters") / "base")


def lora(folder, config, *modules):
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 8} | config
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    shapes = {"A": (2, 48), "B": (48, 2)}
    tensors = {
        f"{module}.lora_{side}.weight": torch.ones(shape) for module in modules for side, shape in shapes.items()
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


REFUSED = {
    "lora_ga": {"init_lora_weights": "lora_ga"},
    "unknown": {"init_lora_weights": "of tomorrow"},
    "looks-around": {"alpha_pattern": {"(?=x)(a+)+": 5}},
    "rank-0": {"r": 0},
    "nan": {"lora_alpha": float("nan")},
    "setting-of-tomorrow": {"use_tomorrow": True},
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_adapter_is_one_sentence(open_page, base, tmp_path, what):
    suspect = lora(tmp_path / "a", REFUSED[what], MODULE)
    app = open_page(params={"base": str(base), "suspect": str(suspect)})
    [sentence] = boxes(app)
    assert is_one_sentence(sentence)


@pytest.mark.parametrize(
    ("pattern", "alpha"), [("^linear_2", 8), ("^model.multi_modal_projector.linear_2", 80), ("linear_[2-9]", 80)]
)
def test_patterns_are_matched_as_peft_matches_them(open_page, base, tmp_path, pattern, alpha):
    suspect = lora(tmp_path / "a", {"alpha_pattern": {pattern: 80}}, MODULE)
    app = open_page(params={"base": str(base), "suspect": str(suspect)})
    table = app.dataframe[0].value.set_index("tensor")
    assert table["‖Δ‖"]["linear_2.weight"] == pytest.approx(alpha / 2 * 2 * 48, rel=1e-4)  # of a matrix of twos


def test_what_an_adapter_changes_elsewhere_is_on_the_page(open_page, base, tmp_path):
    suspect = lora(tmp_path / "a", {"target_parameters": ["experts.down_proj"]}, MODULE, ELSEWHERE)
    app = open_page(params={"base": str(base), "suspect": str(suspect)})
    assert not boxes(app)
    assert "The suspect's adapter also changes tensors outside the projector: language model (1)." in texts(app)
