"""Every page of weights and activations on models of other families: tiles, merged patches, tokens on no grid."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from dashboard import state
from projlens_core.cases.case import PROJECTOR_ONLY
from projlens_core.report import drawing
from projlens_core.weights.families import families, match
from tests import pico_families
from tests.dashboard.conftest import PAGES, press, texts, titles

WALKED = ("weights", "activation", "neurons", "separability", "direction")
# What pages and report say they cannot show: hidden units where there are none, and words of an output head that never
# reads an image embedding.
MISSING = {"smolvlm": ["Neurons"], "instructblip": ["Neurons"], "mllama": ["Logit lens", "Neurons"]}
SILENT = {("smolvlm", "neurons"), ("blip2", "neurons"), ("idefics2", "neurons"), ("instructblip", "neurons")}
SILENT |= {("mllama", "neurons"), ("mllama", "direction")}


@pytest.fixture
def address(tmp_path):
    """address("internvl") writes a base of the family and a suspect with a planted change, and says where they are.

    The change is in the projector or, upstream, in what acts before it.
    """

    def made(family: str, upstream: bool = False) -> dict[str, str]:
        base, suspect = tmp_path / "base", tmp_path / "suspect"
        for folder in (base, suspect):
            pico_families.model(family).save_pretrained(folder)
            for place in (folder, folder / "qformer_tokenizer"):  # InstructBLIP reads the question twice
                pico_families.tokenizer(family).save_pretrained(place)
            pico_families.IMAGE_PROCESSORS[family]().save_pretrained(folder)
        tensors = load_file(suspect / "model.safetensors")
        found = match(tensors, families()[family].model_types[0], family, family)
        stored = found.adjacent if upstream else found.tensors
        weight = next(name for name in reversed(stored.values()) if tensors[name].dim() == 2)
        tensors[weight] += 3 * torch.ones_like(tensors[weight]) / tensors[weight].numel() ** 0.5
        save_file(tensors, suspect / "model.safetensors", metadata={"format": "pt"})
        return {"base": str(base), "suspect": str(suspect)}

    return made


def test_tokens_on_no_grid_are_shown_as_bars_and_one_can_be_chosen(open_page, address):
    app = open_page("activation", address("blip2"))
    assert not app.exception
    first, second, *_ = titles(app)
    assert first.startswith("Clean mean ")
    assert second.startswith("Difference, mean ")
    assert any("lie on no grid" in caption.value for caption in app.caption)
    number = next(each for each in app.number_input if str(each.key).startswith(f"{state.PATCH} of "))
    number.set_value(3).run()
    assert any("Image token 3" in badge.value for badge in app.markdown)
    app.segmented_control(key="activation_view").set_value("Patches").run()
    assert not app.exception
    assert app.dataframe[0].value.token.tolist() != []
    assert "row" not in app.dataframe[0].value


def test_of_a_resampler_only_matrices_that_changed_are_drawn(open_page, address):
    app = open_page(None, address("blip2"))
    assert not app.exception
    assert [title.split(" of ")[0] for title in titles(app)] == ["Singular values", "Energy"]
    assert len(app.dataframe[0].value) > 20  # every tensor is in the table


@pytest.mark.parametrize(
    "family",
    [
        "qwen2_vl",
        "internvl",
        "smolvlm",
        "blip2",
        "idefics2",
        "minicpmv4_6",
        "deepseek_vl_hybrid",
        "instructblip",
        "mllama",
    ],
)
def test_every_page_of_weights_and_activations_answers_for_other_families(family, open_page, address):
    params = address(family)
    app = open_page(None, params)
    for name in WALKED:
        app.switch_page(PAGES[name])
        app.query_params.update(params)
        app.run()
        assert not app.exception, name
        assert bool(titles(app)) == ((family, name) not in SILENT), name


def test_every_page_of_activations_says_why_models_that_differ_before_their_projector_are_not_run(open_page, address):
    params = address("minicpmv4_6", upstream=True) | {PROJECTOR_ONLY: "1"}  # with its own tower it would be run
    app = open_page(None, params)
    assert not app.exception
    for name in (*WALKED[1:], "robustness"):
        app.switch_page(PAGES[name])
        app.query_params.update(params)
        app.run()
        assert not app.exception, name
        assert any("before the projector's first layer" in text.value for text in app.text), name


@pytest.mark.parametrize(
    "family",
    [
        "qwen2_vl",
        "internvl",
        *(pytest.param(name, marks=pytest.mark.slow(seconds=20)) for name in ("smolvlm", "instructblip", "mllama")),
    ],
)
def test_every_button_of_behaviour_and_report_answers_for_other_families(family, open_page, address, monkeypatch):
    monkeypatch.setattr(drawing, "javascript", lambda: "")  # seconds, and not what is asked here
    params = address(family)
    target = f"target {params['suspect']}"

    response = open_page("response", params)
    response.text_input(key=target).set_value("a").run()
    response.slider(key="count").set_value(3).run()
    for button in ("Ask", "Run"):
        _pressed(response, button)
    assert titles(response)[-2:] == ["Attack success rate", "Target on clean images"]

    lab = open_page("lowrank", params)
    lab.text_input(key=target).set_value("a")
    lab.multiselect(key="lowrank_ranks").set_value([0, 2]).run()
    lab.slider(key="lowrank_images").set_value(2).run()
    for button in ("Fill the grid", "Ask at every k"):
        _pressed(lab, button)
    assert any("All cells are measured" in caption.value for caption in lab.caption)
    assert "Target logit of this image" in titles(lab)

    robustness = open_page("robustness", params)
    robustness.slider(key="robustness_images").set_value(2).run()
    _pressed(robustness, "Try the changes")
    robustness.segmented_control(key="robustness_view").set_value("Answers").run()
    robustness.text_input(key=target).set_value("a").run()
    robustness.slider(key="robustness_n").set_value(2).run()
    _pressed(robustness, "Ask")
    assert "ASR" in robustness.dataframe[0].value

    report = open_page("report", params)
    report.text_input(key=target).set_value("a")
    parts = report.button_group(key="report_parts")
    parts.set_value([part for part in parts.options if part != "Verdict"])  # minutes
    _pressed(report, "Generate")
    _, record = report.session_state[state.RECORD]
    assert [part.part for part in record.missing] == MISSING.get(family, [])


def _pressed(app, label):
    press(app, label)
    assert not app.exception, label
    failed = any(":material/error:" in badge.value for badge in app.markdown)
    assert not failed, f"{label}: {texts(app)}"
