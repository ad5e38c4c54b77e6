"""One of every chart that an exhibit holds, in each of its forms: what a bundle of ProjLens' own may contain.

`python -m tests.chart_corpus` writes projlens_core/report/chart_grammar.json from them.
"""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import altair as alt
import numpy as np
import pandas as pd
import torch
from PIL import Image

from projlens_core.activations.agreement import Agreement, Reach
from projlens_core.activations.embedding_spectrum import band
from projlens_core.activations.neurons import Activity, NeuronFinding, Units
from projlens_core.activations.ranking import ranking
from projlens_core.activations.separability import separability
from projlens_core.analyses.activation import charts as shift
from projlens_core.analyses.activation import map_charts
from projlens_core.analyses.activation import token_charts as tokens
from projlens_core.analyses.lens import charts as lens
from projlens_core.analyses.lowrank import charts as lowrank
from projlens_core.analyses.neurons import charts as neurons
from projlens_core.analyses.response import charts as rates
from projlens_core.analyses.robustness import charts as robustness
from projlens_core.analyses.separability import charts as apart
from projlens_core.analyses.shift import charts as embedding
from projlens_core.analyses.spectrum import charts as spectrum
from projlens_core.behaviour.lowrank import Edit, Grid
from projlens_core.charts import overlays
from projlens_core.report.drawing import specification
from projlens_core.report.inert import GRAMMAR_FILE
from projlens_core.stats.lines import norm_shift
from projlens_core.stats.mean import Mean
from projlens_core.stats.rate import wilson
from projlens_core.stats.split_null import counted, distance, split_test
from projlens_core.weights.blocks import blocks
from projlens_core.weights.noise import NoiseEdge
from projlens_core.weights.overlap import subspaces
from projlens_core.weights.spectrum import Spectrum
from tests import chart_grammar

MODULES = (embedding, lens, lowrank, neurons, overlays, rates, robustness, apart, shift, spectrum, tokens)
ON_PAGES_ONLY = {"gallery"}  # which no exhibit holds
CONDITIONS = ("clean", "triggered")
ROLES = ("suspect", "control")


def charts() -> Iterator[alt.TopLevelMixin]:
    """All of them."""
    yield from _embedding()
    yield from _lens()
    yield from _lowrank()
    yield from _neurons()
    yield from _overlays()
    yield from _robustness()
    yield from _separability()
    yield from _shift()
    yield from _weights()
    yield rates.rates("Rates", {"base": wilson(0, 10), "suspect": wilson(9, 10), "control": wilson(1, 10)}, "images")


def grammar(*further: alt.TopLevelMixin) -> dict:
    """What they are made of, and further charts with them."""
    return chart_grammar.described([specification(chart) for chart in (*charts(), *further)])


