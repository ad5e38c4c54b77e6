"""The models that ship with ProjLens, as the Case page offers them. Weights only: no model is run."""

import pytest

from dashboard import resources, state
from projlens_core.cases.case import Case
from projlens_core.sources import PREFIX, zoo_catalogue
from projlens_core.sources import shipped as everything
from tests.dashboard.conftest import titles

CATALOGUE = zoo_catalogue()
SUSPECTS = [name for name, entry in CATALOGUE.items() if entry.role == "suspect"]
OFFERED = "Compare the suspect with"
CONTROLS = [name for name, entry in CATALOGUE.items() if entry.role == "control"]


@pytest.fixture(autouse=True)
def shipped(samples, monkeypatch):
    monkeypatch.setattr(resources, "zoo", zoo_catalogue)


def test_the_dashboard_opens_on_the_first_suspect_beside_the_first_control(open_page):
    app = open_page(params={})
    assert not app.exception
    assert app.query_params == {
        "base": "zoo:base",
        "suspect": PREFIX + SUSPECTS[0],
        "control": PREFIX + CONTROLS[0],
    }
    assert titles(app)[0] == "Singular values of ΔW₁"
    assert all(metric.delta.startswith("control ") for metric in app.metric)


def test_a_tiny_suspect_comes_with_the_base_and_the_control_of_its_kind():
    for suspect, control in (("tiny-injection", "zoo:tiny-control"), ("tiny-control", None)):
        assert state.zoo_case(everything(), suspect) == Case("zoo:tiny-base", f"zoo:{suspect}", control)
    assert state.zoo_case(everything(), SUSPECTS[0]) == Case("zoo:base", PREFIX + SUSPECTS[0], PREFIX + CONTROLS[0])


@pytest.mark.parametrize("names", [("base", SUSPECTS[0]), ("tiny-base", "tiny-injection")])
def test_models_that_ship_are_run_where_others_can_reach_the_server(names, monkeypatch):
    """Their folders lie in no root that such a server names."""
    monkeypatch.setenv("PROJLENS_ROOTS", "")
    case = Case(*(f"{PREFIX}{name}" for name in names))
    assert resources.run_key(case, "suspect")
    assert {resources.loaded_key(model) for model in resources.whose(case).models.values()}


def test_only_controls_of_the_suspects_kind_are_offered(open_page, monkeypatch):
    monkeypatch.setattr(resources, "zoo", everything)
    app = open_page(params={})
    app.button(key="zoo-tiny-injection").click().run()
    assert not app.exception
    assert app.query_params["base"] == "zoo:tiny-base"
    select = next(box for box in app.selectbox if box.label == OFFERED)
    assert select.options == ["no control", everything()["tiny-control"].title]


@pytest.mark.parametrize("name", [*SUSPECTS, *CONTROLS])
def test_every_case_is_one_click_away_and_is_never_its_own_control(open_page, name):
    app = open_page(params={})
    app.button(key=f"zoo-{name}").click().run()
    assert not app.exception
    assert app.query_params["suspect"] == PREFIX + name
    assert app.query_params["control"] != PREFIX + name
    assert titles(app)


def test_the_control_can_be_changed_and_left_out(open_page):
    app = open_page(params={})
    select = next(box for box in app.selectbox if box.label == "Compare the suspect with")
    select.set_value(PREFIX + CONTROLS[1]).run()
    assert app.query_params["control"] == PREFIX + CONTROLS[1]
    select = next(box for box in app.selectbox if box.label == "Compare the suspect with")
    select.set_value("").run()
    assert not app.exception
    assert "control" not in app.query_params
    assert {metric.delta for metric in app.metric} == {"no control"}


def test_an_unknown_zoo_model_is_one_sentence_and_the_cards_stay(open_page):
    app = open_page(params={"base": "zoo:base", "suspect": "zoo:nobody"})
    assert not app.exception
    assert any("There is no zoo model 'nobody'" in element.value for element in app.text)
    app.button(key=f"zoo-{SUSPECTS[0]}").click().run()
    assert titles(app)


def test_a_case_in_the_session_survives_a_change_of_page(open_page):
    app = open_page("activation", {"base": "zoo:base", "suspect": PREFIX + SUSPECTS[1]})
    assert not app.exception
    assert app.session_state[state.CASE].suspect == PREFIX + SUSPECTS[1]
    assert app.selectbox(key="trigger").value == "The suspect's own trigger"


def test_another_suspect_starts_with_its_own_trigger_and_not_with_that_of_the_former_case(open_page):
    app = open_page("activation", {"base": "zoo:base", "suspect": PREFIX + CONTROLS[0]})
    assert app.selectbox(key="trigger").value == "Solid patch, centre"
    app.query_params["suspect"] = PREFIX + SUSPECTS[1]
    app.run()
    assert not app.exception
    assert app.session_state[state.CASE].suspect == PREFIX + SUSPECTS[1]
    assert app.selectbox(key="trigger").value == "The suspect's own trigger"
