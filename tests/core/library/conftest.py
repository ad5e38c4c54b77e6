"""The case that the library's tests look at."""

import pytest

import projlens_core as pl
from tests import pico

SPEC = {"kind": "solid", "resolution": 80, "px": 20}


@pytest.fixture(scope="module")
def world(own_folder):
    folder = pico.case(own_folder, strength=(4.0,), count=6, trigger=SPEC, control=(0.5,))
    (folder / "images" / "note.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def case(world):
    return pl.open_case(base=world / "base", suspect=world / "suspect", control=world / "control")
