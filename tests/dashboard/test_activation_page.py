import json
import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df

from dashboard import state
from tests import pico
from tests.dashboard.conftest import SAMPLES, texts, titles

PARAMETERS = "parameters"  # the expander


def png(seed: int = 100) -> bytes:
    buffer = BytesIO()
    pico.images(1, seed=seed)[0].save(buffer, "PNG")
    return buffer.getvalue()


def header_only(width: int, height: int) -> bytes:
    """A PNG that claims to be this large and holds no pixels."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT": b"", b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


def upload(app, *files: tuple[str, bytes]):
    return app.file_uploader[0].set_value([(name, data, "image/png") for name, data in files]).run()


def edit(app, parameter: str, value: float):
    """Open the trigger's parameters and set one."""
    app.session_state[PARAMETERS] = True
    app.run()
    app.number_input(key=parameter).set_value(value).run()


def show(app, view: str):
    return app.segmented_control(key="activation_view").set_value(view).run()


def captions(app) -> str:
    return "\n".join(element.value for element in app.caption)


def specs(app) -> list[dict]:
    """The specifications of all charts on the page."""
    return [json.loads(element.proto.spec) for element in app.get("vega_lite_chart")]


def drawn(app) -> list:
    """All charts on the page but the gallery of images."""
    return [element for element in app.get("vega_lite_chart") if '"pick"' not in element.proto.spec]


def data(chart, layer: int):
    """What is drawn in a layer of a chart."""
    name = json.loads(chart.proto.spec)["layer"][layer]["data"]["name"]
    return convert_arrow_bytes_to_pandas_df(next(d.data.data for d in chart.proto.datasets if d.name == name))


@pytest.fixture
def activation(open_page):
    return open_page("activation")


def test_clean_and_triggered_are_mapped_side_by_side_with_their_difference(activation):
    assert not activation.exception
    heatmaps = [title.split(",")[0] for title in titles(activation)[:3]]
    assert heatmaps == ["Clean", "Triggered", "Difference"]


def test_headline_numbers_come_with_the_control_and_with_intervals(activation):
    shift, apart, direction, fit, largest = activation.metric
    assert " → " in shift.value
    assert all(metric.delta.startswith("control ") for metric in (shift, apart, direction, fit, largest))
    assert f"{SAMPLES} triggered samples from {SAMPLES} clean ones" in apart.help


def test_the_control_is_one_click_away_on_the_same_colour_scale(activation):
    before = _domains(activation)
    activation.segmented_control(key="projector").set_value("control").run()
    assert not activation.exception
    assert _domains(activation) == before


def test_a_link_reopens_image_projector_and_measure(open_page, models):
    app = open_page(
        "activation",
        {**models.case.to_params(), "picture": "sample-3.png", "projector": "Control", "measure": "Signed"},
    )
    assert not app.exception
    assert app.segmented_control(key="projector").value == "control"
    assert app.segmented_control(key="measure").value == "signed"
    assert app.query_params["picture"] == "sample-3.png"


def test_signed_shifts_are_drawn_on_a_scale_with_zero_in_the_middle(activation):
    activation.segmented_control(key="measure").set_value("signed").run()
    low, high = _domains(activation)[0]
    assert low == -high < 0


def test_the_headline_and_the_heatmaps_give_the_same_means(activation):
    for measure in ("absolute", "signed"):
        activation.segmented_control(key="measure").set_value(measure).run()
        means = [title.split("mean ")[1] for title in titles(activation)[:2]]
        assert activation.metric[0].value == " → ".join(means)


def test_the_map_shows_as_much_of_the_image_before_as_the_slider_says_under_the_same_blocks(activation):
    def triggered():
        chart = drawn(activation)[1]
        return data(chart, 0).url[0], data(chart, 1).value.tolist()

    image, blocks = triggered()
    activation.slider(key="before").set_value(50).run()
    assert not activation.exception
    half, same = triggered()
    assert half != image
    assert same == blocks
    activation.slider(key="before").set_value(100).run()
    assert triggered()[0] == data(drawn(activation)[0], 0).url[0]


