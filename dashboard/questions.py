"""The question that pages with answers put to the model."""

import streamlit as st

from dashboard import links, resources
from projlens_core.cases.case import Case

PROMPTS = ("What is in the picture?", "Describe the picture.")


def question(case: Case) -> str:
    """What the model is asked, at first what a zoo suspect was made to be asked; the same on every page that asks."""
    entry = resources.zoo_entry(case.suspect)
    offered = list(dict.fromkeys((*(entry.prompts if entry else ()), *PROMPTS)))
    return (
        st.selectbox(
            "Question (choose, or type your own)",
            offered,
            accept_new_options=True,
            key=links.text("question", offered[0], f"question {case.suspect}"),
            persist_state="session",
        )
        or offered[0]
    )
