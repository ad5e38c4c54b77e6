"""The router: pages, logo and the case shared by all of them; nothing else."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # Streamlit puts only the folder of this script on the path
    sys.path.insert(0, str(ROOT))

from dashboard import components, doors, page, pages, resources, state  # noqa: E402
from dashboard.views import cases  # noqa: E402
from projlens_core.errors import ProjLensError, Shortage  # noqa: E402
from projlens_core.runtime import allocator, shortage  # noqa: E402
from projlens_core.runtime.paths import ASSETS  # noqa: E402

allocator.give_back_large()
st.set_page_config(page_title="ProjLens", page_icon=str(ASSETS / "logo.svg"), layout="wide")
st.logo(str(ASSETS / "logo.svg"), size="large")
doors.close()
try:
    state.sync(resources.zoo())  # before the links are drawn, which take the case along
except ProjLensError as error:
    components.failure(error, "Incomplete address")

chosen = pages.navigation(page.plain, cases.listing)
try:
    with shortage.named():  # outside of what computes, which says it in its place
        chosen.run()
    state.write_address()
except Shortage as error:
    components.failure(error, "Not enough memory or disk")
