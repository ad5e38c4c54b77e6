"""Jobs of a verdict on a demo model: what it does without the language model, and what it asks about probes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.comparison import Comparison, Results, within
from benchmarks.report import FLOOR, TIME, Figure, Report, Target
from benchmarks.setting import BASE, QUESTION, SUSPECT, asked_probes, samples
from projlens_core.activations.inversion import BATCH, Canvas
from projlens_core.activations.tokens import image_tokens
from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
from projlens_core.analyses.verdict import VerdictOptions
from projlens_core.analyses.verdict.searching import bank_of, searcher_of
from projlens_core.behaviour.success import read_labels
from projlens_core.behaviour.token_search import STARTS, STEPS
from projlens_core.behaviour.trial import SEARCHED
from projlens_core.behaviour.trigger_search import Searcher
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.inputs.images import load_folder
from projlens_core.runtime.progress import silent
from projlens_core.weights.projector import as_module

LENGTHS_SHARE, DROPS_SHARE = 1e-3, 1e-2
ROLES = ("base", "suspect")


def without_language(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """The stage "matched reference": a reference fitted, residuals of every probe of the bank, patches inverted. And
    ‖ΔE‖ of each token of the first image under the first probes, for the comparison.
    """

    def work(call: int) -> dict[str, np.ndarray]:
        searcher = _searcher()
        next(searcher.stages(bank_of(searcher, VerdictOptions())))
        with searcher.models("base") as responder, torch.no_grad():
            tokens = image_tokens(responder.vision, [each.on(searcher.framed[0]) for each in asked_probes()])
            base, suspect = (as_module(searcher.projectors[role])(tokens.float()) for role in ROLES)
        return {"lengths": (suspect - base).norm(dim=-1).numpy()}

    return work


def floor(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """The vision tower over as many images as the stage reads, back through it over those that patches are changed on,
    and nothing else.
    """
    searcher = _searcher()
    stamped = SEARCHED * (len(bank_of(searcher, VerdictOptions())) + 1)
    with searcher.models("base") as responder:
        canvas = Canvas(responder.vision, searcher.framed)

    def work(call: int) -> dict[str, np.ndarray]:
        with torch.no_grad():
            for _ in range(1 + stamped // len(canvas.clean)):
                canvas.vision.read(canvas.clean)
        for _ in range(len(STARTS) * STEPS):
            pixels = canvas.clean[:BATCH].clone().requires_grad_()
            canvas.vision.read(pixels).sum().backward()
        return {"read": np.array(stamped)}

    return work


def about_probes(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """By how many nats both models' own answers to all questions of the samples drop under probes; of QUESTION's they
    are given, (probes, images, models).
    """
    searcher = _searcher()
    clean, asked = searcher.framed[:SEARCHED], searcher.prompts.index(QUESTION)
    with searcher.models("base") as responder:
        _ = responder.key  # the model is loaded

    def work(call: int) -> dict[str, np.ndarray]:
        drops = [
            [
                searcher.readings.drops(role, clean, [probe.on(image) for image in clean], searcher.prompts)[:, asked]
                for role in ROLES
            ]
            for probe in asked_probes()
        ]
        return {"drops": np.array(drops).transpose(0, 2, 1)}

    return work


def agree(reference: Results, ours: Results) -> str:
    """‖ΔE‖ of every token of the first image under the first probes."""
    lengths = reference["lengths"]
    return within(f"‖ΔE‖ of {lengths.size} tokens", lengths, ours["lengths"][: len(lengths)], LENGTHS_SHARE)


def agree_on_drops(reference: Results, ours: Results) -> str:
    """Both models' drops on the first image under the first probes."""
    drops = reference["drops"]
    return within(f"{drops.size} drops of own answers", drops, ours["drops"][: len(drops), 0], DROPS_SHARE)


TOKENS = Comparison(
    name="verdict-tokens",
    title="a verdict's stages without the language model (zoo)",
    prepare="benchmarks.inputs:models_alone",
    reference="benchmarks.reference:stamped",
    ours="benchmarks.verdict:without_language",
    agree=agree,
    targets={TIME: Target(at_most=60)},
    notes=(
        "Ours fits the matched reference, reads every probe of the bank on three images and inverts two patches. The "
        "reference runs both whole models on one image under one probe at a time, is timed on a few and scaled to the "
        "bank; it fits and inverts nothing.",
    ),
)

ANSWERS = Comparison(
    name="verdict-probes",
    title="own answers under 17 probes, 3 images, 5 questions (zoo)",
    prepare="benchmarks.inputs:models_alone",
    reference="benchmarks.reference:dropped",
    ours="benchmarks.verdict:about_probes",
    agree=agree_on_drops,
    notes=(
        "The reference reads one answer about one image under one probe at a time with whole models, is "
        "timed on a few and scaled; its writing of the answers is not counted, ours is.",
    ),
)


def run(folder: Path, quick: bool = False) -> Report:
    """The comparison, and the floor below which no such stage gets."""
    report = TOKENS.run(folder, quick)
    if quick:
        return report
    least = TOKENS.alone("benchmarks.verdict:floor", folder)
    note = f"“{FLOOR}”: a process that runs the vision tower over as many images, forwards and backwards, no more."
    figures = (*report.figures, Figure(f"{TIME}, {FLOOR}", least.seconds[0]))
    return replace(report, figures=figures, notes=(*report.notes, note))


def _searcher() -> Searcher:
    inputs = AnalysisInputs(Case(BASE, SUSPECT), load_folder(samples()), read_labels(samples()))
    return searcher_of(AnalysisContext(inputs, Loaded(), silent), VerdictOptions())
