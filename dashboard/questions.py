"""The question that pages with answers put to the model."""

import streamlit as st

from dashboard import links, pickers, resources
from projlens_core.cases.case import Case

PROMPTS = ("What is in the picture?", "Describe the picture.")
IN_TURN = "The suspect's own questions, in turn"


def question(case: Case) -> str:
    """What the model is asked, at first what a zoo suspect was made to be asked; the same on every page that asks."""
    return _asked(case, "question", list(dict.fromkeys((*own(case), *PROMPTS))))


def in_turn(case: Case, name: str) -> tuple[tuple[str, ...], str]:
    """The questions, which take turns over the images, and the target to look for; name: of the address's parameter."""
    its_own = own(case)
    offered = [*([IN_TURN] if len(its_own) > 1 else []), *dict.fromkeys((*its_own, PROMPTS[-1]))]
    left, right = st.columns(2, gap="small")
    with left:
        asked = _asked(case, name, offered)
    with right:
        return (its_own if asked == IN_TURN else (asked,)), pickers.target(case)


def own(case: Case) -> tuple[str, ...]:
    """What a zoo suspect was made to be asked; nothing for any other model."""
    entry = resources.zoo_entry(case.suspect)
    return entry.prompts if entry else ()


def _asked(case: Case, name: str, offered: list[str]) -> str:
    chosen = st.selectbox(
        "Question (choose, or type your own)",
        offered,
        accept_new_options=True,
        key=links.text(name, offered[0], f"{name.replace('_', ' ')} {case.suspect}"),
        persist_state="session",
    )
    return chosen or offered[0]
