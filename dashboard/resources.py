"""Everything kept between reruns and sessions: models, opened cases, analyses. The only st.cache_* of the dashboard.

Each thing lies on a bounded shelf under a hash of what it was made from: of contents where they are in memory, of
path, size and change time where hashing gigabytes would cost more than what is kept. st.cache_resource holds only
the shelves: a function under it could not report progress while it computes.
"""

import gc
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import streamlit as st
from PIL import Image

from dashboard.shelf import BYTES, Shelf
from projlens_core.activations.towers import Towers
from projlens_core.activations.vision import VisionTower
from projlens_core.behaviour.success import Truth, read_labels
from projlens_core.behaviour.templates import ADDITIONAL
from projlens_core.cases.case import Case, OpenedCase, model_source, open_case
from projlens_core.cases.whose import Model, Whose, load_tower, towers_of
from projlens_core.cases.whose import whose as find_whose
from projlens_core.charts import overlays
from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import NamedImage, load_folder
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.report.summary import Finding
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import printable
from projlens_core.sources import PREFIX, Source, ZooEntry, resolve, shipped
from projlens_core.weights.own_parts import TOWER, Part
from projlens_core.weights.proof import Proof, prove
from projlens_core.weights.selection import WEIGHTS

SAMPLES = ZOO / "samples"
HUB_KEPT = 600  # s
LARGEST_KEPT = 512  # px; a square of it takes 0.8 MB
T = TypeVar("T")
CASES = 24  # so that twenty sessions do not take them from each other
IMAGES = 128 * 2**20  # bytes, of images and again of their data URIs


@st.cache_resource(max_entries=64, show_spinner=False)
def shelf(name: str, size: int, limit: int = BYTES) -> Shelf:
    """The shelf called `name`, one for the whole process."""
    return Shelf(size, limit)


def zoo() -> dict[str, ZooEntry]:
    """The models that ship, by name; empty where the zoo was not installed."""
    return shipped() if (ZOO / "zoo.json").is_file() else {}


def zoo_entry(spec: str) -> ZooEntry | None:
    """The zoo's description of the model that `spec` names, if it is one of the zoo's."""
    return zoo().get(spec.removeprefix(PREFIX)) if spec.startswith(PREFIX) else None


def fingerprint(spec: str) -> str:
    """A hash that changes when a file of the model changes: paths, sizes and times, not gigabytes of content.

    What lies on the Hub counts as unchanged for ten minutes, so that not every click asks there.
    """
    return _files_key(resolve(spec))


