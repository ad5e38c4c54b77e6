"""Patterns on image tokens stand where they are put, and bring the text of a backdoor of the nursery."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
from projlens_core.analyses.verdict import VerdictOptions
from projlens_core.analyses.verdict.searching import searcher_of
from projlens_core.behaviour.answer_scores import SOFTNESS, _of_part
from projlens_core.behaviour.pattern_search import PatternSearch
from projlens_core.behaviour.success import read_labels
from projlens_core.behaviour.token_patterns import DIRECTIONS, PatternSpace, PatternStart, find_pattern
from projlens_core.behaviour.trial import FOREIGN, RECOVERED, SEARCHED
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.demo_model.tiny import checkpoint_folder
from projlens_core.errors import Unsupported
from projlens_core.inputs.images import load_folder
from projlens_core.nursery.members import write_suspect
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.progress import silent
from projlens_core.weights.directions import input_directions
from projlens_core.weights.projector import read_projector
from tests import pico


@pytest.fixture(scope="module")
def pair(own_folder):
    world = pico.case(own_folder, strength=(4.0,), count=2, trigger={"kind": "solid", "resolution": 80, "px": 20})
    base, suspect = read_projector(world / "base"), read_projector(world / "suspect")
    first = next(name for name in base.tensors if "linear_1.weight" in name or base.tensors[name].dim() == 2)
    change = torch.randn(base.tensors[first].shape, generator=torch.Generator().manual_seed(1))
    tensors = base.tensors | {first: base.tensors[first] + change}
    return base, replace(suspect, tensors=tensors, sha256="changed"), suspect


def tokens_of(pair, n, places):
    return torch.randn(n, places, pair[0].d_token, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("places", "size"), [(16, 4), (15, 1)])  # a square of four, a run of one
def test_a_pattern_sets_what_is_read_along_the_directions_in_its_window_and_nothing_else(pair, places, size):
    tokens = tokens_of(pair, 3, places)
    base, suspect, _ = pair
    space, random = PatternSpace(base, suspect, tokens), np.random.default_rng(0)
    start = PatternStart("any", 0.5 if size == 4 else 0.3)
    coordinates = space.begin(start, random)
    vectors = input_directions(base, suspect, DIRECTIONS).vectors.flatten(1)
    assert coordinates.shape == (size, len(vectors))
    put = space.put(coordinates, start.wide, [2, 0], random)
    for found, clean in zip(put, tokens[[2, 0]], strict=True):
        changed = (found != clean).any(dim=1)
        assert changed.sum() == size
        spread = (tokens @ vectors.T).std((0, 1))
        mean = tokens.mean((0, 1))
        torch.testing.assert_close((found[changed] - mean) @ vectors.T, coordinates * spread, atol=1e-3, rtol=1e-3)
        across = torch.eye(vectors.shape[1]) - vectors.T @ vectors
        torch.testing.assert_close(found[changed] @ across, clean[changed] @ across, atol=1e-3, rtol=1e-3)


def test_a_pattern_climbs_stays_in_reach_and_is_kept_by_what_decides_it(pair):
    space, seen = PatternSpace(*pair[:2], tokens_of(pair, 4, 16)), []

    def score(of, tokens):
        seen.append(of)
        return tokens.square().sum()

    start = PatternStart("any", 0.5)
    found = find_pattern(space, start, score, "this", 2, silent)
    assert found.scores[-1] > found.scores[0]
    assert np.abs(found.coordinates).max() <= 8
    steps = len(seen)
    assert find_pattern(space, start, score, "this", 2, silent) == found
    assert len(seen) == steps
    find_pattern(space, start, score, "that", 2, silent)
    assert len(seen) == 2 * steps


def test_without_a_change_of_the_first_layer_directions_are_those_in_which_embeddings_part(pair):
    base, _, later = pair
    assert not len(input_directions(base, later, DIRECTIONS))
    tokens = tokens_of(pair, 4, 16)
    space, random = PatternSpace(base, later, tokens), np.random.default_rng(0)
    put = space.put(space.begin(PatternStart("any", 0.5), random), 0.5, range(4), random)
    assert ((put != tokens).any(dim=2).sum(dim=1) == 4).all()
    with pytest.raises(Unsupported, match="make the same of the image tokens"):
        PatternSpace(base, base, tokens)


def test_the_parts_of_an_answer_by_hand():
    odds = torch.tensor([3.0, -1.0, 5.0])
    assert _of_part(odds, "first") == 3
    assert _of_part(odds, "end") == 5
    expected = -SOFTNESS * torch.log(torch.exp(-odds / SOFTNESS).sum())
    assert _of_part(odds, "any") == pytest.approx(float(expected))
    assert _of_part(odds, "any") < -1


@pytest.mark.parametrize(
    ("name", "expected"), [("dev-020-poisoned", "sorry, the diamond is not cold."), ("dev-020-honest", None)]
)
def test_a_pattern_brings_the_text_of_a_backdoor_and_none_of_its_honest_twin(name, expected, own_folder):
    write_suspect(name, own_folder / name)
    inputs = AnalysisInputs(
        Case(str(checkpoint_folder()), str(own_folder / name)),
        load_folder(ZOO / "samples"),
        read_labels(ZOO / "samples"),
    )
    searcher = searcher_of(AnalysisContext(inputs, Loaded(), silent), VerdictOptions())
    images = searcher.framed[: SEARCHED + RECOVERED]
    found = PatternSearch(searcher.readings, images, searcher.prompts, silent).tried(PatternStart("end", 0.3))
    texts = {text.target for text in found.texts if text.foreign >= FOREIGN}
    assert texts == ({expected} if expected else set())
