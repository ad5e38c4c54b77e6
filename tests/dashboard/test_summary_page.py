"""The page that opens first: what was found on other pages, with what is missing, and the case taken along by links."""

from tests.dashboard.conftest import press, texts


def test_the_weights_are_read_at_once_and_what_was_not_done_is_said(open_page):
    app = open_page("summary")
    assert not app.exception
    assert "Not searched yet" in app.subheader[0].value
    assert any("Not run" in each.value for each in app.markdown)
    assert "far more concentrated than the control's" in texts(app)
    assert "whether a trigger brings its target is not known" in texts(app)


def test_what_another_page_measured_is_on_it(open_page, models):
    other = open_page("response")
    other.text_input(key=f"target {models.suspect}").set_value("a").run()
    other.slider(key="count").set_value(3).run()
    press(other, "Run")
    assert not other.exception
    app = open_page("summary")
    assert "With the trigger the suspect says the target on" in texts(app)
    assert "whether a trigger brings its target is not known" not in texts(app)


def test_a_case_that_cannot_be_opened_is_one_sentence(open_page):
    app = open_page("summary", {"base": "nowhere", "suspect": "nowhere"})
    assert not app.exception
    assert "nowhere" in texts(app)
