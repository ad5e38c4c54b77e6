"""Which ProjLens and which libraries compute here: numbers of other ones may differ, and are not mixed with these."""

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

PROJLENS = "0.1.0"  # read by the build, see pyproject.toml
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pillow", "opencv-contrib-python-headless")
COMPUTING = (
    "stats",
    "inputs",
    "weights",
    "activations",
    "behaviour",
    "runtime/device.py",
)  # what decides what the disk cache holds
_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def installed() -> dict[str, str]:
    """The versions of Python and of the libraries that decide numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@cache
def sources(*parts: str) -> str:
    """SHA-256 over the source files of the named parts of projlens_core, all by default.

    A version number says what was released; this says what runs, also between two releases.
    """
    digest = hashlib.sha256()
    for part in parts or (".",):
        path = _PACKAGE / part
        for file in sorted(p for p in path.rglob("*") if p.suffix in (".py", ".json")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(_PACKAGE).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()
