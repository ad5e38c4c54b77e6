"""Files that a user or a stranger names, opened so that none of them can block or grow while it is read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from projlens_core.errors import NotFound


class Regular:
    """A regular file that is open for reading; size is what it had when it was opened, and no more is read."""

    def __init__(self, descriptor: int, size: int):
        self._descriptor, self.size = descriptor, size

    def read(self) -> bytes:
        """Its bytes, at most `size`: a log of the kernel says 0 and would block, a growing file would not end."""
        parts, left = [], self.size
        while left and (part := os.read(self._descriptor, min(left, 2**24))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


@contextmanager
def open_regular(path: Path, missing: str) -> Iterator[Regular]:
    """The file at `path`, links followed; NotFound, saying `missing`, for anything else.

    OSError, as of open(), for what may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise NotFound(missing) from error
    except OSError as error:
        if not path.is_file():  # a socket, a device that is not there
            raise NotFound(missing) from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotFound(missing)
        yield Regular(descriptor, found.st_size)
    finally:
        os.close(descriptor)
