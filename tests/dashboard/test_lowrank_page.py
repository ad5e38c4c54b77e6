import pytest

from dashboard import lowrank_results, results, state
from projlens_core.errors import InvalidInput
from tests.dashboard.conftest import press, texts, titles

GRIDS = ["ASR", "Clean utility", "Target logit"]


@pytest.fixture
def lab(open_page, models):
    """The page with two ks, two images and a target that the pico suspect may say."""
    app = open_page("lowrank")
    app.text_input(key=f"target {models.suspect}").set_value("a")
    app.multiselect(key="lowrank_ranks").set_value([0, 2])
    app.run()
    app.slider(key="lowrank_images").set_value(2).run()
    return app


def measured(app):
    (found,) = app.session_state[lowrank_results.GRIDS].values()
    return found


def test_without_a_target_the_page_asks_for_one(open_page):
    app = open_page("lowrank")
    assert not app.exception
    assert any("No target yet" in m.value for m in app.markdown)
    assert not titles(app)


def test_before_it_is_filled_every_cell_waits_and_the_cost_is_told(lab):
    assert not lab.exception
    assert titles(lab)[:3] == GRIDS
    # 4 cells and 3 whole models, each asked about 2 triggered and 2 clean images
    assert any("7 cells and whole models × 4 answers" in c.value for c in lab.caption)
    assert any("4 of 4 cells are not measured yet" in c.value for c in lab.caption)


def test_a_filled_grid_is_kept_and_shows_the_whole_models(lab, monkeypatch):
    press(lab, "Fill the grid")
    assert not lab.exception
    found = measured(lab)
    assert set(found.suspect) == {(0, 0), (0, 2), (2, 0), (2, 2)}
    assert set(found.whole) == {"base", "suspect", "control"}
    assert found.suspect[0, 0] == found.whole["base"]
    assert any("ASR of whole suspect" in m.label for m in lab.metric)
    assert any("All cells are measured" in c.value for c in lab.caption)

    def fail(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(results, "language_model", fail)
    lab.run()
    assert not lab.exception
    assert any("All cells are measured" in c.value for c in lab.caption)


def test_the_controls_grid_stands_behind_the_switch(lab):
    lab.toggle(key="lowrank_control").set_value(True).run()
    press(lab, "Fill the grid")
    assert not lab.exception
    assert len(measured(lab).control) == 4
    lab.segmented_control(key="lowrank_view").set_value("Control's grid").run()
    assert titles(lab)[3:] == [f"Control: {name.lower() if name != 'ASR' else name}" for name in GRIDS]
    lab.segmented_control(key="lowrank_view").set_value("All cells").run()
    assert not lab.exception
    assert len(lab.dataframe[0].value) == 3 + 4 + 4


def test_moving_k_shows_other_answers_without_asking_again(lab, monkeypatch):
    press(lab, "Ask at every k")
    assert not lab.exception
    assert "Target logit of this image" in titles(lab)

    def fail(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(results, "language_model", fail)
    lab.select_slider(key="lowrank_k (0, 2)").set_value(0).run()
    assert not lab.exception
    assert "Target logit of this image" in titles(lab)


def test_a_failure_is_one_sentence_and_finished_cells_are_kept(lab, monkeypatch):
    own, done = lowrank_results.fill, []

    def breaks(*args):
        for grid in own(*args):
            done.append(grid)
            yield grid
            if len(grid.cells) == 2:
                raise InvalidInput("The disk is full; make room.")

    with monkeypatch.context() as broken:
        broken.setattr(lowrank_results, "fill", breaks)
        press(lab, "Fill the grid")
    assert not lab.exception
    assert "The disk is full; make room." in texts(lab)
    assert len(measured(lab).suspect) == 2
    press(lab, "Fill the grid")
    assert len(measured(lab).suspect) == 4


def test_a_stopped_run_says_that_its_cells_are_kept(lab):
    lab.session_state[state.STOPPED] = True
    lab.run()
    assert any("Finished cells are kept" in c.value for c in lab.caption)


def test_ablation_takes_the_suspects_biases_unless_told_otherwise(lab):
    lab.segmented_control(key="lowrank_mode").set_value("ablate").run()
    assert lab.segmented_control(key="lowrank_biases_ablate").value == "suspect"
    press(lab, "Fill the grid")
    found = measured(lab)
    assert found.suspect[0, 0] == found.whole["suspect"]


def test_cells_measured_before_stay_when_the_grid_grows(lab):
    press(lab, "Fill the grid")
    lab.multiselect(key="lowrank_ranks").set_value([0, 1, 2]).run()
    assert any("5 of 9 cells are not measured yet" in c.value for c in lab.caption)
