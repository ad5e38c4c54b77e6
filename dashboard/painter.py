"""A square grid over an image on which a trigger is painted, by mouse, finger or keyboard."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from projlens_core.inputs.own_triggers import GRID
from projlens_core.inputs.trigger_kinds import NO_CELL

KEY = "painter"
FOLDER = Path(__file__).parent
_HTML = """
<div class="painter">
  <div class="grid" role="grid" aria-label="The image, to paint on: arrow keys move, the space bar paints"></div>
  <div class="tools">
    <label><input type="radio" name="tool" value="paint" checked> paint</label>
    <label><span hidden>Colour</span><input type="color" value="#26ff00" aria-label="Colour"></label>
    <label><input type="radio" name="tool" value="erase"> erase</label>
    <button class="clear" type="button">Clear</button>
    <button class="use" type="button">Put it on</button>
  </div>
  <div class="said" role="status"></div>
</div>
"""
_mounted = st.components.v2.component(
    "projlens_painter",
    html=_HTML,
    css=(FOLDER / "painter.css").read_text(encoding="utf-8"),
    js=(FOLDER / "painter.js").read_text(encoding="utf-8"),
)


def painter(image: str | None, cells: str, on_painted: Callable[[str], None]) -> None:
    """Draw the grid over `image`, a data URI of a square image; cells: what it shows at first.

    on_painted is a callback's: it hears of the painting, as own_triggers.painting takes it, when it is put on.
    """

    def painted() -> None:
        on_painted(st.session_state[KEY]["cells"])

    shown = cells or NO_CELL * GRID * GRID
    _mounted(key=KEY, data={"image": image, "side": GRID, "gap": NO_CELL, "cells": shown}, on_cells_change=painted)
