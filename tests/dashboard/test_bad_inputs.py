"""Bad input through the browser's doors: a box with one sentence each, never a traceback, and the page stays usable.

The files, names and bundles are those of tests/core/test_bad_inputs.py and test_bundle.py.
"""

from streamlit.testing.v1 import AppTest

from dashboard import pickers, state
from tests import bad_files
from tests.core.test_bundle import HOSTILE_BUNDLES
from tests.dashboard.conftest import press

# What a browser can send: text that is UTF-8, and images whose names end as the uploader allows.
MODELS = {what: name for what, name in bad_files.MODELS.items() if "\udcff" not in name}
IMAGES = [file for file in bad_files.IMAGES.values() if file[0].rpartition(".")[2] in pickers.TYPES]


def boxes(app: AppTest) -> list[str]:
    """The sentences in the page's error boxes: the text after each badge of a failure."""
    assert not app.exception
    found = []
    for box in app.main.children.values():
        found += _sentences(box)
    return found


def _sentences(block: object) -> list[str]:
    children = list(getattr(block, "children", {}).values())
    marked = any(getattr(child, "type", "") == "markdown" and ":red-badge[" in child.value for child in children)
    own = [child.value for child in children if marked and getattr(child, "type", "") == "text"]
    return own + [sentence for child in children for sentence in _sentences(child)]


def is_one_sentence(text: str) -> bool:
    return 20 < len(text) < 700 and text[-1] in ".!?" and "\n" not in text and "Traceback" not in text


def test_bad_images_are_refused_in_a_sentence_each_and_good_ones_beside_them_are_kept(open_page, samples):
    app = open_page("activation")
    good = (samples / "sample-0.png").read_bytes()
    files = [(name, content, "image/png") for name, content in IMAGES]
    app.file_uploader[0].set_value([*files, ("good.png", good, "image/png")]).run()
    said = boxes(app)
    assert len(said) == len(files)
    assert all(map(is_one_sentence, said)), [sentence for sentence in said if not is_one_sentence(sentence)]
    assert len(app.session_state[state.UPLOADS]) == 1
    press(app, "Clear uploads")
    assert boxes(app) == []


def test_paths_that_name_no_model_are_refused_and_the_case_stays(open_page):
    app = open_page()
    before = app.session_state[state.CASE]
    for what, model in MODELS.items():
        app.text_input[1].set_value(model)
        press(app, "Open")
        [sentence] = boxes(app)
        assert is_one_sentence(sentence), what
        assert what == "a device" or app.session_state[state.CASE] == before  # which is there, and then not opened


def test_addresses_that_name_no_model_are_refused_on_the_page_they_lead_to(open_page, models):
    app = open_page("neurons")
    for what, model in MODELS.items():
        app.query_params.update(models.case.to_params() | {"suspect": model})
        app.run()
        said = boxes(app)
        assert said, what
        assert all(map(is_one_sentence, said)), what


def test_uploaded_weights_that_are_none_are_refused(open_page):
    app = open_page()
    for content in bad_files.WEIGHTS.values():
        app.file_uploader(key="upload-suspect").set_value([("bad.safetensors", content, "application/octet-stream")])
        press(app, "Open")
        [sentence] = boxes(app)
        assert is_one_sentence(sentence), sentence


def test_uploads_whose_names_leave_their_folder_or_cannot_be_shown_are_refused(open_page):
    app = open_page()
    for name in ("../x.safetensors", "a\nb.safetensors", ".safetensors", "x" * 300 + ".bin"):
        app.file_uploader(key="upload-suspect").set_value([(name, b"x", "application/octet-stream")])
        press(app, "Open")
        [sentence] = boxes(app)
        assert is_one_sentence(sentence), name


def test_hostile_bundles_are_refused_bombs_and_paths_that_leave_the_folder_among_them(open_page, monkeypatch):
    monkeypatch.setattr("projlens_core.report.bundle.MAX_TOTAL", 300_000)
    app = open_page("report")
    for what, (make, _) in HOSTILE_BUNDLES.items():
        data = make()
        with monkeypatch.context() as patch:
            patch.setattr("projlens_core.report.bundle.MAX_FILE", 100_000)
            app.file_uploader[0].set_value(("case.zip", data, "application/zip")).run()
        [sentence] = boxes(app)
        assert is_one_sentence(sentence), what
        assert state.STORED not in app.session_state or app.session_state[state.STORED] is None


def test_a_target_of_100_000_characters_breaks_nothing(open_page):
    app = open_page("response")
    next(box for box in app.text_input if "arget" in box.label).set_value(bad_files.LONG_QUESTION).run()
    press(app, "Run")
    assert not app.exception
    assert all(map(is_one_sentence, boxes(app)))
