"""Where files of ProjLens lie: shipped assets, and the user's cache."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# In an installed copy the assets lie in the package, in a checkout next to it.
ASSETS = next((p for p in (_PACKAGE / "assets", _PACKAGE.parent / "assets") if p.is_dir()), _PACKAGE / "assets")
ZOO = ASSETS / "zoo"


def cache_dir() -> Path:
    """The folder for converted models and computed tokens: $PROJLENS_CACHE, or projlens in the user's cache."""
    chosen = os.environ.get("PROJLENS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "projlens"


def uploads_dir() -> Path:
    """The folder in the cache for weight files that a browser sent, each model in a folder named by its content."""
    return cache_dir() / "uploads"
