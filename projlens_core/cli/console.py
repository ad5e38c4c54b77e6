"""Standard output as commands write to it: no character steers a terminal, no encoding or closed pipe breaks it."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import visible

BROKEN_PIPE = 128 + 13  # exit code, as of a program that SIGPIPE ended


@contextmanager
def standard_output() -> Iterator[None]:
    """Inside the block sys.stdout writes `visible` text; InvalidInput where standard output is closed.

    BrokenPipeError, if who reads it has gone, is raised in the block and not while Python ends.
    """
    if sys.stdout is None:
        raise InvalidInput("Standard output is closed; leave it open, or send it to a file with > FILE.")
    with redirect_stdout(_Visible(sys.stdout)) as out:
        yield
        out.flush()


def discard_output() -> None:
    """Let what is still to be written to standard output go nowhere: its reader has gone."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)


class _Visible(io.TextIOBase):
    def __init__(self, stream: TextIO):
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # no text stream's can be set, but the stub says so
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        self._stream.write(visible(text, self.encoding))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()
