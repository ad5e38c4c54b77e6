"""The folders that models are opened from by path, where others than the machine's owner can type one.

$PROJLENS_ROOTS names them, separated as in $PATH. Unset, any path is opened: the machine is one's own. Set, even to
nothing, only what lies in one of them is, links followed first; and the Hub is asked without the owner's token. It is
read where names become files, so that no page can pass it by.
"""

import os
from pathlib import Path

from projlens_core.errors import InvalidInput

ROOTS = "PROJLENS_ROOTS"


def roots() -> tuple[Path, ...] | None:
    """The folders, links resolved; None where every path may be opened."""
    named = os.environ.get(ROOTS)
    if named is None:
        return None
    return tuple(Path(os.path.realpath(folder)) for folder in named.split(os.pathsep) if folder)


def admit(path: Path) -> None:
    """InvalidInput unless the path, links followed, lies in a root: the same sentence whether anything is there."""
    allowed = roots()
    if allowed is None or any(Path(os.path.realpath(path)).is_relative_to(root) for root in allowed):
        return
    if not allowed:
        raise InvalidInput(
            "Others can reach this server, so it opens no paths; its owner can allow folders by starting it with "
            f"{ROOTS}=FOLDER, and zoo:NAME, hub:OWNER/NAME and uploads work without."
        )
    raise InvalidInput(
        f"{str(path)[:200]!r} does not lie in {' or '.join(map(str, allowed))}, from which alone this server opens "
        f"paths; its owner can allow more folders with {ROOTS}, and zoo:NAME, hub:OWNER/NAME and uploads work without."
    )


def admit_all(folder: Path) -> None:
    """`admit` everything in the folder: no link in it leads out."""
    if roots() is None:
        return
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InvalidInput(f"{str(folder)[:200]!r} cannot be read ({error.strerror}).") from error
    for entry in entries:
        admit(entry)