def test_the_embedding_map_has_a_panel_for_each_projector_of_images_or_of_patches(activation):
    show(activation, "Embedding map")
    assert not activation.exception
    assert titles(activation)[-3:] == ["Base: images", "Suspect: images", "Control: images"]
    activation.segmented_control(key="map_of").set_value("patches").run()
    assert titles(activation)[-3:] == ["Base: patches", "Suspect: patches", "Control: patches"]


@pytest.mark.parametrize("direction", ["image", "pair"])
def test_every_direction_can_be_looked_along(activation, direction):
    activation.segmented_control(key="direction").set_value(direction).run()
    assert not activation.exception
    assert len(titles(activation)) == 4  # three heatmaps and the distribution


def test_norm_and_shift_stand_on_either_norm_with_both_fits_and_all_outliers(activation):
    show(activation, "Norm and shift")
    assert titles(activation)[-2].startswith("Suspect: r ")
    fits, outliers = (element.value for element in activation.dataframe)
    assert fits.projector.tolist() == ["suspect", "suspect", "control", "control"]
    assert (fits.tokens == SAMPLES * 16).all()  # none is left out
    assert fits.outliers.sum() == len(outliers)
    activation.segmented_control(key="norm_axis").set_value("input").run()
    assert not activation.exception
    assert not fits["robust slope"].equals(activation.dataframe[0].value["robust slope"])


def test_a_patch_that_was_clicked_tells_its_numbers_and_is_framed_everywhere(activation):
    assert "Click a patch" in captions(activation)
    activation.number_input(key="patch of 16").set_value(7).run()  # as a click does, by keyboard
    assert not activation.exception
    assert any("row 2, column 3" in element.value for element in activation.markdown)
    assert activation.query_params["patch"] == "7"
    assert any(element.value.endswith("of 16") for element in activation.text)
    maps = drawn(activation)[:3]
    # the frame lies below the outline of the trigger, where a map has one
    layers = [[data(element, place) for place in (-2, -1)] for element in maps]
    framed = [[layer for layer in both if "token" in layer][-1] for both in layers]
    assert [layer.token.tolist() for layer in framed] == [[6], [6], [6]]
    show(activation, "Norm and shift")
    scatter = drawn(activation)[-1]
    assert data(scatter, -1).token.tolist() == [6, 6]  # once clean, once triggered


def test_a_patch_of_another_grid_is_no_patch_of_this_image(activation):
    activation.session_state["patch of 576"] = 401
    activation.run()
    assert not activation.exception
    assert "Click a patch" in captions(activation)
    activation.query_params["patch"] = "401"
    activation.run()
    assert "Click a patch" in captions(activation)


def test_the_table_of_patches_starts_with_the_one_pushed_farthest(activation):
    show(activation, "Patches")
    table = activation.dataframe[0].value
    assert table.place.tolist() == list(range(1, 17))
    assert table["suspect, triggered"].abs().is_monotonic_decreasing
    assert set(zip(table.row, table.column, strict=True)) == {(r, c) for r in range(1, 5) for c in range(1, 5)}


def test_images_are_ranked_by_shift_uploads_among_them(activation):
    upload(activation, ("mine.png", png()))
    show(activation, "Images ranked")
    table = activation.dataframe[0].value
    assert len(table) == SAMPLES + 1
    assert table[table["from"] == "upload"].image.tolist() == ["mine.png"]
    assert table["suspect, triggered: mean"].is_monotonic_decreasing
    activation.segmented_control(key="ranked_condition").set_value("clean").run()
    activation.segmented_control(key="ranked_by").set_value("largest").run()
    assert not activation.exception
    assert activation.dataframe[0].value["suspect, clean: largest"].is_monotonic_decreasing


