import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from dashboard import resources, state
from projlens_core.sources import shipped
from tests import pico
from tests.core.test_forms import mmproj
from tests.dashboard.conftest import press, texts, titles


def test_a_link_opens_its_case_with_spectra_of_every_matrix_and_the_control_beside(open_page, models):
    app = open_page()
    assert not app.exception
    assert titles(app) == [
        "Singular values of ΔW₁",
        "Energy of ΔW₁ in its k largest values",
        "Singular values of ΔW₂",
        "Energy of ΔW₂ in its k largest values",
    ]
    untouched, stable_rank, energy, relative = app.metric
    assert (untouched.label, untouched.value) == ("Stable rank of ΔW₁", "0.0")  # zero by definition: nothing changed
    assert stable_rank.label == "Stable rank of ΔW₂"
    assert stable_rank.value == "1.1"  # (6² + 2²) / 6² = 1.11
    assert stable_rank.delta == "control 12.0"  # twelve equal singular values
    assert energy.value == "100%"
    assert energy.delta == "control 42%"  # 5 of 12
    assert energy.label == "Energy in the top 5 of ΔW₂"
    assert relative.value.endswith("%")


def test_tables_say_what_changed_what_was_opened_and_what_was_not_compared(open_page):
    app = open_page()
    changed = app.dataframe[0].value
    assert list(changed["tensor"]) == ["linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"]
    assert changed.set_index("tensor")["‖Δ‖"].round(3).to_dict() == {
        "linear_1.weight": 0.0,
        "linear_1.bias": 0.0,
        "linear_2.weight": 6.325,  # √(6² + 2²)
        "linear_2.bias": 0.0,
    }
    app.segmented_control(key="case_view").set_value("What was opened").run()
    opened = app.dataframe[0].value
    assert list(opened["role"]) == ["base", "suspect", "control"]
    assert set(opened["projector"]) == {"32 → 48 → 48"}
    assert set(opened["dtype"]) == {"float32"}
    app.segmented_control(key="case_view").set_value("What was not compared").run()
    assert "Vision tower and language model: not compared." in texts(app)


def test_a_suspect_equal_to_its_base_is_said_to_be_unchanged_instead_of_drawn(open_page, models):
    app = open_page(params={"base": str(models.base), "suspect": str(models.base)})
    assert not app.exception
    assert any("Nothing changed" in element.value for element in app.markdown)
    assert not titles(app)


def test_without_a_control_the_numbers_say_so(open_page, models):
    app = open_page(params={"base": str(models.base), "suspect": str(models.suspect)})
    assert {metric.delta for metric in app.metric} == {"no control"}


def test_without_any_case_the_page_says_what_to_do(open_page):
    app = open_page(params={})
    assert not app.exception
    assert any("No case yet" in element.value for element in app.markdown)
    assert [field.label for field in app.text_input] == ["Base", "Suspect", "Control (optional)"]


def test_own_paths_open_as_a_case_and_stand_in_the_url(open_page, models):
    app = open_page(params={})
    for field, folder in zip(app.text_input, (models.base, models.suspect), strict=False):
        field.set_value(str(folder))
    app.button[0].click().run()
    assert not app.exception
    assert app.query_params["suspect"] == str(models.suspect)
    assert "control" not in app.query_params
    assert titles(app)


def test_a_path_that_does_not_exist_is_refused_in_one_sentence_and_the_case_stays(open_page, models):
    app = open_page()
    app.text_input[1].set_value("/no/such/model")
    app.button[0].click().run()
    assert not app.exception
    assert "'/no/such/model' does not exist; give a checkpoint folder" in texts(app)
    assert app.query_params["suspect"] == str(models.suspect)
    assert titles(app)


@pytest.mark.parametrize("page", ["case", "summary", "activation", "report"])
def test_half_an_address_is_reported_and_no_other_cases_figures_are_shown_in_its_place(page, open_page, monkeypatch):
    monkeypatch.setattr(resources, "zoo", shipped)  # which has a case that opens where none is named
    app = open_page(page, {"suspect": "zoo:malicious-injection"})
    assert not app.exception
    assert "The address names no base" in texts(app)
    assert app.session_state[state.CASE] is None
    assert any("No case yet" in each.value for each in app.markdown)
    assert not app.metric
    app.run()
    assert "The address names no base" in texts(app)


def test_half_an_address_leaves_a_usable_page(open_page, models):
    app = open_page(params={"suspect": str(models.suspect)})
    assert app.text_input[1].value == str(models.suspect)
    app.text_input[0].set_value(str(models.base))
    press(app, "Open")
    assert not app.exception
    assert "The address names" not in texts(app)
    assert app.query_params["base"] == str(models.base)
    assert titles(app)


def _with_projector(base, folder, change):
    shutil.copytree(base, folder)
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if n.endswith("multi_modal_projector.linear_2.weight"))
    tensors[name] = change(tensors[name])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: torch.full_like(w, float("nan")), "NaN or infinite values"),
        (lambda w: w[:-1].contiguous(), "do not fit each other"),
    ],
)
def test_a_broken_suspect_is_one_sentence_and_the_page_stays_usable(open_page, models, tmp_path, change, said):
    broken = _with_projector(models.base, tmp_path / "broken", change)
    app = open_page(params={"base": str(models.base), "suspect": str(broken)})
    assert not app.exception
    assert said in texts(app)
    app.text_input[1].set_value(str(models.suspect))
    app.button[0].click().run()
    assert titles(app)


