"""What was found about a case, and all that decides it: kept so that it can be printed, stored, reopened and redone."""

import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch

from projlens_core.analyses.exhibit import Exhibit
from projlens_core.runtime import versions


@dataclass(frozen=True)
class Provenance:
    """Where numbers come from: two records that agree in all but `created` and `command` hold the same numbers.

    created is an ISO date in UTC. settings are JSON-ready and hold the seed. hashes are SHA-256 of contents: of the
    projectors by role, of the images, of vision tower and language model where they were run. command redoes it, or
    is empty where no command can (images that were uploaded in a browser).
    """

    created: str
    projlens: str
    sources: str  # SHA-256 of ProjLens' own code: more changes than the version number says
    versions: dict[str, str]  # of Python and the packages that compute
    machine: dict[str, str]  # device, threads and instruction set, which decide the last digits
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


def provenance(hashes: Mapping[str, str], settings: dict, device: torch.device, command: str = "") -> Provenance:
    """The provenance of what is computed now, by this process on `device`."""
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        projlens=versions.PROJLENS,
        sources=versions.sources(),
        versions=versions.installed(),
        machine={
            "device": str(device),
            "threads": str(torch.get_num_threads()),
            "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        },
        settings=settings,
        hashes=dict(hashes),
        command=command,
    )


def differences(provenance: Provenance) -> list[str]:
    """What computed a record and would not be the same here: numbers computed here may differ from it."""
    found = [
        f"{name} {then} (here {versions.installed().get(name, 'not installed')})"
        for name, then in provenance.versions.items()
        if versions.installed().get(name) != then
    ]
    if provenance.projlens != versions.PROJLENS:
        found.insert(0, f"ProjLens {provenance.projlens} (here {versions.PROJLENS})")
    elif provenance.sources != versions.sources():
        found.insert(0, f"ProjLens {provenance.projlens} with other source files")
    return found


def command_line(command: str, options: Mapping[str, object]) -> str:
    """`python -m projlens_core COMMAND` with its options, as a shell takes it.

    An option that is None is left out, one that is True a flag, one with a tuple repeated, one with a list followed by
    all of it.
    """
    words = ["python", "-m", "projlens_core", command]
    for name, value in options.items():
        match value:
            case None:
                continue
            case True:
                words.append(f"--{name}")
            case tuple():
                words += [word for one in value for word in (f"--{name}", str(one))]
            case list():
                words += [f"--{name}", *map(str, value)]
            case _:
                words += [f"--{name}", str(value)]
    return shlex.join(words)
