"""Weight files that a browser sends, kept by content under the cache: opened like any other path, bounded in all."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from projlens_core.errors import InvalidInput
from projlens_core.runtime.paths import uploads_dir
from projlens_core.sources import UPLOAD_PREFIX
from projlens_core.weights.selection import WEIGHTS, is_plain

MAX_BYTES = 512 * 2**20  # of one upload; a LLaVA-1.5-13B projector in float32 has 126 MB
MAX_FILES = 64
MAX_KEPT = 4 * 2**30  # bytes of all uploads together; the oldest go first
_ALSO = (".json",)  # configs, of a model or an adapter
_MAX_NAME = 120


def store(files: Sequence[tuple[str, bytes]]) -> str:
    """Keep (name, content) of one model and return its name for `resolve`: upload:HASH, or upload:HASH/FILE of one.

    It is named by its content, so the same upload has the same name, which says nothing of this machine. InvalidInput
    for a name that is not plain or not of a weight file or config, twice the same name, more than MAX_FILES files or
    MAX_BYTES, and where the disk does not take it.
    """
    names = [name for name, _ in files]
    if odd := [name for name in names if not (_shown(name) and is_plain(name) and name.endswith((*WEIGHTS, *_ALSO)))]:
        raise InvalidInput(f"{odd[0][:80]!r} is no weight file or config ({', '.join((*WEIGHTS, *_ALSO))}).")
    if not files or len(set(names)) < len(names) or len(names) > MAX_FILES:
        raise InvalidInput(f"An upload needs at least one file, at most {MAX_FILES}, and each name once.")
    if (size := sum(len(data) for _, data in files)) > MAX_BYTES:
        raise InvalidInput(f"The upload has {size:,} bytes, more than the {MAX_BYTES:,} that are taken; give its path.")
    digest = _digest(files)
    folder = uploads_dir() / digest
    try:
        if not _kept(files, folder):
            _write(files, folder)
        folder.touch()
    except OSError as error:
        raise InvalidInput(f"The upload cannot be kept ({error.strerror}); make room, or give its path.") from error
    _evict(folder)
    return f"{UPLOAD_PREFIX}{digest}" + (f"/{names[0]}" if len(names) == 1 else "")


def _kept(files: Sequence[tuple[str, bytes]], folder: Path) -> bool:
    """Whether the folder holds all of it as it was sent: a disk may have changed it since."""
    try:
        return all((folder / name).read_bytes() == data for name, data in files)
    except FileNotFoundError:
        return False


def _write(files: Sequence[tuple[str, bytes]], folder: Path) -> None:
    """All files or none, whoever else writes the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix="partial-", ignore_cleanup_errors=True) as partial:
        for name, data in files:
            Path(partial, name).write_bytes(data)
        os.chmod(partial, 0o755)
        try:
            os.rename(partial, folder)
        except OSError:
            if not _kept(files, folder):  # else another session was first
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(partial, folder)


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
    folders = sorted((f for f in uploads_dir().iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for folder in folders:
        total += sum(file.stat().st_size for file in folder.iterdir())
        if total > MAX_KEPT and folder != kept:
            shutil.rmtree(folder, ignore_errors=True)
