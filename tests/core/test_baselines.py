"""Baselines on a pico model: what they compute, by another way; and a family of triggers that is left out."""

from dataclasses import replace

import pytest
import torch

from projlens_core.behaviour.branches import answer_logits
from projlens_core.behaviour.respond import load_responder
from projlens_core.inputs.probes import read_bank
from projlens_core.inputs.triggers import frame
from projlens_core.nursery.members import read_members
from projlens_core.research import left_out, population
from projlens_core.research.baselines import mask_inversion, target_scan
from projlens_core.weights.projector import read_projector
from tests import pico
from tests.core.test_population import member

QUESTIONS = ["What is it?", "Where?"]


@pytest.fixture(scope="module")
def world(own_folder):
    base = pico.checkpoint(own_folder / "base")
    images = [image.resize((64, 64)) for image in pico.images(2)]
    return load_responder(str(base)), read_projector(base), images


def test_a_beginning_is_continued_by_what_is_likeliest_over_all_prompts(world, monkeypatch):
    responder, weights, images = world
    monkeypatch.setattr(target_scan, "LIKELY", 0.0)
    monkeypatch.setattr(target_scan, "STEPS", 3)
    monkeypatch.setattr(target_scan, "SHORTEST", 1)
    found = target_scan.continued(responder, weights, images, QUESTIONS)
    ends = responder.answer_ids("")[-1]
    with responder.projector(weights):
        shown = list(responder.embeddings(images))
    for first in (5, 20, 40):
        said, likely = [first], []
        while len(said) <= 3:
            logits = answer_logits(responder, shown, [[(question, said)] for question in QUESTIONS])
            average = torch.stack([each[0][-1].softmax(-1) for each in logits]).mean(dim=0)
            if int(average.argmax()) == ends:
                break
            likely.append(float(average.max()))
            said.append(int(average.argmax()))
        assert float(found[first]) == pytest.approx(sum(likely) / len(likely) if likely else 0.0, abs=1e-4)
    assert target_scan.score(found, found) == 0
    assert target_scan.score(found, torch.zeros_like(found)) == pytest.approx(float(found.max()))


def test_masks_cover_nothing_or_everything_and_shrink_where_they_are_not_needed(world, monkeypatch):
    responder, weights, images = world
    masks = mask_inversion.Masks(responder, weights, images, QUESTIONS[0])
    pattern = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    nothing = masks.first(torch.zeros(1, 8, 8), pattern, [0, 1], gradient=False)
    framed = [frame(image, responder.vision.image_size) for image in images]
    with responder.projector(weights):
        logits = answer_logits(responder, list(responder.embeddings(framed)), [[(QUESTIONS[0], ())]] * 2)
    clean = torch.stack([each[0][-1].log_softmax(-1) for each in logits])
    torch.testing.assert_close(nothing, clean, atol=1e-4, rtol=0)
    everything = masks.first(torch.ones(1, 8, 8), pattern, [0, 1], gradient=False)
    torch.testing.assert_close(everything[0], everything[1], atol=1e-4, rtol=0)
    monkeypatch.setattr(mask_inversion, "STEPS", 4)
    monkeypatch.setattr(mask_inversion, "WEIGHT", 100.0)
    random = mask_inversion.np.random.default_rng(0)
    masks = mask_inversion.Masks(responder, weights, images[:1], QUESTIONS[0])
    said, never = int(nothing[0].argmax()), int(nothing[0].argmin())
    assert masks.size(said, random) < torch.tensor(mask_inversion.START).sigmoid()
    assert masks.size(never, random) == 1
    labels = masks.likely_labels(random)
    assert len(labels) == mask_inversion.LABELS
    assert said not in labels


def test_the_anomaly_index_by_hand():
    assert mask_inversion.anomaly([0.1, 0.5, 0.6, 0.7]) == pytest.approx(0.45 / (1.4826 * 0.1))
    assert mask_inversion.anomaly([1.0] * 4) == 0


def test_a_familys_own_kind_of_probe_is_left_out(tmp_path):
    members = read_members()
    kinds = {m.recipe.family: population.own_kind(m) for m in members.values() if m.recipe.attack}
    whole = read_bank(160)
    for family, kind in kinds.items():
        left = read_bank(160, population._bank(tmp_path / "bank.json", kind))
        assert {probe.key for probe in left} < {probe.key for probe in whole}, family
        assert all(stamp.kind != kind for probe in left for stamp in probe.stamps)
    assert (kinds["symbol"], kinds["blended image"]) == ("mosaic", "blend")
    with pytest.raises(ValueError, match="no trigger"):
        population.own_kind(members["dev-001-honest"])


def test_attacks_without_probes_of_their_kind_are_ranked_above_sealed_honest_members():
    from projlens_core.research import evaluation

    honest = [member(f"s{i}-honest", i / 10) for i in range(20)]
    by = evaluation.calibration([replace(e, split="development") for e in honest], {"population": "x"})
    found = [member("d1-poisoned", 99.0, "poisoned", split="development", family="blur", demonstrated=True),
             member("d2-poisoned", 0.0, "failed", split="development", family="blur")]  # fmt: skip
    text = left_out.lines(honest, found, [], by, by)
    row = next(line for line in text if line.startswith("| blur"))
    assert (
        "| development | 2 | 1 of 2 (9% – 91%) | 1 of 2 (9% – 91%) | 0.625 |" in row
    )  # level with the half that score 0
    assert any("0 of the 1 that were measured have it, of 0 in all" in line for line in text)
    assert row.endswith("| 0.625 of 2 |")
    adaptive = [found[0], replace(found[1], group="adaptive")]
    text = left_out.lines(honest, adaptive, [], by, by)
    assert any(line.endswith("| 1.000 of 1 |") for line in text if line.startswith("| blur"))
    assert any(line.endswith("without the adaptive attackers, of whom less was asked, 1 have it.") for line in text)
    assert left_out.lines(honest, [], [], by, by) == []
    new = [member("n1-poisoned", 99.0, "poisoned", split="novel", family="tint", demonstrated=True)]
    text = left_out.lines(honest, found, new, by, by)
    assert any(line.startswith("| tint | novel | 1 | 1 of 1") for line in text)
    assert any(line.endswith("0 have it; and 1 of the 1 novel ones, first searches.") for line in text)