def test_without_a_known_trigger_images_are_ranked_as_they_are(activation):
    upload(activation, ("suspicious.png", png()))
    activation.toggle(key="already").set_value(True).run()
    for view in ("Images ranked", "Directions", "Spectrum"):
        show(activation, view)
        assert not activation.exception
    show(activation, "Images ranked")
    assert not any("triggered" in column for column in activation.dataframe[0].value.columns)


def test_directions_and_spectrum_stand_beside_the_control_and_chance(activation):
    show(activation, "Directions")
    assert titles(activation)[-1] == "One direction for all images?"
    assert activation.dataframe[0].value["suspect, triggered"].is_monotonic_increasing
    show(activation, "Spectrum")
    assert titles(activation)[-3:] == [
        "Suspect: Singular values of ΔE",
        "Control: Singular values of ΔE",
        "Drift against ΔW of linear_2",  # the only matrix that was changed
    ]
    cards = [metric for metric in activation.metric if metric.label.startswith("Drift to top")]
    assert cards[0].value == "0°"  # the planted delta is the only cause of the drift
    assert cards[0].delta.startswith("control ")


def test_all_numbers_name_suspect_and_control_and_no_cosine_has_a_sign(activation):
    show(activation, "All numbers")
    table = activation.dataframe[0].value
    assert list(table.columns) == ["figure", "suspect", "control", "control along suspect's v₀"]
    cosines = table[table.figure.str.startswith("|cos|")].iloc[0, 1:]
    assert all(0 <= float(value) <= 1 for value in cosines)
    assert not activation.exception


def test_an_upload_of_a_sample_is_framed_once(activation, samples):
    upload(activation, ("again.png", (samples / "sample-2.png").read_bytes()))
    assert not activation.exception
    gallery = next(e for e in activation.get("vega_lite_chart") if '"pick"' in e.proto.spec)
    assert [len(data(gallery, layer)) for layer in (0, 1)] == [SAMPLES, 1]  # the images, and the frame


def test_an_upload_becomes_the_image_on_screen_and_leaves_the_url(activation):
    activation.query_params["picture"] = "sample-3.png"
    activation.run()
    assert activation.query_params["picture"] == "sample-3.png"  # an address, as after Back, wins over the session
    upload(activation, ("mine.png", png()))
    assert not activation.exception
    assert [p.name for p in activation.session_state[state.UPLOADS].values()] == ["mine.png"]
    assert "picture" not in activation.query_params
    assert titles(activation)[0].startswith("Clean")


def test_several_uploads_are_kept_and_each_refusal_is_one_sentence(activation):
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "JPEG")
    upload(
        activation,
        ("a.png", png(1)),
        ("notes.png", b"not an image"),
        ("huge.png", header_only(30000, 30000)),
        ("cut.jpg", buffer.getvalue()[:200]),
        ("b.png", png(2)),
    )
    assert not activation.exception
    assert [p.name for p in activation.session_state[state.UPLOADS].values()] == ["a.png", "b.png"]
    said = texts(activation)
    assert "notes.png is not a PNG, JPEG, WebP, GIF or BMP image" in said
    assert "huge.png has 30,000 × 30,000 pixels" in said
    assert "cut.jpg is cut off" in said
    assert titles(activation)[0].startswith("Clean")
    next(button for button in activation.button if button.label == "Clear uploads").click().run()
    assert "notes.png" not in texts(activation)


def test_an_upload_that_carries_its_trigger_is_held_against_the_clean_samples(activation):
    upload(activation, ("suspicious.png", png()))
    activation.toggle(key="already").set_value(True).run()
    assert not activation.exception
    assert titles(activation)[0].startswith("Triggered, mean")
    assert not any(title.startswith("Clean") for title in titles(activation))
    below = activation.metric[1]
    assert below.label == "Clean samples below it"
    assert below.value.endswith(f"of {SAMPLES}")
    patch = activation.metric[2]
    assert patch.label == "Below it by their largest patch"
    assert patch.value.endswith(f"of {SAMPLES}")
    assert patch.delta.startswith("control ")


