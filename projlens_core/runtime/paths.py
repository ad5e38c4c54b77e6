"""Where files of ProjLens lie: shipped assets, and the user's cache."""

import os
from pathlib import Path

from projlens_core.errors import InvalidInput

_PACKAGE = Path(__file__).resolve().parents[1]
# In an installed copy the assets lie in the package, in a checkout next to it.
ASSETS = next((p for p in (_PACKAGE / "assets", _PACKAGE.parent / "assets") if p.is_dir()), _PACKAGE / "assets")
ZOO = ASSETS / "zoo"
DOCS = ASSETS.parent / "docs"  # of a checkout; an installed copy has none
SAMPLES = ZOO / "samples"  # clean images of the demo models, with labels.csv


def cache_dir() -> Path:
    """The folder for converted models and computed tokens: $PROJLENS_CACHE, or projlens in the user's cache.

    InvalidInput where it is in the home folder of a user who has none.
    """
    if chosen := os.environ.get("PROJLENS_CACHE"):
        return _expanded(chosen)
    return _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "projlens"


def _expanded(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise InvalidInput(
            f"The cache folder {folder!r} begins with a home folder that is not known here; "
            "set $PROJLENS_CACHE to a folder."
        ) from error


def uploads_dir() -> Path:
    """The folder in the cache for weight files that a browser sent, each model in a folder named by its content."""
    return cache_dir() / "uploads"


def saved_cases_dir() -> Path:
    """The folder beside it for the cases that users of the dashboard saved by name, and the list of recent ones."""
    return cache_dir() / "cases"
