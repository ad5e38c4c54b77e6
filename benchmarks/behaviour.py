"""Job of the Response page: what base and suspect answer about one image, clean and triggered."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.comparison import Comparison, Repeats, Results
from benchmarks.four import four_answers
from benchmarks.report import TIME, NoFigures, Target
from benchmarks.setting import BASE, NEW_TOKENS, QUESTION, SUSPECT, trigger, uploads
from projlens_core.behaviour.respond import load_responder
from projlens_core.cases.case import read_projectors
from projlens_core.inputs.images import decode
from projlens_core.inputs.triggers import frame, stamp


def answers(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """What base and suspect say about one uploaded image, clean and triggered."""
    base, suspect = read_projectors([BASE, SUSPECT])
    responder, spec, images = load_responder(BASE), trigger(), uploads(folder)

    def work(call: int) -> dict[str, np.ndarray]:
        image = decode(images[call].read_bytes(), images[call].name).pixels
        pair = frame(image, spec), stamp(image, spec)
        said = four_answers(responder, base, suspect, *pair, QUESTION, NEW_TOKENS)
        return {"answers": np.array([said.base_clean, said.base_triggered, said.suspect_clean, said.suspect_triggered])}

    return work


def agree(reference: Results, ours: Results) -> str:
    """All four answers, letter for letter."""
    theirs, own = reference["answers"].tolist(), ours["answers"].tolist()
    if theirs != own:
        raise NoFigures(f"The reference answers {theirs}, ours {own}.")
    return "All four answers are the same, letter for letter."


ANSWERS = Comparison(
    name="answers",
    title="four answers about a new image (zoo, warm)",
    prepare="benchmarks.inputs:models_and_uploads",
    reference="benchmarks.reference:answers",
    ours="benchmarks.behaviour:answers",
    agree=agree,
    warm=True,
    ours_repeats=Repeats(calls=5),
    reference_repeats=Repeats(calls=3),
    targets={TIME: Target(at_most=6)},
    notes=(f"Up to {NEW_TOKENS} tokens each; base and suspect, clean and triggered.",),
)
