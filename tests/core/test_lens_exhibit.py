"""What lens and separability show of their results: complete, inert, and with nothing of a suspect's in Markdown."""

import json

import pytest
import torch

from projlens_core.activations.direction import Direction
from projlens_core.activations.lens import Lens, LensNull, Reading
from projlens_core.activations.separability import separability as separate
from projlens_core.analyses.lens.exhibit import lens
from projlens_core.analyses.separability.exhibit import separability
from projlens_core.report.drawing import specification
from projlens_core.report.inert import require_inert

VOCABULARY = 1000
NAMES = {3: "<b>", 4: "<b>", 5: "*x*"}
IMAGES = 4


class Words:
    size = VOCABULARY

    def shown(self, ids):
        return [NAMES.get(i, f"word{i}") for i in ids]


def reading(*, ranks=(), each_ranks=((),) * IMAGES):
    return Reading(
        each=torch.tensor([[3, 5], [3, 4], [4, 3], [3, 5]]),
        each_target_ranks=torch.tensor(each_ranks, dtype=torch.int64).reshape(IMAGES, -1),
        top=torch.tensor([3, 5]),
        logits=torch.tensor([2.0, 1.0]),
        target_ranks=torch.tensor(ranks, dtype=torch.int64),
        nearest=torch.tensor([5, 3]),
        cosines=torch.tensor([0.5, 0.25]),
    )


def looked(plus, minus):
    direction = Direction(torch.tensor([1.0, 0.0]), 0.9, torch.ones(2).numpy(), "universal")
    return Lens(direction, torch.full((IMAGES,), 0.75), 0.1, plus, minus)


@pytest.fixture
def targeted():
    """The suspect's +v₀ ranks token 3 first; its −v₀ and the control rank it and token 9 where chance does."""
    suspect = looked(
        reading(ranks=(1, 400), each_ranks=((1, 400), (1, 500), (2, 600), (1, 700))),
        reading(ranks=(900, 600), each_ranks=((900, 600),) * IMAGES),
    )
    control = looked(*(reading(ranks=(500, 500), each_ranks=((500, 500),) * IMAGES) for _ in range(2)))
    ranks = torch.stack([torch.arange(1, 501), torch.arange(500, 1000)], dim=1)
    return lens(
        {"suspect": suspect, "control": control}, LensNull(ranks, torch.full((500,), 0.3), 500), Words(), [3, 9], {}
    )


def test_headlines_hold_the_suspect_against_control_and_chance(targeted):
    plus, minus, top, nearest = targeted.metrics
    assert (plus.value, plus.control, plus.interval) == ("rank 1", "500", "p = 0.004")  # (1 + 1) / 501
    assert (minus.value, minus.control, minus.interval) == ("rank 600", "500", "p = 1")
    assert (top.value, top.control) == ("100% / 0%", "0% / 0%")
    assert (nearest.value, nearest.interval) == ("0.50", "chance 0.30")


def test_what_is_above_chance_is_said_and_the_rest_is_not(targeted):
    assert targeted.notes == ("The suspect's +v₀ ranks a word of the target higher than chance does.",)


def test_tokens_that_look_alike_are_told_apart_and_words_of_the_target_marked(targeted):
    rows = targeted.charts[0].chart.to_dict()
    drawn = json.dumps(rows, ensure_ascii=False)
    assert "◆ <b> (3)" in drawn
    assert "<b> (4)" in drawn
    assert "◆ <b> (4)" not in drawn
    frame = targeted.tables[0].frame
    first = frame[(frame.projector == "suspect") & (frame.direction == "+v₀") & (frame.id == 3)].iloc[0]
    assert (first.token, first.target, first["rank 1"], first["rank 2"]) == ("<b> (3)", True, 0.75, 0.25)


def test_no_token_stands_where_markdown_is_read(targeted):
    shown = " ".join(str(part) for metric in targeted.metrics for part in vars(metric).values())
    assert not any(name in shown for name in ("<b>", "*x*", "word9"))
    captions = " ".join(part.caption for part in (*targeted.charts, *targeted.tables))
    assert "<b>" not in captions


def test_without_a_target_nothing_is_claimed_about_words(targeted):
    one = looked(reading(), reading())
    found = lens(
        {"suspect": one}, LensNull(torch.empty(5, 0), torch.ones(5), 5), Words(), [], {"seed": 0}, ["Mind this."]
    )
    assert [chart.name for chart in found.charts] == ["words-suspect-plus", "words-suspect-minus"]
    assert [table.name for table in found.tables] == ["rank frequency", "nearest words"]
    assert found.notes[0] == "No target text was given, so no word was looked for."
    assert found.notes[-1] == "Mind this."
    assert found.data["suspect"]["plus"]["p"] is None
    assert found.data["settings"] == {"seed": 0}


def test_all_charts_hold_all_they_draw_and_all_data_are_json(targeted):
    clean = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(0))
    found = {role: separate(clean, clean + step) for role, step in (("base", 0.1), ("suspect", 9.0), ("control", 0.2))}
    apart = separability(found, tuple("abcdef"), {})
    for exhibit in (targeted, apart):
        json.dumps(exhibit.data)
        for chart in exhibit.charts:
            require_inert(specification(chart.chart))
            assert chart.caption.startswith("How to read this: ")


def test_separability_says_what_is_inconclusive():
    clean = torch.randn(8, 2, 5, generator=torch.Generator().manual_seed(0))
    same, told = separate(clean, clean.clone()), separate(clean, clean + 50)
    assert "inconclusive" in separability({"base": same, "suspect": same}, tuple("abcdefgh"), {}).notes[0]
    both = separability({"base": told, "suspect": told, "control": told}, tuple("abcdefgh"), {})
    assert both.notes[0].startswith("Base separates the images too")
    assert both.notes[1] == "Suspect against base: both separate all images, so no difference can be seen."
    assert len(both.notes) == 3
    alone = separability({"base": same, "suspect": told}, tuple("abcdefgh"), {})
    assert alone.notes[0].startswith("Suspect against base: AUROC +0.500")
    assert alone.notes[-1].startswith("No control")
