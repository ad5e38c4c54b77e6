"""A square grid over an image on which a trigger is painted, by mouse, finger or keyboard."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from projlens_core.inputs.own_triggers import GRID
from projlens_core.inputs.trigger_kinds import NO_CELL

KEY = "painter"
_parts = {kind: Path(__file__).with_suffix(f".{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
_mounted = st.components.v2.component("projlens_painter", html=_parts["html"], css=_parts["css"], js=_parts["js"])


def painter(image: str | None, cells: str, on_painted: Callable[[str], None]) -> None:
    """Draw the grid over `image`, a data URI of a square image; cells: what it shows at first.

    on_painted is a callback's: it hears of the painting, as own_triggers.painting takes it, when it is put on.
    """

    def painted() -> None:
        on_painted(st.session_state[KEY]["cells"])

    shown = cells or NO_CELL * GRID * GRID
    _mounted(key=KEY, data={"image": image, "side": GRID, "gap": NO_CELL, "cells": shown}, on_cells_change=painted)