def test_a_suspect_of_another_shape_is_one_sentence(open_page, models, tmp_path):
    wide = pico.projector_file(models.base, tmp_path / "wide" / "projector.safetensors")
    tensors = load_file(wide)
    tensors["multi_modal_projector.linear_2.weight"] = torch.zeros(50, 48)
    tensors["multi_modal_projector.linear_2.bias"] = torch.zeros(50)
    save_file(tensors, wide)
    app = open_page(params={"base": str(models.base), "suspect": str(wide)})
    assert not app.exception
    assert "cannot be a fine-tune of" in texts(app)


def test_a_name_with_markup_is_shown_as_it_is(open_page, models, tmp_path):
    odd = tmp_path / "<b>*bold*</b> :red[x]"
    pico.suspect(models.base, odd)
    app = open_page(params={"base": str(models.base), "suspect": str(odd)})
    assert not app.exception
    (line,) = (element.proto.body for element in app.get("html") if "suspect" in element.proto.body)
    assert "&lt;b&gt;*bold*&lt;/b&gt; :red[x]" in line
    assert "<b>" not in line
    assert not any("bold" in element.value for element in app.markdown)


def test_an_uploaded_projector_opens_as_the_suspect(open_page, models, tmp_path):
    file = pico.projector_file(models.suspect, tmp_path / "projector.safetensors")
    app = open_page(params={"base": str(models.base), "suspect": str(models.base)})
    app.file_uploader(key="upload-suspect").set_value([("projector.safetensors", file.read_bytes(), "")])
    app.button[0].click().run()
    assert not app.exception
    assert app.query_params["suspect"].endswith("/projector.safetensors")
    assert titles(app)


def test_an_uploaded_pickle_that_asks_for_code_is_one_sentence(open_page, models):
    app = open_page(params={"base": str(models.base), "suspect": str(models.suspect)})
    app.file_uploader(key="upload-suspect").set_value([("x.bin", b"cos\nsystem\n(S'false'\ntR.", "")])
    app.button[0].click().run()
    assert not app.exception
    assert "asks its loader to call 'os.system'" in texts(app)


def test_the_rest_of_the_model_is_compared_on_request(open_page):
    app = open_page()
    app.segmented_control(key="case_view").set_value("The rest of the model").run()
    next(button for button in app.button if button.label == "Compare all the rest").click().run()
    assert not app.exception
    assert [card.label for card in app.metric][-3:] == ["Same", "Changed", "Not compared"]
    assert app.metric[-2].value.startswith("0 of ")
    assert "language model" in list(app.dataframe[0].value["part"])


def test_a_suspect_with_more_of_a_projector_than_was_compared_is_not_said_to_be_unchanged(open_page, models, tmp_path):
    odd = tmp_path / "odd"
    shutil.copytree(models.base, odd)
    more = {"mm_projector_extra.**x** [y](z).weight": torch.ones(2, 3)}
    save_file(load_file(models.base / "model.safetensors") | more, odd / "model.safetensors", metadata={"format": "pt"})
    address = {"base": str(models.base), "suspect": str(odd)}
    for page in (None, "weights"):
        app = open_page(page, params=address)
        assert not app.exception
        assert any("Not all was compared" in element.value for element in app.markdown)
        assert not any("Nothing changed" in element.value for element in app.markdown)
        assert not any("**x**" in element.value for element in (*app.markdown, *app.caption))
        assert "These belong to a projector and were not compared" in texts(app)
        assert "mm_projector_extra.**x** [y](z).weight" in texts(app)
    app = open_page(params=address)
    app.segmented_control(key="case_view").set_value("What was not compared").run()
    assert "mm_projector_extra.**x** [y](z).weight" in set(app.dataframe[0].value["what"])
    assert "equals" not in texts(app)


def test_an_mmproj_that_says_llama4_is_no_llava_on_the_page_either(open_page, tmp_path):
    tensors = {
        "mm.model.mlp.1.weight": torch.ones(48, 32),
        "mm.model.mlp.2.weight": torch.ones(48, 48),
        "mm.model.fc.weight": torch.ones(64, 48),
    }
    base = mmproj(tmp_path / "base.gguf", tensors, **{"clip.projector_type": "llama4"})
    moved = tensors | {"mm.model.fc.weight": torch.ones(64, 48) * 2}
    suspect = mmproj(tmp_path / "suspect.gguf", moved, **{"clip.projector_type": "llama4"})
    app = open_page(params={"base": f"{base}#llava", "suspect": f"{suspect}#llava"})
    assert not app.exception
    assert "declares clip.projector_type 'llama4', which is no LLaVA projector" in texts(app)
    app = open_page(params={"base": str(base), "suspect": str(suspect)})
    assert not app.exception
    changed = app.dataframe[0].value.set_index("tensor")["‖Δ‖"].to_dict()
    assert changed == {"fc1.weight": 0.0, "fc2.weight": 0.0, "linear.weight": pytest.approx((64 * 48) ** 0.5)}
