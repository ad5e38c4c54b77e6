"""One suspect through one stage, in the confined process of a worker: base and models are kept for the next suspect.

`perform` is what a worker's child process runs, see runtime.child. What it returns depends on nothing but what the
task's key is a hash of: contents of files, options, code.
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from projlens_core.errors import InvalidInput, ProjLensError
from projlens_core.runtime import allocator, cache, versions
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.plain import as_json
from projlens_core.screen.identity import identity
from projlens_core.screen.task import DONE, FAILED
from projlens_core.sources import Source
from projlens_core.weights import hub_ranges
from projlens_core.weights.projector import ProjectorWeights, read_projector

BASES = 2  # kept at a time; tasks come in the order of their bases
_HERE = (
    "analyses/context.py",
    "cases",
    "analyses/case",
    "analyses/verdict",
    "screen/stages",
    "screen/models.py",
    "screen/work.py",
)
COMPUTING = (*versions.COMPUTING, *_HERE)


@dataclass(frozen=True)
class Measured:
    """What a stage found. scores: what the table shows and thresholds ask; result: all that is kept, JSON-ready."""

    scores: dict[str, Any]
    result: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One suspect for a stage. read: as read_projector, base at hand already. images: a folder, where there is one.

    kept: what a stage keeps for the next suspect, by whatever decides it.
    """

    suspect: str
    base: str
    read: Callable[..., ProjectorWeights]
    images: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)


@lru_cache
def version() -> str:
    """A hash of all code that decides a result here, libraries' versions included."""
    return content_key(versions.installed(), versions.sources(*COMPUTING))


def perform(payload: dict[str, Any]) -> dict[str, Any]:
    """Do the task: {"status", "sentence", "scores", "result"}, the last two as JSON text, in one order of keys.

    payload: see ScreenTask.payload; its hashes are those of when the task was made, its version that of who made it.
    {"other": sentence} if this is another version of the code, or base is another by now: then nothing here can be
    trusted to fit the rest.
    """
    allocator.give_back_large()
    if payload["images"] is None:  # see ScreenTask.may
        cache.leave_alone()
    os.environ.update(payload["environment"])
    if payload["remote"]:
        _connect()
        hub_ranges.use(Path(payload["ranges"]) if payload.get("ranges") else None)
    if payload["version"] != version():
        return {"other": "A worker runs another version of ProjLens or of its libraries; install the same everywhere."}
    job = Job(
        payload["suspect"],
        payload["base"],
        partial(_read, payload["base"]),
        Path(payload["images"]) if payload["images"] else None,
        payload["options"],
        _kept,
    )
    try:
        if not _is_same_base(payload["base"], payload["base_identity"]):
            return {"other": "The base changed while it was screened against; start again once nothing writes to it."}
        found = import_module(payload["module"]).measure(job)
        if identity(payload["suspect"]) != payload["identity"]:
            raise InvalidInput("It changed while it was read; screen it again once nothing writes to it.")
    except ProjLensError as error:
        return {"status": FAILED, "sentence": str(error), "scores": "{}", "result": "{}"}
    written = {name: as_json(getattr(found, name), sort_keys=True) for name in ("scores", "result")}
    return {"status": DONE, "sentence": "", **written}


def fetch(payload: dict[str, Any]) -> dict[str, Any]:
    """What base_bytes has a child process do: read a base of the Hub; {"ranges": those that it took, as a file}."""
    os.environ.update(payload["environment"])
    _connect()
    with hub_ranges.recording() as found:
        read_projector(payload["base"])
    return {"ranges": hub_ranges.packed(found)}


def _connect() -> None:
    """Let this child process ask the Hub."""
    from huggingface_hub import constants  # only here: its client takes a second

    constants.HF_HUB_OFFLINE = False  # which it is in every other child
    constants.HF_TOKEN_PATH = os.devnull  # the environment has it; there is no home folder here


_bases: OrderedDict[str, ProjectorWeights] = OrderedDict()
_identities: dict[str, str] = {}
_kept: dict[Any, Any] = {}


def _read(kept: str, spec: Source | str | Path, base: Source | str | Path | None = None) -> ProjectorWeights:
    """As read_projector, but the base called `kept` is read once."""
    if base is not None or spec != kept:
        return read_projector(spec, base)
    if kept not in _bases:
        while len(_bases) >= BASES:
            gone, _ = _bases.popitem(last=False)
            for key in [key for key in _kept if gone in key]:  # its tower, its language model, its images' tokens
                del _kept[key]
        _bases[kept] = read_projector(kept)
    _bases.move_to_end(kept)
    return _bases[kept]


def _is_same_base(base: str, wanted: str) -> bool:
    """Whether the base that is kept here, or now read, is that of the task."""
    if base not in _identities or base not in _bases:
        before = identity(base)
        _read(base, base)
        if identity(base) != before:
            return False
        _identities[base] = before
    return _identities[base] == wanted
