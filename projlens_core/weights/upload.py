"""Weight files that a browser sends, kept by content under the cache: opened like any other path, bounded in all."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from projlens_core.errors import InvalidInput
from projlens_core.paths import cache_dir
from projlens_core.weights.selection import WEIGHTS, is_plain

MAX_FILE = 512 * 2**20  # bytes; a LLaVA-1.5-13B projector in float32 has 126 MB
MAX_KEPT = 4 * 2**30  # bytes of all uploads together; the oldest go first
_ALSO = (".json",)  # configs, of a model or an adapter
_MAX_NAME = 120


def store(files: Sequence[tuple[str, bytes]]) -> Path:
    """Keep (name, content) of one model and return its path: the file if there is one, else the folder of all.

    The folder is named by the contents' hash, so the same upload is the same path. InvalidInput for a name that is
    not plain or not of a weight file or config, twice the same name, and more than MAX_FILE bytes.
    """
    for name, data in files:
        if not (_shown(name) and is_plain(name)) or not name.endswith((*WEIGHTS, *_ALSO)):
            raise InvalidInput(f"{name[:80]!r} is no weight file or config ({', '.join((*WEIGHTS, *_ALSO))}).")
        if len(data) > MAX_FILE:
            raise InvalidInput(
                f"{name[:80]!r} has {len(data):,} bytes, more than the {MAX_FILE:,} that are uploaded; give its path."
            )
    names = [name for name, _ in files]
    if not files or len(set(names)) < len(names):
        raise InvalidInput("An upload needs at least one file, and each name once.")
    folder = _uploads() / _digest(files)
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, data in files:
            (partial / name).write_bytes(data)
        partial.rename(folder)
    folder.touch()
    _evict(folder)
    return folder / names[0] if len(names) == 1 else folder


def _uploads() -> Path:
    return cache_dir() / "uploads"


def _shown(name: str) -> bool:
    """Whether the name can stand on a screen, and its file in a listing."""
    return name.isprintable() and len(name) <= _MAX_NAME and not name.startswith(".")


def _digest(files: Sequence[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(files):
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()[:16]


def _evict(kept: Path) -> None:
    """Remove the uploads that were used longest ago until the rest fits."""
    folders = sorted((f for f in _uploads().iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for folder in folders:
        total += sum(file.stat().st_size for file in folder.iterdir())
        if total > MAX_KEPT and folder != kept:
            shutil.rmtree(folder, ignore_errors=True)
