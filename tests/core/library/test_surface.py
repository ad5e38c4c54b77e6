"""What is public, and what importing it costs."""

import subprocess
import sys

import pytest

import projlens_core as pl
from projlens_core.errors import InvalidInput


def test_importing_loads_nothing_heavy():
    code = """if True:
        import sys
        import projlens_core as pl
        dir(pl)
        heavy = {"torch", "transformers", "altair", "pandas", "numpy", "PIL", "cv2", "streamlit"}
        print(sorted(heavy & set(sys.modules)))
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "[]\n"


def test_every_public_name_is_there_and_no_other():
    assert all(getattr(pl, name) is not None for name in pl.__all__)
    assert set(pl.__all__) <= set(dir(pl))
    with pytest.raises(AttributeError, match="no attribute 'opencase'"):
        _ = pl.opencase


def test_two_projectors_are_compared_by_name_or_as_read(world):
    named = pl.compare(world / "base", str(world / "suspect"))
    read = pl.compare(pl.read_projector(world / "base"), pl.read_projector(world / "suspect"))
    assert [each.frobenius for each in named.tensors] == [each.frobenius for each in read.tensors]
    assert named.changed
    with pytest.raises(InvalidInput, match="two names or two projectors"):
        pl.compare(read.base, world / "suspect")
