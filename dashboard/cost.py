"""How long answers of a language model take, as far as this session knows; and how that is said."""

import streamlit as st

SECONDS_AN_ANSWER = 0.2  # of the demo models on 2 cores; replaced by what was measured once a grid's cell is done
SPEED = "seconds_an_answer"  # session_state: what was measured


def measured(seconds: float) -> None:
    """Note how long one answer took."""
    st.session_state[SPEED] = seconds


def in_words(answers: int) -> str:
    """How long that many answers take, and how one knows."""
    known = st.session_state.get(SPEED)
    how = "as the demo models need on 2 cores; a larger model needs more" if known is None else "measured here"
    seconds = answers * (known or SECONDS_AN_ANSWER)
    return f"about {seconds:.0f} s, {how}" if seconds < 90 else f"about {seconds / 60:.0f} min, {how}"
