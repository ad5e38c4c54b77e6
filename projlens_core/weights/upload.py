"""Weight files that a browser sends, kept by content under the cache: opened like any other path, bounded in all."""

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
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
_ATTEMPTS = 4  # at putting a folder in place while other sessions write and remove the same
_PARTIAL = "partial-"
_ABANDONED = 3_600  # s after which what is half-written has no writer any more


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
        with suppress(FileNotFoundError):  # made room for another session's upload by now; the next who asks is told
            os.utime(folder)
    except OSError as error:
        raise InvalidInput(f"The upload cannot be kept ({error.strerror}); make room, or give its path.") from error
    _evict(folder)
    return f"{UPLOAD_PREFIX}{digest}" + (f"/{names[0]}" if len(names) == 1 else "")


def _kept(files: Sequence[tuple[str, bytes]], folder: Path) -> bool:
    """Whether the folder holds all of it as it was sent: a disk may have changed it since."""
    try:
        return all((folder / name).read_bytes() == data for name, data in files)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _write(files: Sequence[tuple[str, bytes]], folder: Path) -> None:
    """All files or none, whoever else writes the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=_PARTIAL, ignore_cleanup_errors=True) as partial:
        for name, data in files:
            Path(partial, name).write_bytes(data)
        os.chmod(partial, 0o755)
        for _ in range(_ATTEMPTS):
            try:
                os.rename(partial, folder)
                return
            except OSError as error:
                trouble = error
            if _kept(files, folder):  # another session was first
                return
            shutil.rmtree(folder, ignore_errors=True)  # a disk has changed it, or it is on its way out
        raise trouble


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
    """Remove the uploads that were used longest ago until the rest fits, and what a killed process left half-written.

    Other sessions write and remove here at the same time: what is gone by now counts nothing.
    """
    known = ((folder, *_used(folder)) for folder in uploads_dir().iterdir())
    now, total = time.time(), 0
    for folder, last, size in sorted(known, key=lambda each: each[1], reverse=True):
        if folder.name.startswith(_PARTIAL):
            if now - last > _ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        total += size
        if total > MAX_KEPT and folder != kept:
            shutil.rmtree(folder, ignore_errors=True)


def _used(folder: Path) -> tuple[float, int]:
    """When the folder was used last, and how many bytes it holds; zeros if it is none any more."""
    try:
        return folder.stat().st_mtime, sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return 0.0, 0
