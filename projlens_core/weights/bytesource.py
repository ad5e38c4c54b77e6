"""The bytes of one weight file, wherever it lies, read by range and counted: readers ask for no more than they need."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer  # known to type checkers alone

_PEEK = 4_096  # bytes; what a stream fetches at least, so that a zip's many small records cost few requests


class ByteSource(Protocol):
    """One file that can be read at any place. digest identifies its content where that is known without reading."""

    name: str
    size: int
    digest: str | None
    bytes_read: int

    def read(self, begin: int, length: int) -> bytearray:
        """Exactly `length` bytes from `begin`; InvalidInput if the file does not hold or give them."""


class LocalFile:
    """A regular file of this machine, as it was when this was made: values from two states of it are never mixed."""

    digest: str | None = None

    def __init__(self, path: Path):
        self.path, self.name, self.bytes_read = path, path.name, 0
        found = path.stat()
        self.size, self._state = found.st_size, _state(found)

    def read(self, begin: int, length: int) -> bytearray:
        """Exactly `length` bytes from `begin`; the file is opened anew, as a checkpoint may have hundreds of shards."""
        buffer = bytearray(check_range(self, begin, length))
        view, done = memoryview(buffer), 0
        with self.path.open("rb", buffering=0) as file:
            file.seek(begin)
            while done < length and (count := file.readinto(view[done:])):
                done += count
            self.bytes_read += done
            if done < length:
                raise InvalidInput(f"{printable(self.name)} became shorter while it was read; fetch it again.")
            self.check_unchanged(file.fileno())  # after reading: what was written meanwhile is noticed, too
        return buffer

    def check_unchanged(self, descriptor: int) -> None:
        """InvalidInput if what is open under the descriptor is another file, or was written to since."""
        if _state(os.fstat(descriptor)) != self._state:
            raise InvalidInput(
                f"{printable(self.name)} changed while it was read; open it again once nothing writes to it."
            )


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def check_range(source: ByteSource, begin: int, length: int) -> int:
    """`length`, if the source claims to hold that many bytes from `begin`; before anything is allocated for them."""
    if not 0 <= begin <= begin + length <= source.size:
        raise InvalidInput(
            f"{source.name} is asked for bytes {begin:,} to {begin + length:,} but has {source.size:,}; "
            "it is cut or damaged."
        )
    return length


def as_stream(source: ByteSource) -> io.BufferedReader:
    """The source as a seekable binary stream, for libraries that read files."""
    return io.BufferedReader(_Raw(source), buffer_size=_PEEK)


class _Raw(io.RawIOBase):
    """A position over a ByteSource."""

    def __init__(self, source: ByteSource):
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        if start + offset < 0:
            raise ValueError("negative position")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        length = max(0, min(len(view), self._source.size - self._at))
        if length:
            view[:length] = self._source.read(self._at, length)
            self._at += length
        return length
