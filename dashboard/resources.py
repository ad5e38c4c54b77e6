"""Everything kept between reruns and sessions: models, opened cases, analyses. The only st.cache_* of the dashboard.

Each thing lies on a bounded shelf under a hash of what it was made from: of contents where they are in memory, of
path, size and change time where hashing gigabytes would cost more than what is kept. st.cache_resource holds only
the shelves: a function under it could not report progress while it computes.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import streamlit as st
from PIL import Image

from projlens_core.activations.model import VisionModel, load_vision
from projlens_core.behaviour.success import Truth, read_labels
from projlens_core.cache import content_key
from projlens_core.charts import overlays
from projlens_core.errors import InvalidInput
from projlens_core.evidence.case import Case, OpenedCase, model_source, open_case
from projlens_core.inputs.images import Picture, load_folder, printable
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.paths import ZOO
from projlens_core.progress import Progress, silent
from projlens_core.sources import PREFIX, ZooEntry, resolve, zoo_catalogue
from projlens_core.weights.proof import Proof, prove
from projlens_core.weights.selection import WEIGHTS

SAMPLES = ZOO / "samples"
HUB_KEPT = 600  # s
LARGEST_KEPT = 512  # px; a square of it takes 0.8 MB
T = TypeVar("T")


class Shelf:
    """At most `size` values by key, the least recently used given up first; safe between threads."""

    def __init__(self, size: int):
        self._size, self._kept, self._lock = size, OrderedDict(), threading.Lock()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """The value under `key`, made now if it is not there; two sessions may make the same one at the same time."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()  # outside the lock: it may take minutes, and others must be able to read
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value

    def __contains__(self, key: str) -> bool:
        """Whether `key` can be had without making it."""
        with self._lock:
            return key in self._kept


@st.cache_resource(max_entries=64, show_spinner=False)
def shelf(name: str, size: int) -> Shelf:
    """The shelf called `name`, one for the whole process."""
    return Shelf(size)


@st.cache_resource(max_entries=1, show_spinner=False)
def model_lock() -> threading.Lock:
    """Held by the session that is using the language model, which swaps projectors in place."""
    return threading.Lock()


def zoo() -> dict[str, ZooEntry]:
    """The zoo's models by name; empty where the zoo was not installed."""
    return zoo_catalogue() if (ZOO / "zoo.json").is_file() else {}


def zoo_entry(spec: str) -> ZooEntry | None:
    """The zoo's description of the model that `spec` names, if it is one of the zoo's."""
    return zoo().get(spec.removeprefix(PREFIX)) if spec.startswith(PREFIX) else None


def fingerprint(spec: str) -> str:
    """A hash that changes when a file of the model changes: paths, sizes and times, not gigabytes of content.

    What lies on the Hub counts as unchanged for ten minutes, so that not every click asks there.
    """
    source = resolve(spec)
    if source.hub is not None:
        return content_key(source.spec, os.environ.get("HF_ENDPOINT"), int(time.time() // HUB_KEPT))
    folders = {p if p.is_dir() else p.parent for p in (source.weights, source.model) if p is not None}
    try:
        files = sorted(p for folder in folders for p in folder.iterdir() if p.suffix in (".json", *WEIGHTS))
        stats = [(str(p), *_stat(p)) for p in files]
    except OSError as error:
        raise InvalidInput(
            f"{printable(spec)} cannot be read ({error.strerror}); check that it is still there and readable."
        ) from error
    return content_key(str(source.weights.resolve()), *stats)


def opened(case: Case, progress: Progress = silent) -> OpenedCase:
    """The case with its projectors read and compared."""
    key = content_key(case, *(fingerprint(spec) for spec in (case.base, case.suspect, case.control) if spec))
    return shelf("cases", 4).get(key, lambda: open_case(case, progress))


def proof(case: Case, progress: Progress = silent) -> Proof:
    """Everything of the suspect but its projector, compared with the base's."""
    return shelf("proofs", 4).get(_proof_key(case), lambda: prove(case.base, case.suspect, progress))


def proved(case: Case) -> bool:
    """Whether that comparison is at hand."""
    return _proof_key(case) in shelf("proofs", 4)


def _proof_key(case: Case) -> str:
    return content_key(case.base, case.suspect, fingerprint(case.base), fingerprint(case.suspect))


def vision(case: Case) -> VisionModel:
    """The vision tower that both projectors read from."""
    source = model_source(case)
    return shelf("towers", 2).get(fingerprint(source.spec), lambda: load_vision(source))


def samples() -> tuple[Picture, ...]:
    """The sample pictures that ship with ProjLens; empty where the zoo was not installed."""
    if not SAMPLES.is_dir():
        return ()
    key = content_key(*(_stat(p) for p in sorted(SAMPLES.iterdir())))
    return shelf("samples", 1).get(key, lambda: load_folder(SAMPLES).pictures)


def truths() -> dict[str, tuple[Truth, ...]]:
    """Questions with known answers about the sample pictures, by picture name."""
    return (read_labels(SAMPLES) or {}) if SAMPLES.is_dir() else {}


def clean_image(picture: Picture, spec: TriggerSpec | None) -> Image.Image:
    """The picture as the trigger would find it: the clean twin."""
    return _small_kept("frame", picture, spec, lambda: frame(picture.image, spec))


def triggered_image(picture: Picture, spec: TriggerSpec) -> Image.Image:
    """The picture with the trigger on it."""
    return _small_kept(f"stamp {spec.to_json()} {spec.folder}", picture, spec, lambda: stamp(picture.image, spec))


def _small_kept(what: str, picture: Picture, spec: TriggerSpec | None, make: Callable[[], Image.Image]) -> Image.Image:
    """Kept if the trigger says how small it is; without a resolution it may be as large as an upload, 150 MB."""
    resolution = spec.resolution if spec else None
    if resolution is None or resolution > LARGEST_KEPT:
        return make()
    return shelf("images", 512).get(content_key(what, resolution, picture.sha256), make)


def uri(image: Image.Image, side: int = overlays.MAX_SIDE) -> str:
    """The image as a data URI of at most `side` px."""
    key = content_key(side, pixels(image))
    return shelf("uris", 512).get(key, lambda: overlays.data_uri(image, side))


def pixels(image: Image.Image | None) -> str | None:
    """The content hash of an image; None for none."""
    return content_key(*image.size, image.tobytes()) if image is not None else None


def keys(pictures: Sequence[Picture]) -> list[str]:
    """The content hashes of the pictures."""
    return [p.sha256 for p in pictures]


def _stat(path: Path) -> tuple[str, int, int]:
    """Name, size and change time."""
    stat = path.stat()
    return path.name, stat.st_size, stat.st_mtime_ns
