"""Standard output as commands write to it: no character steers a terminal, no encoding or closed pipe breaks it."""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from projlens_core.errors import InvalidInput

BROKEN_PIPE = 128 + 13  # exit code, as of a program that SIGPIPE ended
# Controls but tab and line feed, invisible format characters (those that turn text round among them), line and
# paragraph separators, and the halves of undecodable bytes: categories Cc, Cf, Zl, Zp and Cs of Unicode.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001-\U000e007f\ud800-\udfff]"
)


def visible(text: str, encoding: str = "utf-8") -> str:
    """The text with every character that steers a terminal, or that `encoding` lacks, as \\uXXXX.

    Inside a JSON string that is an escape of the same character, so JSON stays what it was.
    """
    text = _STEERING.sub(lambda hit: _escaped(hit[0]), text)
    if encoding.lower().replace("-", "").replace("_", "") == "utf8" or text.isascii():
        return text
    return "".join(c if _has(encoding, c) else _escaped(c) for c in text)


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
    def encoding(self) -> str:
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        self._stream.write(visible(text, self.encoding))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