def _files_key(source: Source) -> str:
    if source.hub is not None:
        return content_key(source.spec, os.environ.get("HF_ENDPOINT"), int(time.time() // HUB_KEPT))
    folders = {p if p.is_dir() else p.parent for p in (source.weights, source.model) if p is not None}
    try:
        inside = (p for folder in folders for p in (*folder.iterdir(), *folder.glob(f"{ADDITIONAL}/*")))
        files = sorted(p for p in inside if p.suffix in (".json", ".jinja", *WEIGHTS))
        stats = [(str(p), *_stat(p)) for p in files]
    except OSError as error:
        raise InvalidInput(
            f"{printable(source.spec)} cannot be read ({error.strerror}); check that it is still there and readable."
        ) from error
    return content_key(str(source.weights.resolve()), *stats)


def opened(case: Case, progress: Progress = silent) -> OpenedCase:
    """The case with its projectors read and compared."""
    return shelf("cases", CASES).get(_case_key(case), lambda: open_case(case, progress), progress)


def decomposed(case: Case, progress: Progress = silent) -> OpenedCase:
    """The same with the spectra of its changes."""
    return shelf("spectra", CASES).get(_case_key(case), lambda: opened(case, progress).decompose(progress), progress)


def _case_key(case: Case) -> str:
    return content_key(case, *(fingerprint(spec) for spec in (case.base, case.suspect, case.control) if spec))


def remember(case: Case, finding: Finding | None) -> None:
    """Keep what an analysis said about the case, the newest of each; for its summary."""
    if finding is not None:
        remembered(case)[finding.key] = finding


def remembered(case: Case) -> dict[str, Finding]:
    """What analyses said about the case since the process started, by key."""
    return shelf("findings", CASES).get(_case_key(case), dict)


def proof(case: Case, progress: Progress = silent) -> Proof:
    """Everything of the suspect but its projector, compared with the base's."""
    return shelf("proofs", CASES).get(_proof_key(case), lambda: prove(case.base, case.suspect, progress), progress)


def proved(case: Case) -> bool:
    """Whether that comparison is at hand."""
    return _proof_key(case) in shelf("proofs", CASES)


def _proof_key(case: Case) -> str:
    return content_key(case.base, case.suspect, fingerprint(case.base), fingerprint(case.suspect))


def model_key(case: Case) -> str:
    """A hash that changes with the checkpoint that is run for a case, and is the same for all cases that run it."""
    return _source_key(model_source(case))


def run_key(case: Case, role: str) -> str:
    """A hash that changes with any model that may be run under the projector of `role`; nothing is compared for it."""
    entry = zoo_entry(case.specs[role])
    alone = role == "base" or case.projector_only or entry is not None
    return content_key(model_key(case), None if alone else fingerprint(case.specs[role]))


def loaded_key(model: Model) -> str:
    """A hash that changes with the files of a model that is loaded for a role."""
    return content_key(*(_source_key(each) for each in vars(model).values() if each is not None))


def _source_key(source: Source) -> str:
    tiny = source.zoo is not None and source.zoo.tiny  # which names the demo models' folder, and has models of its own
    if source.model is not None:  # what ships or was fetched is in no root, and no visitor named its folder
        source = replace(source, spec=str(source.model), weights=source.model, zoo=None, hub=None)
    return content_key(_files_key(source), source.family, tiny)


def whose(case: Case, parts: Sequence[Part] = (TOWER,), progress: Progress = silent) -> Whose:
    """Which model each of these parts is of, for every role of the case."""
    key = content_key(case, tuple(parts), *(fingerprint(spec) for spec in case.specs.values()))
    return shelf("whose", 4 * CASES).get(key, lambda: find_whose(case, parts, progress), progress)


def vision(case: Case, progress: Progress = silent) -> Towers:
    """The vision towers that the projectors read from; most cases have but one."""
    found = whose(case, progress=progress)

    def tower(role: str) -> VisionTower:
        key = loaded_key(found.models[found.owner(role)])
        return shelf("towers", 3).get(key, lambda: lasting(lambda: load_tower(found, role)))

    towers = towers_of(found, tower)
    opened(case).check_same_input(towers.own)
    return towers


def lasting(load: Callable[[], T]) -> T:
    """The model that `load` loads, and all else that is in memory by then, put out of the garbage collector's sight.

    To walk a million objects of libraries and models whenever garbage is due takes longer than most pages. What an
    evicted model has left in cycles is given back first.
    """
    gc.unfreeze()
    gc.collect()
    try:
        return load()
    finally:
        gc.freeze()


def samples() -> tuple[NamedImage, ...]:
    """The sample images that ship with ProjLens; empty where the zoo was not installed."""
    if not SAMPLES.is_dir():
        return ()
    key = content_key(str(SAMPLES), _stat(SAMPLES))  # changes as files come and go; they do not change themselves
    return shelf("samples", 1).get(key, lambda: load_folder(SAMPLES).images)


def truths(images: Iterable[NamedImage]) -> dict[str, tuple[Truth, ...]]:
    """Questions with known answers by name, of those of the images that are samples, whatever they are called here."""
    labels = (read_labels(SAMPLES) or {}) if SAMPLES.is_dir() else {}
    known = {sample.sha256: labels[sample.name] for sample in samples() if sample.name in labels}
    return {image.name: known[image.sha256] for image in images if image.sha256 in known}


def clean_image(image: NamedImage, spec: TriggerSpec | None) -> Image.Image:
    """The image as the trigger would find it: the clean twin."""
    return _small_kept("frame", image, spec, lambda: frame(image.pixels, spec))


def triggered_image(image: NamedImage, spec: TriggerSpec) -> Image.Image:
    """The image with the trigger on it."""
    return _small_kept(f"stamp {spec.key}", image, spec, lambda: stamp(image.pixels, spec))


def _small_kept(what: str, image: NamedImage, spec: TriggerSpec | None, make: Callable[[], Image.Image]) -> Image.Image:
    """Kept if the trigger says how small it is; without a resolution it may be as large as an upload, 150 MB."""
    resolution = spec.resolution if spec else None
    if resolution is None or resolution > LARGEST_KEPT:
        return make()
    return shelf("images", 512, IMAGES).get(content_key(what, resolution, image.sha256), make)


def thumbnails(images: Iterable[NamedImage], side: int) -> list[str]:
    """The images as data URIs of at most `side` px."""
    uris = shelf("uris", 512, IMAGES)
    return [uris.get(f"{p.sha256} {side}", partial(overlays.data_uri, p.pixels, side)) for p in images]


def uri(image: Image.Image, side: int = overlays.MAX_SIDE) -> str:
    """The image as a data URI of at most `side` px."""
    return shelf("uris", 512, IMAGES).get(content_key(side, pixels(image)), lambda: overlays.data_uri(image, side))


def pixels(image: Image.Image | None) -> str | None:
    """The content hash of an image; None for none."""
    return content_key(*image.size, image.tobytes()) if image is not None else None


def named_keys(images: Sequence[NamedImage]) -> list[tuple[str, str]]:
    """Contents and names: what decides a result that calls its images by name, and is shared by all sessions."""
    return [(p.sha256, p.name) for p in images]


def _stat(path: Path) -> tuple[str, int, int]:
    """Name, size and change time."""
    stat = path.stat()
    return path.name, stat.st_size, stat.st_mtime_ns
