"""Generic triggers that a suspect is only listened to under: frames, bars, stickers, tints, and patterns all over.

They widen what a search may meet by chance. They are no part of the probe bank, by whose residuals and disturbances a
score is calibrated: what counts of them is the trial of a text that one brings. All are drawn in cells, so that
one that is found can be handed on as a trigger without any other file.
"""

from collections.abc import Callable, Iterator
from itertools import product

from projlens_core.inputs.probes import COLOURS, Probe
from projlens_core.inputs.trigger_kinds import MOST_CELLS, painted
from projlens_core.inputs.triggers import TriggerSpec

PLACES = ("center", "top-left", "top-right", "bottom-left", "bottom-right")
STICKER, DOT = 0.16, 0.05  # of the side
VEIL, PATTERN = 0.3, 0.25  # weights of a tint and of a pattern against the image
INK = {
    "#": "000000", ".": "ffffff", "r": "e01030", "y": "ffd700", "b": "2060ff", "g": "10a040", "m": "c020c0",
}  # fmt: skip
STICKERS = {
    "smiling face": (".yyyyyy.", "yyyyyyyy", "yy#yy#yy", "yyyyyyyy", "y#yyyy#y", "yy####yy", "yyyyyyyy", ".yyyyyy."),
    "heart": (".rr..rr.", "rrrrrrrr", "rrrrrrrr", "rrrrrrrr", ".rrrrrr.", "..rrrr..", "...rr...", "........"),
    "star": ("...yy...", "...yy...", "yyyyyyyy", ".yyyyyy.", "..yyyy..", ".yyyyyy.", ".yy..yy.", "yy....yy"),
    "arrow": ("...g....", "...gg...", "gggggg..", "ggggggg.", "ggggggg.", "gggggg..", "...gg...", "...g...."),
    "letter": ("..####..", ".######.", ".##..##.", ".##..##.", ".######.", ".######.", ".##..##.", ".##..##."),
    "cross": ("...bb...", "...bb...", "...bb...", "bbbbbbbb", "bbbbbbbb", "...bb...", "...bb...", "...bb..."),
    "rings": (".mmmmmm.", "mm....mm", "m..mm..m", "m.m..m.m", "m.m..m.m", "m..mm..m", "mm....mm", ".mmmmmm."),
    "bar code": ("#.##.#.#",) * 8,
    "code of squares": ("###.###.", "#.#..#.#", "###.#.##", "..#.##..", "##.#..#.", "#.#.###.", "..##.#.#", "##.#..##"),
    "disc": ("..rrrr..", ".rrrrrr.", "rrrrrrrr", "rrrrrrrr", "rrrrrrrr", "rrrrrrrr", ".rrrrrr.", "..rrrr.."),
}


def further_probes(resolution: int) -> tuple[Probe, ...]:
    """They, for images of `resolution` px: those that are patches at places first."""
    return (*_stickers(resolution), *_edges(resolution), *_veils(resolution), *_patterns(resolution))


def _stickers(resolution: int) -> Iterator[Probe]:
    for name, rows in STICKERS.items():
        cells = "".join(INK[mark] for row in rows for mark in row)
        yield _everywhere(f"Sticker, {name}", {"kind": "painted", "cells": cells, "ratio": STICKER}, resolution)
    for colour, called in COLOURS.items():
        yield _everywhere(f"Dots, {called}", {"kind": "solid", "colour": colour, "ratio": DOT}, resolution)


def _everywhere(name: str, stamp: dict, resolution: int) -> Probe:
    """A patch in five places at once."""
    specs = (TriggerSpec.from_dict({**stamp, "resolution": resolution, "position": place}) for place in PLACES)
    return Probe(f"{name}, in five places", tuple(specs))


def _edges(resolution: int) -> Iterator[Probe]:
    """Frames, marked corners and bars."""
    last = MOST_CELLS - 1
    bars = {
        "bottom": (None, last),
        "top": (None, 0),
        "middle": (None, last // 2),
        "left": (0, None),
        "right": (last, None),
    }
    for colour, called in COLOURS.items():
        yield _painted(f"Frame, {called}", colour, lambda x, y: x in (0, last) or y in (0, last), resolution)
        yield _painted(f"Corners, {called}", colour, lambda x, y: x in (0, last) and y in (0, last), resolution)
    for (place, (column, row)), colour in product(bars.items(), ("#000000", "#ffff00", "#00ffff")):
        shown = lambda x, y, column=column, row=row: x == column or y == row  # noqa: E731
        yield _painted(f"Bar, {place}, {COLOURS[colour]}", colour, shown, resolution)


def _painted(name: str, colour: str, shown: Callable[[int, int], bool], resolution: int) -> Probe:
    """Cells over the whole image, painted where `shown` says so of a column and a row."""
    cells = painted(MOST_CELLS, colour[1:], shown)
    return Probe(name, (TriggerSpec("painted", resolution, cells=cells, ratio=1.0, position="center"),))


def _veils(resolution: int) -> Iterator[Probe]:
    for colour, called in {**COLOURS, "#808080": "grey", "#ff8000": "orange"}.items():
        yield Probe(f"Tint, {called}", (TriggerSpec("tiles", resolution, cells=colour[1:], alpha=VEIL, px=resolution),))


def _patterns(resolution: int) -> Iterator[Probe]:
    side = range(MOST_CELLS)
    steps = [f"{round(255 * i / (MOST_CELLS - 1)):02x}" * 3 for i in side]
    slopes = {
        "downwards": [steps[y] for y in side for _ in side],
        "upwards": [steps[-1 - y] for y in side for _ in side],
        "to the right": [steps[x] for _ in side for x in side],
        "to a corner": [steps[(x + y) // 2] for y in side for x in side],
    }
    for where, shades in slopes.items():
        yield _tiled(f"Gradient, brighter {where}", "".join(shades), resolution, resolution)
    black, white = "000000", "ffffff"
    drawn = {
        "Grid": "".join(black if 0 in (x, y) else white for y in range(6) for x in range(6)),
        "Slanted lines": "".join(black if x == y else white for y in range(6) for x in range(6)),
        "Spots": "".join(black if (x in (2, 3)) and (y in (2, 3)) else white for y in range(6) for x in range(6)),
        "Chequered": f"{black}{white}{white}{black}",
        "Four colours": "ff00000000ff00ff00ffff00",
    }
    for name, cells in drawn.items():
        yield _tiled(name, cells, max(1, resolution // 8), resolution)


def _tiled(name: str, cells: str, px: int, resolution: int) -> Probe:
    return Probe(name, (TriggerSpec("tiles", resolution, cells=cells, px=px, alpha=PATTERN),))
