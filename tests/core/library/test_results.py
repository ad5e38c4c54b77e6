"""What a result gives: tables, charts, text; and answers of a model."""

import json

import numpy as np
import pytest
from PIL import Image

import projlens_core as pl
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.report import drawing
from tests.core.library.conftest import SPEC


@pytest.fixture(scope="module")
def result(case):
    images = [np.random.default_rng(seed).random((64, 64, 3)) for seed in range(6)]
    return case.separability(images, trigger=SPEC)


def test_tables_and_charts_are_had_by_name(result):
    assert result.to_frame().equals(result.exhibit.tables[1].frame)
    assert result.to_frame("separability").equals(result.exhibit.tables[0].frame)
    assert result.chart("decision values").caption == result.exhibit.charts[1].caption
    for wanted in (result.to_frame, result.chart):
        with pytest.raises(NotFound, match=r"Separability has no .* 'none'; it has .*'decision values'"):
            wanted("none")
    frame = result.to_frame()
    frame.iloc[0, 0] = "changed"
    assert "changed" not in result.to_frame().to_string()


def test_a_result_prints_what_its_command_prints(result):
    assert repr(result).startswith(
        "Separability: Do the embeddings separate clean from triggered images?\nbase: AUROC "
    )
    assert all(note in repr(result) for note in result.exhibit.notes)


def test_a_chart_is_a_drawing_a_specification_and_an_altair_chart(result):
    chart = result.chart()
    bundle = chart._repr_mimebundle_()
    assert "<svg" in bundle["text/html"]
    assert json.loads(json.dumps(bundle["application/vnd.vegalite.v6.json"])).items() >= chart.spec.items()
    assert drawing.svg(chart.to_altair().to_dict()) == drawing.svg(chart.spec)


def test_what_cannot_be_shown_says_why_in_its_place(case, world):
    alone = case.activation(world / "images", trigger=False)
    with pytest.raises(NotFound, match="No trigger is known"):
        alone.to_frame()
    assert "No trigger is known for this suspect; give one." in alone._repr_html_()
    assert "note.txt is not a PNG" in alone._repr_html_()
    assert "suspect: " in repr(alone)


def test_four_answers_are_those_of_the_command(case, world, capsys):
    image = world / "images" / "0.png"
    answers = case.respond(image, "What?", trigger=SPEC, max_new_tokens=4)
    models = [f"--{role}={world / role}" for role in ("base", "suspect")]
    given = [f"--image={image}", "--prompt=What?", f"--trigger={world / 'trigger.json'}", "--max-new-tokens=4"]
    assert main(["respond", *models, *given, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["answers"]
    rows = answers.to_frame().itertuples(index=False, name=None)
    assert {(model, of): text for model, of, text in rows} == {
        (model, of): text for model, texts in written.items() for of, text in texts.items()
    }
    assert not [note for note in answers.notes if "control" in note]
    assert "suspect, triggered: " in repr(answers)


def test_a_model_alone_is_asked_without_a_suspect(world):
    answers = pl.respond(Image.new("RGB", (64, 64)), "What?", base=world / "base", trigger=SPEC, max_new_tokens=2)
    assert answers.to_frame()["model"].tolist() == ["base", "base"]
    assert answers.value.suspect_clean is None


def test_attack_success_rate_counts_answers_that_hold_the_target():
    rate = pl.attack_success_rate(["Buy More balloons!", "no", "buy more"], "buy more")
    assert (rate.hits, rate.n) == (2, 3)
    for wrong in ([], "one text", [None]):
        with pytest.raises(InvalidInput):
            pl.attack_success_rate(wrong, "buy")
    with pytest.raises(InvalidInput, match="target is empty"):
        pl.attack_success_rate(["a"], " ")
