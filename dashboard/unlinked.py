"""What the address of a page cannot hold, so that whoever copies it knows."""

import streamlit as st

from dashboard import links, state
from projlens_core.sources import UPLOAD_PREFIX


def sentences() -> list[str]:
    """What this session shows and no address reopens, a sentence each."""
    found, case = [], state.current_case()
    if count := len(state.uploads()):
        found.append(f"Not included: your {count} uploaded {'image' if count == 1 else 'images'}.")
    if state.selected():
        found.append("Not included: which images are selected in the gallery.")
    if st.session_state.get(state.STORED) is not None:
        found.append("Not included: the bundle that was opened.")
    if st.session_state.get(state.FOUND_TRIGGERS) or st.session_state.get(state.MADE_TRIGGERS):
        found.append("Not included: a trigger that was found, or made of your own image; save it as JSON.")
    if case is not None and any(spec.startswith(UPLOAD_PREFIX) for spec in case.specs.values()):
        found.append("Uploaded models reopen only as long as this server keeps them.")
    if long := links.left_out():
        found.append(f"Not included because too long: {', '.join(long)}.")
    return found
