import pytest
from streamlit.testing.v1 import AppTest

from dashboard import components
from projlens_core.inputs.images import named_image
from tests import pico


def _page():
    import streamlit as st

    from dashboard import links

    links.begin()
    st.selectbox("sign", ["plus", "minus"], key=links.option("sign", {"plus": "+v₀", "minus": "−v₀"}, "plus"))
    st.multiselect("ks", [1, 3, 5], [1], max_selections=2, key=links.several("ks", [1, 3, 5], [1], most=2))
    st.slider("count", 1, 9, 4, key=links.number("count", 1, 9, 4))
    st.number_input("size", 0.0, 1.0, 0.5, key=links.number("size", 0.0, 1.0, 0.5))
    st.slider("rows", 0, 8, (0, 8), key=links.span("rows", 0, 8))
    st.toggle("normed", True, key=links.flag("normed", True))
    st.text_input("target", "", key=links.text("target", "", "target of it"))
    labels = ["size 2×, JPEG 10", "unchanged"]
    st.multiselect("asked", labels, key=links.several("asked", labels, [], between=";"))
    pictures = {"a1": "cat.png", "b2": "dog.png", "c3": "dog.png"}
    st.selectbox("image", list(pictures), key=links.named("image", pictures))
    if st.session_state.get("more"):
        st.text_input("late", key=links.text("late"))
    links.write(("base",))


SAID = {
    "sign": "minus", "ks": "3,5", "count": "7", "size": "0.25", "rows": "2-5", "normed": "0", "target": "<b>",
    "asked": "unchanged;size 2×, JPEG 10", "image": "dog.png",
}  # fmt: skip
VALUES = {
    "sign": "minus", "ks": [3, 5], "count": 7, "size": 0.25, "rows": (2, 5), "normed": False, "target of it": "<b>",
    "asked": ["unchanged", "size 2×, JPEG 10"], "image": "b2",
}  # fmt: skip


def _opened(said: dict[str, str]) -> AppTest:
    app = AppTest.from_function(_page)
    app.query_params.update(said)
    app.run()
    assert not app.exception
    return app


def test_a_link_reopens_every_parameter_and_stays_as_it_is():
    app = _opened({"base": "b", **SAID})
    assert {key: app.session_state[key] for key in VALUES} == VALUES
    assert app.query_params == {"base": "b", **SAID}


def test_an_address_holds_what_is_not_as_it_was_at_first_and_no_more():
    app = _opened({"base": "b"})
    assert app.query_params == {"base": "b"}
    app.slider(key="count").set_value(5).run()
    assert app.query_params == {"base": "b", "count": "5"}
    app.slider(key="count").set_value(4).run()
    assert app.query_params == {"base": "b"}


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("sign", "neither"), ("ks", "1,2"), ("ks", "x"), ("ks", "1,3,5"),
        ("count", "10"), ("count", "4.5"), ("size", "nan"),
        ("rows", "5-2"), ("rows", "0-99"), ("rows", "-"), ("normed", "maybe"), ("target", "a" * 501),
        ("asked", "size 2×"), ("image", "a1"),
    ],
)  # fmt: skip
def test_what_no_widget_could_say_is_passed_over(name, raw):
    app = _opened({name: raw})
    assert name not in app.query_params


def test_what_is_said_twice_is_chosen_once():
    assert _opened({"ks": "5,3,5"}).session_state["ks"] == [5, 3]


def test_a_label_is_taken_for_its_value_as_older_links_had_it():
    assert _opened({"sign": "−v₀"}).session_state["sign"] == "minus"


def test_a_parameter_of_another_widget_is_not_taken_over():
    """As of another trigger, whose own parameters begin as they are at first."""

    def script():
        import streamlit as st

        from dashboard import links

        links.begin()
        of = st.selectbox("of", ["a", "b"], key=links.option("of", ["a", "b"], "a"))
        st.slider("px", 1, 9, 4, key=links.number("px", 1, 9, 4, f"px of {of}"))
        links.write(("base",))

    app = AppTest.from_function(script)
    app.query_params["px"] = "7"
    app.run()
    assert app.slider[0].value == 7
    app.selectbox[0].set_value("b").run()
    assert app.slider[0].value == 4
    assert app.query_params == {"of": "b"}


def test_back_brings_back_what_the_page_showed_then():
    app = _opened({"count": "7"})
    app.slider(key="count").set_value(2).run()
    app.query_params.pop("count")
    app.run()  # another page was shown in between
    app.query_params["count"] = "7"  # what the browser says after Back
    app.run()
    assert app.slider(key="count").value == 7


def test_an_old_address_that_the_browser_still_says_does_not_undo_a_change():
    app = _opened({"count": "7"})
    app.slider(key="count").set_value(2)
    app.run()
    assert app.slider(key="count").value == 2


def test_what_is_not_drawn_yet_keeps_its_place_in_the_address():
    app = _opened({"late": "a word"})
    assert app.query_params == {"late": "a word"}
    app.session_state["more"] = True
    app.run()
    assert app.session_state["late"] == "a word"


def test_a_text_that_is_too_long_is_left_out():
    app = _opened({})
    app.text_input(key="target of it").set_value("a" * 501).run()
    assert "target" not in app.query_params
    assert app.session_state["links_left_out"] == ["target"]


def test_every_page_says_what_its_address_does_not_hold(open_page, models):
    app = open_page("case")
    assert not any("Not included" in each.value for each in app.caption)
    app.session_state["uploads"] = {"a": named_image(pico.images(1)[0], "mine.png")}
    app.run()
    assert any("your 1 uploaded image" in each.value for each in app.caption)


def test_an_uploaded_model_is_called_by_its_file_name():
    assert components.shown("upload:0123456789abcdef/mine.safetensors", {}) == "mine.safetensors (upload)"
    assert components.shown("upload:0123456789abcdef", {}) == "uploaded files (012345)"
