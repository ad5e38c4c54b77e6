"""What commands share on a terminal: progress on stderr, JSON or text on stdout.

No character written there steers the terminal, and no encoding or closed pipe breaks it.
"""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from projlens_core.errors import InvalidInput
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.plain import as_json
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import visible

if TYPE_CHECKING:
    from projlens_core.analyses.exhibit import Table

BROKEN_PIPE = 128 + 13  # exit code, as of a program that SIGPIPE ended
Failures = Sequence[tuple[str, str]]  # (image, sentence): what was left out


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


def progress() -> Progress:
    """A Progress that keeps one line on stderr up to date; silent where stderr is not a terminal."""
    if not sys.stderr.isatty():
        return silent

    def show(stage: str, done: int, total: int) -> None:
        line = visible(f"{stage}: {done} of {total}") if done < total else ""
        sys.stderr.write(f"\r\x1b[K{line}")  # back to the start, clear the line
        sys.stderr.flush()

    return show


def say(line: str, _: object = None) -> None:
    """A line on stderr that stays, above what `progress` shows; nothing where stderr is not a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{visible(line)}\n")
        sys.stderr.flush()


def quiet_transformers() -> None:
    """Keep transformers' bars and warnings off stderr, which holds one sentence if a command fails."""
    from transformers.utils import logging  # only here: it takes seconds

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def write_json(document: dict) -> None:
    """The document on stdout as one line of strict JSON: NaN and infinity, which it does not have, become null."""
    sys.stdout.write(as_json(document) + "\n")


def left_out(failures: Failures) -> list[dict[str, str]]:
    """The failures as every command's JSON lists them."""
    return [{"image": name, "reason": reason} for name, reason in failures]


def write_csv(table: "Table", file: Path) -> None:
    """All of a table as CSV into `file`, whole or not at all; InvalidInput if it cannot be written there."""
    from projlens_core.report.spreadsheet import as_csv  # only here: the library of tables takes a second

    write_atomically(file, as_csv(table.frame))