def _some(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def _embedding() -> Iterator[alt.TopLevelMixin]:
    curves = {condition: band(np.abs(_some(5, 3))) for condition in CONDITIONS}
    for share in (False, True):
        yield embedding.bands("Bands", curves, 3, "energy", (0.0, 1.0), share)
    reach = Reach("ΔW", torch.eye(3, dtype=torch.float64)[:, :2], np.array([1, 2]))
    found = Agreement(reach, {"all": np.array([50.0, 10.0])}, *(np.array([0.5, 0.9]) for _ in range(4)))
    yield embedding.agreement("Agreement", dict.fromkeys(ROLES, found), "all")
    cosines = {role: {condition: np.abs(_some(2)) for condition in CONDITIONS} for role in ROLES}
    yield embedding.universality("Universal", cosines, ("a", "b"), 0.2)
    yield embedding.ranked("Ranked", {c: ranking(["a", "b"], [torch.ones(2, 1)]) for c in CONDITIONS}, "mean", 3.0)


def _lens() -> Iterator[alt.TopLevelMixin]:
    frame = pd.DataFrame({"token": ["a", "b"], "rank": [1, 2], "share": [1.0, 0.5], "target": [True, False]})
    yield lens.rank_frequency("Words", frame)
    yield lens.rank_frequency("Words", frame[~frame.target])
    ranks = pd.DataFrame({"token": ["a"], "projector": ["suspect"], "rank": [3], "told": ["beyond chance"]})
    chance = pd.DataFrame({"token": ["a"], "low": [10.0], "median": [50.0], "high": [90.0]})
    yield lens.target_ranks("Target", ranks, chance, 1000)


def _lowrank() -> Iterator[alt.TopLevelMixin]:
    places = {(0, 0): 0, (0, 1): 9, (1, 0): 2, (1, 1): 3}
    for axes, rows in ((("ΔW₁", "ΔW₂"), (0, 1)), ((None, "ΔW"), (0,))):
        grid = Grid(Edit(), rows, (0, 1), axes=axes)
        wanted = {place: hits for place, hits in places.items() if place[0] in rows}
        for number in (0, 1, len(wanted)):
            measured = dict(list(wanted.items())[:number])
            yield lowrank.rate_grid("Rates", grid, {place: wilson(hits, 10) for place, hits in measured.items()})
            yield lowrank.logit_grid(
                "Logits", grid, {p: Mean(h - 1.5, h - 2.5, h + 1.0, 3) for p, h in measured.items()}
            )
    yield lowrank.along_k("Along k", [0, 1, 2], {condition: [0.5, 1.0, 1.5] for condition in CONDITIONS}, 1)


def _neurons() -> Iterator[alt.TopLevelMixin]:
    for images in (12, 1):
        found = _finding(images)
        yield neurons.clean_against_triggered("Units", found, "#7B4FA3", 4.0)
        yield neurons.distributions("Distributions", found.units, 4.0)
    values = {role: np.array([1.0, 0.5]) for role in ("base", *ROLES)}
    yield neurons.ranked("Leading units", "mean |a|", [3, 7], values, np.array([0.2, np.nan]))


def _finding(images: int) -> NeuronFinding:
    rng = np.random.default_rng(0)
    clean = (np.geomspace(0.01, 1, 40) * rng.gamma(9, 1 / 9, (images, 40))).astype(np.float32)
    triggered = clean.copy()
    triggered[:, :3] *= 4
    change = np.abs(triggered - clean).mean(axis=0)
    units = Units(Activity(clean, np.full(40, 0.5)), Activity(triggered, np.full(40, 0.75)), *[change] * 4)
    test = split_test(clean, triggered)
    switches = units.quiet & (test.beyond > 0)
    count = None if test.note else counted(switches, units.quiet & (test.resampled > 0), 8)
    return NeuronFinding(units, test, None, switches, count, distance(clean, triggered))


def _overlays() -> Iterator[alt.TopLevelMixin]:
    image = overlays.data_uri(Image.new("RGB", (8, 8)))
    for signed in (False, True):
        for within in ((0.0, 0.0, 1.0, 1.0), (1e-5, 0.125, 0.875, 0.99)):
            yield overlays.heatmap("Heatmap", image, _some(2, 3), 5.0, signed, "shift", 4, within)
            yield overlays.heatmap("Heatmap", image, _some(30, 3), 5e-7, signed, "shift", None, within, 0.5, within)
        yield overlays.legend("shift", 5.0, signed)
    for signed in (False, True):
        values = {condition: _some(4) for condition in CONDITIONS}
        yield tokens.by_token("Tokens", values, 2.0, signed, "shift", chosen=1)
    yield tokens.difference_by_token("Tokens", _some(4), 2.0, "shift")


def _robustness() -> Iterator[alt.TopLevelMixin]:
    rows = [{"change": c, "role": r, "value": 0.5, "low": 0.4, "high": 0.6, "n": 4} for c in "ab" for r in ROLES]
    yield robustness.by_change("Changes", rows, "AUROC", 0.5, (0.0, 1.0), ".3f")
    for form in (".4g",):
        yield robustness.by_change("Changes", rows, "push kept", 0.0, None, form)
    cell = {"down": "a", "across": "x", "value": 0.9, "gain": 2.0, "low": 1.0, "high": 3.0, "reason": None}
    without = cell | dict.fromkeys(("value", "gain", "low", "high")) | {"across": "y", "reason": "it does not fit"}
    for cells in ([cell], [cell, without], [without]):
        yield robustness.crossed("Crossed", cells, "size", "place")


def _separability() -> Iterator[alt.TopLevelMixin]:
    clean = torch.from_numpy(_some(6, 2, 5))
    found = {role: separability(clean, clean + step) for role, step in (("base", 0.1), ("suspect", 9.0))}
    yield apart.aurocs("AUROC", found | {"control": found["base"]})
    yield apart.scores("Decisions", found | {"control": found["base"]}, tuple("abcdef"))


def _shift() -> Iterator[alt.TopLevelMixin]:
    values = {condition: _some(50) for condition in CONDITIONS}
    means = {condition: 0.5 for condition in CONDITIONS}
    yield shift.distribution("Patches", dict.fromkeys(ROLES, values), dict.fromkeys(ROLES, means), "shift")
    yield shift.distribution("Patches", {"suspect": values}, {}, "shift")
    norms = torch.linspace(1, 10, 600).reshape(6, 100)
    shifts = norms + 0.1 * torch.sin(37 * norms)
    shifts[3, 7] = 100.0
    fitted, unfit = norm_shift(norms, shifts), norm_shift(torch.ones(1, 4), torch.arange(4.0)[None])
    here = {condition: (np.arange(4.0), np.arange(4.0)) for condition in CONDITIONS}
    for axis in ("input", "output"):
        yield shift.norm_shift("Norms", dict.fromkeys(CONDITIONS, fitted), axis, here, chosen=2)
    yield shift.norm_shift("Norms", {"clean": unfit}, "input", here)
    yield shift.norm_shift("Norms", {"clean": unfit}, "input")
    for conditions in (CONDITIONS, CONDITIONS[:1]):
        points = {condition: _some(4, 2) for condition in conditions}
        yield map_charts.embedded("Map", points, ((-1.0, 1.0), (-1.0, 1.0)), (0.6, 0.2), "image")


def _weights() -> Iterator[alt.TopLevelMixin]:
    values = np.array([3.0, 2.0, 1.0])
    found = Spectrum(values, np.cumsum(values**2) / np.sum(values**2), 1.0, 1.0)
    edge = NoiseEdge(0.1, 2, "shuffled entries", 3, 0)
    for each in (edge, replace(edge, edge=1.5)):
        for control in (None, found):
            yield spectrum.spectrum("Values", found, control, each, 3)
            yield spectrum.energy("Energy", found, control, 3)
    names = [*ROLES, "third", "fourth"]
    colours = spectrum.colours(names)
    curves = dict.fromkeys(names, found.values)
    for edges in ({}, {"noise edge": edge}, {"noise edge": edge, "law": SimpleNamespace(edge=2.5, spikes=1)}):
        yield spectrum.values("Values", curves, colours, edges, 3)
    falling = {"suspect": np.array([3.0, 0.4, 0.3, 0.3])}  # over whose left end no name can stand
    for level in (0.1, 0.7):
        yield spectrum.values("Values", falling, colours, {"noise edge": replace(edge, edge=level)}, 4)
    yield spectrum.shares("Energy", curves, colours, 3)
    matrix = blocks(torch.from_numpy(_some(6, 7)), cells=3)
    yield spectrum.heatmap("ΔW", matrix, matrix.largest, 1.0, "largest |entry|")
    basis = torch.linalg.qr(torch.from_numpy(_some(9, 3)))[0]
    yield spectrum.angles("Angles", dict.fromkeys(names[1:], subspaces(basis, basis)), colours)


if __name__ == "__main__":
    GRAMMAR_FILE.write_text(chart_grammar.written(grammar()), encoding="utf-8")
