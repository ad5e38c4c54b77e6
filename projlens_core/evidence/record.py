"""What was found about a case, and all that decides it: kept so that it can be printed, stored, reopened and redone."""

import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from projlens_core.evidence.case import OpenedCase
from projlens_core.evidence.exhibit import Exhibit

VERSION = "0.1.0"  # of ProjLens, as in pyproject.toml
PACKAGES = ("torch", "transformers", "numpy")


@dataclass(frozen=True)
class Provenance:
    """Where numbers come from: two records with the same settings, versions and hashes hold the same numbers.

    created is an ISO date in UTC. settings are JSON-ready. hashes are SHA-256 of the projectors' content by role.
    command redoes it, or is empty where no command can (pictures that were uploaded in a browser).
    """

    created: str
    projlens: str
    versions: dict[str, str]  # of Python and the packages that compute
    settings: dict
    hashes: dict[str, str]
    command: str = ""


@dataclass(frozen=True)
class Missing:
    """A part that was asked for and is not there, with the sentence that says why."""

    part: str
    reason: str


@dataclass(frozen=True)
class Record:
    """The exhibits of one case in the order of the pages, what is missing, and where all of it comes from."""

    title: str
    provenance: Provenance
    exhibits: tuple[Exhibit, ...]
    missing: tuple[Missing, ...] = field(default=())


def provenance(opened: OpenedCase, settings: dict, command: str = "") -> Provenance:
    """The provenance of what is computed now about a case, on this machine."""
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        projlens=VERSION,
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        settings=settings,
        hashes={role: weights.sha256 for role, weights in opened.projectors.items()},
        command=command,
    )


def command_line(command: str, options: Mapping[str, object]) -> str:
    """`python -m projlens_core COMMAND` with its options, as a shell takes it.

    An option that is None is left out, one with a tuple repeated, one with a list followed by all of it.
    """
    words = ["python", "-m", "projlens_core", command]
    for name, value in options.items():
        match value:
            case None:
                continue
            case tuple():
                words += [word for one in value for word in (f"--{name}", str(one))]
            case list():
                words += [f"--{name}", *map(str, value)]
            case _:
                words += [f"--{name}", str(value)]
    return shlex.join(words)
