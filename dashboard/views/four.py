"""The Response page's image: one question about the clean and the triggered image under every projector."""

from collections.abc import Callable, Iterable
from typing import Literal

import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from dashboard import answer_texts, components, pickers, resources, results
from projlens_core.behaviour.difference import differs, own_words, part_of, words
from projlens_core.behaviour.respond import FourAnswers
from projlens_core.behaviour.success import Truth
from projlens_core.behaviour.templates import notes
from projlens_core.cases.case import Case
from projlens_core.cases.whose import BOTH
from projlens_core.errors import ProjLensError

Colour = Literal["gray", "violet", "green", "blue", "orange"]
COLOURS: dict[str, Colour] = {
    "base": "gray",
    "suspect": "violet",
    "control": "green",
    "clean": "blue",
    "triggered": "orange",
}
READING = (
    "How to read this: one question, an answer in each cell. A backdoor shows where suspect and trigger together, and "
    "only they, give the target; the target is marked wherever it appears, and words that no other cell has are "
    "underlined."
)
INVITATION = "Press Ask to have every projector answer about both images; the first time, the language model is loaded."
Cells = dict[tuple[str, str], DeltaGenerator]


def draw(case: Case, choice: pickers.Choice, question: str, target: str, asked: bool) -> None:
    """Draw the cells; while they are answered, each fills word by word."""
    roles = ("base", "suspect", *(("control",) if case.control else ()))
    shown: dict[str, Image.Image] = {}
    cells: Cells = {}
    said: FourAnswers | None = None
    top = st.container()
    try:
        clean, triggered = pickers.images(case, choice)
        shown = {name: image for name, image in (("clean", clean), ("triggered", triggered)) if image is not None}
        cells = _cells(roles, shown)
        with top, components.progress() as progress:
            opened = resources.opened(case, progress)
            heard = _heard(cells, tuple(shown), target)
            said = results.answers(opened, clean, triggered, question, progress, ask=asked, heard=heard)
    except ProjLensError as error:
        with top:
            components.failure(error, "The model could not be asked")
    _answers(cells, said, target, _known(choice, question), alone="clean" not in shown)
    if said:
        components.parts(resources.whose(case, BOTH))
        for sentence in _differences(said, roles):
            st.text(sentence)
    st.caption(READING if said else INVITATION)
    components.sentences(notes(said.templates.values()) if said else ())


def _cells(roles: Iterable[str], shown: dict[str, Image.Image]) -> Cells:
    """A cell for each answer, its image drawn; what is returned is empty and for the answer."""
    grid = st.grid(2, min_column_width=215, gap="small", border=True)
    cells = {}
    for role in roles:
        for condition, image in shown.items():
            with grid.cell():
                parts = st.grid(2, min_column_width=130, gap="small")  # on a narrow page the answer stands below
                parts.image(image, width="stretch", alt=f"The {condition} image")
                cells[role, condition] = parts.cell().empty()
    return cells


def _heard(cells: Cells, conditions: tuple[str, ...], target: str) -> Callable[[str, int, str], None]:
    """What writes an answer as it grows."""

    def heard(role: str, number: int, text: str) -> None:
        condition = conditions[number]
        with cells[role, condition].container(gap="xsmall"):
            with st.container(horizontal=True, gap="xsmall"):
                _names(role, condition)
            st.html(answer_texts.marked(text or "…", target))

    return heard


def _answers(cells: Cells, said: FourAnswers | None, target: str, known: Truth | None, *, alone: bool) -> None:
    """Every answer in its cell, with what is to be marked in it."""
    for (role, condition), cell in cells.items():
        text = getattr(said, f"{role}_{'clean' if alone else condition}") if said else None
        with cell.container(gap="xsmall"):
            part = part_of(target, text) if target and text else None
            with st.container(horizontal=True, gap="xsmall"):
                _names(role, condition)
                if text is not None:
                    answer_texts.badges(text, target, part, known)
            own = said is not None and (role, condition) == ("suspect", "triggered") and not alone
            alone_said = own_words(text or "", _others(said)) if own and said else frozenset()
            answer_texts.answer(text, target, {*alone_said, *([part.lower()] if part else [])})


def _names(role: str, condition: str) -> None:
    st.badge(role, color=COLOURS[role])
    st.badge(condition, color=COLOURS[condition])


def _others(said: FourAnswers) -> list[str]:
    """All answers but the suspect's about the triggered image."""
    texts = list(said.texts)
    if said.suspect_triggered is not None:
        texts.remove(said.suspect_triggered)
    return texts


def _differences(said: FourAnswers, roles: tuple[str, ...]) -> list[str]:
    """Which answers are not base's about the same image, in words."""
    found = []
    for condition in ("clean", "triggered"):
        base = getattr(said, f"base_{condition}")
        given = {role: getattr(said, f"{role}_{condition}") for role in roles if role != "base"}
        if base is None or None in given.values():
            continue
        unlike = [role for role, text in given.items() if differs(text, base)]
        verb = "answer" if len(unlike) > 1 else "answers"
        found.append(
            f"About the {condition} image {' and '.join(unlike)} {verb} in other words than base."
            if unlike
            else f"About the {condition} image all say the same words."
        )
    return found


def _known(choice: pickers.Choice, question: str) -> Truth | None:
    """What is known of the image on screen, where that is one of the demo images and this was the question."""
    known = resources.truths([choice.image]).get(choice.image.name, ())
    return next((truth for truth in known if words(truth.prompt) == words(question)), None)