def test_with_its_clean_twin_the_difference_is_drawn_as_well(activation):
    upload(activation, ("twin.png", png(1)), ("suspicious.png", png(2)))
    activation.toggle(key="already").set_value(True).run()
    twin = next(p for p in activation.session_state[state.UPLOADS].values() if p.name == "twin.png")
    shown = activation.session_state[state.IMAGE]
    activation.selectbox(key=f"twin {shown}").set_value(twin.sha256).run()
    assert not activation.exception
    assert [title.split(",")[0] for title in titles(activation)[:3]] == ["Clean", "Triggered", "Difference"]


def test_the_clean_twin_is_chosen_at_first_where_the_names_say_which_it_is(activation):
    upload(activation, ("cat-clean.png", png(1)), ("cat-triggered.png", png(2)))
    activation.toggle(key="already").set_value(True).run()
    assert not activation.exception
    assert [title.split(",")[0] for title in titles(activation)[:3]] == ["Clean", "Triggered", "Difference"]


def test_a_pair_direction_chosen_before_falls_back_where_there_is_no_pair(activation):
    activation.segmented_control(key="direction").set_value("pair").run()
    activation.toggle(key="already").set_value(True).run()
    assert not activation.exception
    assert titles(activation)[0].startswith("Triggered, mean")


def test_a_trigger_can_be_chosen_and_edited(activation):
    activation.selectbox(key="trigger").set_value("Solid patch, centre").run()
    before = titles(activation)[1]
    edit(activation, " Solid patch, centre px", 200)
    assert not activation.exception
    assert titles(activation)[1] != before  # another mean shift under the larger patch


def test_parameters_that_were_set_hold_while_they_are_out_of_sight(activation):
    activation.selectbox(key="trigger").set_value("Solid patch, centre").run()
    edit(activation, " Solid patch, centre px", 200)
    edited = titles(activation)
    activation.session_state[PARAMETERS] = False
    activation.run()
    assert [field.label for field in activation.number_input] == ["Patch, 0 for none"]
    assert titles(activation) == edited
    activation.session_state[PARAMETERS] = True
    activation.run()
    assert activation.number_input(key=" Solid patch, centre px").value == 200
    assert titles(activation) == edited


def test_an_impossible_trigger_is_one_sentence_and_is_mended_in_place(activation):
    activation.selectbox(key="trigger").set_value("Solid patch, centre").run()
    edit(activation, " Solid patch, centre px", 4000)
    assert not activation.exception
    assert "The trigger is 4000 px wide but the image only 336" in texts(activation)
    activation.number_input(key=" Solid patch, centre px").set_value(20).run()
    assert titles(activation)[0].startswith("Clean")


def test_projectors_without_a_model_around_them_are_refused_in_one_sentence(open_page, models, tmp_path):
    base = pico.projector_file(models.base, tmp_path / "a" / "base.safetensors")
    suspect = pico.projector_file(models.suspect, tmp_path / "b" / "suspect.safetensors")
    app = open_page("activation", {"base": str(base), "suspect": str(suspect)})
    assert not app.exception
    assert "Neither base nor suspect comes with a model around its projector" in texts(app)


def test_without_a_case_the_page_leads_to_the_case_page(open_page):
    app = open_page("activation", {})
    assert not app.exception
    assert any("No case yet" in element.value for element in app.markdown)


def test_without_samples_an_upload_is_still_analysed(open_page, samples):
    for file in samples.iterdir():
        file.unlink()
    samples.rmdir()
    app = open_page("activation")
    assert any("No image yet" in element.value for element in app.markdown)
    upload(app, ("mine.png", png()))
    assert not app.exception
    assert [title.split(",")[0] for title in titles(app)] == ["Clean", "Triggered", "Difference"]


def _domains(app) -> list[list[float]]:
    """Colour domains of the heatmaps on the page."""
    found = []
    for spec in specs(app):
        colour = (spec.get("layer") or [{}, {}])[1].get("encoding", {}).get("color", {})
        if "domain" in colour.get("scale", {}) and "mean" in str(spec.get("title")):
            found.append(colour["scale"]["domain"])
    return found
