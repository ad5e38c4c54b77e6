"""Everything kept between reruns and sessions: models, opened cases, analyses. The only st.cache_* of the dashboard.

Each thing lies on a bounded shelf under a hash of what it was made from: of contents where they are in memory, of
path, size and change time where hashing gigabytes would cost more than what is kept. st.cache_resource holds only
the shelves: a function under it could not report progress while it computes.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import streamlit as st
from PIL import Image

from dashboard import batch, overlays
from dashboard.batch import Batch
from dashboard.study import Reference, reference
from projlens_core.activations.model import VisionModel, load_vision
from projlens_core.behaviour.respond import FourAnswers, Responder, four_answers, load_responder
from projlens_core.behaviour.success import Outcome, Truth, read_labels
from projlens_core.cache import content_key
from projlens_core.errors import Unsupported
from projlens_core.evidence.case import Case, OpenedCase, open_case
from projlens_core.inputs.images import Picture, load_folder
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.paths import ZOO
from projlens_core.progress import Progress, silent
from projlens_core.sources import PREFIX, Source, ZooEntry, resolve, zoo_catalogue
from projlens_core.weights.projector import ProjectorWeights

SAMPLES = ZOO / "samples"
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


@st.cache_resource(max_entries=16, show_spinner=False)
def shelf(name: str, size: int) -> Shelf:
    """The shelf called `name`, one for the whole process."""
    return Shelf(size)


@st.cache_resource(max_entries=1, show_spinner=False)
def _model_lock() -> threading.Lock:
    return threading.Lock()


def zoo() -> dict[str, ZooEntry]:
    """The zoo's models by name; empty where the zoo was not installed."""
    return zoo_catalogue() if (ZOO / "zoo.json").is_file() else {}


def zoo_entry(spec: str) -> ZooEntry | None:
    """The zoo's description of the model that `spec` names, if it is one of the zoo's."""
    return zoo().get(spec.removeprefix(PREFIX)) if spec.startswith(PREFIX) else None


def fingerprint(spec: str) -> str:
    """A hash that changes when a file of the model changes: paths, sizes and times, not gigabytes of content."""
    source = resolve(spec)
    folders = {p if p.is_dir() else p.parent for p in (source.weights, source.model) if p is not None}
    files = sorted(p for folder in folders for p in folder.iterdir() if p.suffix in (".json", ".safetensors"))
    stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return content_key(str(source.weights.resolve()), *stats)


def opened(case: Case, progress: Progress = silent) -> OpenedCase:
    """The case with its projectors read and compared."""
    key = content_key(*(fingerprint(spec) if spec else None for spec in (case.base, case.suspect, case.control)))
    return shelf("cases", 6).get(key, lambda: open_case(case, progress))


def model_source(case: Case) -> Source:
    """Whose vision tower and language model are run: base's, or the suspect's if base is a lone projector file."""
    for spec in (case.base, case.suspect):
        source = resolve(spec)
        if source.model is not None:
            return source
    raise Unsupported(
        "Neither base nor suspect comes with a model around its projector, so nothing can be run; "
        "give at least one of them as a checkpoint folder with config.json."
    )


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
    key = content_key("frame", picture.sha256, spec.resolution if spec else None)
    return shelf("images", 512).get(key, lambda: frame(picture.image, spec))


def triggered_image(picture: Picture, spec: TriggerSpec) -> Image.Image:
    """The picture with the trigger on it."""
    key = content_key("stamp", picture.sha256, spec.to_json(), str(spec.folder))
    return shelf("images", 512).get(key, lambda: stamp(picture.image, spec))


def uri(image: Image.Image, side: int = overlays.MAX_SIDE) -> str:
    """The image as a data URI of at most `side` px."""
    key = content_key(side, *image.size, image.tobytes())
    return shelf("uris", 512).get(key, lambda: overlays.data_uri(image, side))


def sample_reference(
    case: OpenedCase, tower: VisionModel, spec: TriggerSpec | None, direction: str, progress: Progress
) -> Reference:
    """The samples under suspect and control: what one picture is judged against. Without a spec, clean only."""
    pictures = samples()
    control = case.control.sha256 if case.control else None
    trigger = (spec.to_json(), str(spec.folder)) if spec else None
    key = content_key(
        tower.key, case.base.sha256, case.suspect.sha256, control, trigger, direction, *(p.sha256 for p in pictures)
    )

    def make() -> Reference:
        clean = [clean_image(p, spec) for p in pictures]
        triggered = None
        if spec is not None:
            triggered = []
            for done, picture in enumerate(pictures):
                progress("Stamping the trigger on the samples", done, len(pictures))
                triggered.append(triggered_image(picture, spec))
        return reference(case, tower, clean, triggered, direction, progress)

    return shelf("references", 12).get(key, make)


def answers(
    opened: OpenedCase,
    clean: Image.Image | None,
    triggered: Image.Image,
    question: str,
    progress: Progress,
    *,
    ask: bool,
) -> FourAnswers | None:
    """Base's and suspect's answers about both images, or None if they were not asked before and `ask` is not set.

    Without a clean image the triggered one stands alone, in the place of the clean one.
    """
    images = [image for image in (clean, triggered) if image is not None]
    pixels = [part for image in images for part in (image.size, image.tobytes())]
    key = content_key(_model(opened.case), opened.base.sha256, opened.suspect.sha256, question, *pixels)

    def make() -> FourAnswers:
        with _responder(opened.case, progress) as responder:
            return four_answers(
                responder,
                opened.base,
                opened.suspect,
                images[0],
                images[1] if clean else None,
                question,
                progress=progress,
            )

    kept = shelf("answers", 256)
    return kept.get(key, make) if ask or key in kept else None


def measured(
    opened: OpenedCase,
    spec: TriggerSpec,
    pictures: Sequence[Picture],
    question: str,
    target: str,
    useful: bool,
    progress: Progress,
) -> Batch:
    """Base, suspect and control over many pictures; `useful` asks the questions with known answers as well."""
    images = [(p.name, clean_image(p, spec), triggered_image(p, spec)) for p in pictures]
    known = truths() if useful else None
    asked = (spec.to_json(), str(spec.folder), question, target, repr(known), *keys(pictures))
    outcomes = {}
    for role, weights in batch.projectors(opened).items():

        def make(role: str = role, weights: ProjectorWeights = weights) -> Outcome:
            with _responder(opened.case, progress) as responder:
                return batch.run(responder, role, weights, images, question, target, known, progress)

        outcomes[role] = shelf("outcomes", 32).get(content_key(_model(opened.case), weights.sha256, *asked), make)
    return Batch(opened.case, question, target, spec.title, tuple(stamped for _, _, stamped in images), outcomes)


def _model(case: Case) -> str:
    return fingerprint(model_source(case).spec)


@contextmanager
def _responder(case: Case, progress: Progress) -> Iterator[Responder]:
    """The one loaded language model, for this session alone while it swaps projectors; others see that they wait."""
    lock = _model_lock()
    while not lock.acquire(timeout=0.5):
        progress("Waiting for another session to finish with the language model", 0, 1)
    try:
        source = model_source(case)
        yield shelf("language models", 1).get(_model(case), lambda: load_responder(source, progress=progress))
    finally:
        lock.release()


def _stat(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return path.name, stat.st_size, stat.st_mtime_ns


def keys(pictures: Sequence[Picture]) -> list[str]:
    """The content hashes of the pictures."""
    return [p.sha256 for p in pictures]
