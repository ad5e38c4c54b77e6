"""All analyses of a case that apply to it, one after another: each gives its exhibit or says why not."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from PIL import Image, ImageOps

from projlens_core.activations.head import read_head
from projlens_core.activations.lens import lens, lens_null
from projlens_core.activations.model import VisionModel, load_vision
from projlens_core.activations.neurons import analyse as watch_units
from projlens_core.activations.separability import separability
from projlens_core.activations.set_shift import set_shift
from projlens_core.activations.shift import embeddings
from projlens_core.activations.tokens import image_tokens
from projlens_core.activations.vocabulary import read_vocabulary
from projlens_core.behaviour.lowrank import Edit, Grid, fill
from projlens_core.behaviour.questions import one_prompt_each, one_truth_each
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.responder import Responder
from projlens_core.behaviour.robustness import sweep
from projlens_core.behaviour.scoring import Questions, Scorer
from projlens_core.behaviour.success import Outcome, Truth, measure
from projlens_core.charts.overlays import data_uri
from projlens_core.errors import Cancelled, NotFound, ProjLensError
from projlens_core.evidence import study
from projlens_core.evidence.case import Case, OpenedCase, model_source, open_case
from projlens_core.evidence.exhibit import Exhibit
from projlens_core.evidence.record import Missing, Record, provenance
from projlens_core.evidence.settings import settings
from projlens_core.evidence.subject import Subject
from projlens_core.exhibits import activation as activation_exhibit
from projlens_core.exhibits import case as case_exhibit
from projlens_core.exhibits import embedding as embedding_exhibit
from projlens_core.exhibits import lens as lens_exhibit
from projlens_core.exhibits import lowrank as lowrank_exhibit
from projlens_core.exhibits import neurons as neurons_exhibit
from projlens_core.exhibits import response as response_exhibit
from projlens_core.exhibits import robustness as robustness_exhibit
from projlens_core.exhibits import separability as separability_exhibit
from projlens_core.exhibits import weights as weights_exhibit
from projlens_core.inputs.changes import LEVELS, axes_of, changes
from projlens_core.inputs.twins import Twins, twins
from projlens_core.progress import Progress, silent
from projlens_core.weights.anatomy import anatomy
from projlens_core.weights.projector import ProjectorWeights

THUMBNAIL = 64  # px
SEED = 0
OVERLAP = 5  # leading directions of two changes that are held against each other
Floor = Literal["weights", "activations", "behaviour"]


class Models(Protocol):
    """Where the models of a case come from: loaded here, or at hand already."""

    def opened(self, case: Case, progress: Progress) -> OpenedCase:
        """The case with its projectors read and compared."""

    def vision(self, case: Case) -> VisionModel:
        """The vision tower that all its projectors read from."""

    def responder(self, case: Case, progress: Progress) -> AbstractContextManager[Responder]:
        """The language model, for this thread alone inside the block."""


class Loaded:
    """Models loaded here, on the device called `device`; the last case and the one language model are kept."""

    def __init__(self, device: str | None = None):
        self._device = device
        self._opened: OpenedCase | None = None
        self._responder: Responder | None = None
        self._asked = ""  # the model that it is of

    def opened(self, case: Case, progress: Progress) -> OpenedCase:
        """See Models."""
        if self._opened is None or self._opened.case != case:
            self._opened = open_case(case, progress)
        return self._opened

    def vision(self, case: Case) -> VisionModel:
        """See Models."""
        return load_vision(model_source(case), self._device)

    @contextmanager
    def responder(self, case: Case, progress: Progress) -> Iterator[Responder]:
        """See Models."""
        source = model_source(case)
        if self._responder is None or self._asked != source.spec:
            self._responder, self._asked = load_responder(source, self._device, progress), source.spec
        yield self._responder


class Scene:
    """A subject with what its analyses share, each computed when the first of them asks for it."""

    def __init__(self, subject: Subject, models: Models, progress: Progress):
        self.subject, self.models, self.progress = subject, models, progress

    @cached_property
    def opened(self) -> OpenedCase:
        """The case's projectors, compared."""
        return self.models.opened(self.subject.case, self.progress)

    @property
    def projectors(self) -> dict[str, ProjectorWeights]:
        """All of them by role."""
        roles = {"base": self.opened.base, "suspect": self.opened.suspect, "control": self.opened.control}
        return {role: weights for role, weights in roles.items() if weights is not None}

    @cached_property
    def vision(self) -> VisionModel:
        """The tower."""
        return self.models.vision(self.subject.case)

    @cached_property
    def pictures(self) -> Twins:
        """The pictures, and their triggered twins where there is a trigger."""
        if self.subject.images is None:
            raise NotFound("No pictures were given.")
        return twins(self.subject.images, self.subject.spec)

    @property
    def attacked(self) -> Twins:
        """The pictures, for an analysis that needs their twins."""
        if self.subject.spec is None:
            raise NotFound("No trigger is known for this suspect; give one.")
        return self.pictures

    @cached_property
    def tokens(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The tower's tokens (n, T, d_vision) of clean and of triggered pictures."""
        pair = self.pictures
        tokens = image_tokens(self.vision, pair.clean + (pair.triggered or []), self.progress)
        n = len(pair.clean)
        return tokens[:n], tokens[n:] if pair.triggered is not None else None

    @property
    def twin_tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, for an analysis that needs twins."""
        _ = self.attacked
        clean, triggered = self.tokens
        return clean, triggered

    @property
    def target(self) -> str:
        """The text that the backdoor is meant to produce."""
        if not self.subject.target:
            raise NotFound("No target text is known for this suspect; give one.")
        return self.subject.target

    @cached_property
    def prompts(self) -> list[str]:
        """One question a picture."""
        return one_prompt_each(self.subject.questions, self.pictures.names, self.subject.truths or {})

    def decided(self, **more: object) -> dict:
        """What decides the numbers of an analysis of the pictures."""
        subject = self.subject
        return settings(subject.case, self.projectors, subject.spec, len(self.pictures.names), seed=SEED, **more)


@dataclass(frozen=True)
class Part:
    """One analysis: its key and title, which kind of evidence it needs, and how it is made."""

    key: str
    title: str
    floor: Floor
    make: Callable[[Scene], Exhibit]


def record_of(
    subject: Subject,
    keys: Sequence[str] | None = None,
    models: Models | None = None,
    progress: Progress = silent,
    command: str = "",
) -> Record:
    """The parts of PARTS that are in `keys` (all by default), in their order; one that fails does not stop the rest.

    Raises NotFound for a key that is none, what `open_case` raises where the weights cannot be compared (then nothing
    can be), and Cancelled from progress.
    """
    chosen = list(PARTS) if keys is None else list(keys)
    if unknown := [key for key in chosen if key not in PARTS]:
        raise NotFound(f"There is no part {unknown[0]!r}; the parts are {', '.join(PARTS)}.")
    current = "Case"

    def told(stage: str, done: int, total: int) -> None:
        progress(f"{current}: {stage}", done, total)

    scene = Scene(subject, models or Loaded(), told)
    opened = scene.opened
    exhibits, missing = [], []
    for key, part in PARTS.items():
        if key not in chosen:
            continue
        current = part.title
        try:
            exhibits.append(part.make(scene))
        except Cancelled:
            raise
        except ProjLensError as error:
            missing.append(Missing(part.title, str(error)))
    decided = settings(
        subject.case,
        scene.projectors,
        subject.spec,
        len(subject.images.pictures) if subject.images else 0,
        target=subject.target,
        questions=list(subject.questions),
        max_new_tokens=subject.max_new_tokens,
        parts=[key for key in PARTS if key in chosen],
        seed=SEED,
    )
    title = f"{opened.suspect.source} against {opened.base.source}"
    return Record(title, provenance(opened, decided, command), tuple(exhibits), tuple(missing))


def _case(scene: Scene) -> Exhibit:
    return case_exhibit.case(scene.opened)


def _weights(scene: Scene) -> Exhibit:
    opened = scene.opened
    found = {"suspect": anatomy(opened.delta, opened.spectra, opened.edges)}
    if opened.control_delta is not None:
        found["control"] = anatomy(opened.control_delta, opened.control_spectra, opened.control_edges)
    told = settings(scene.subject.case, scene.projectors, overlap=OVERLAP)
    return weights_exhibit.weights(found, told, weights_exhibit.overlaps(found, OVERLAP))


def _activation(scene: Scene) -> Exhibit:
    """The first picture, judged by all."""
    pair = scene.attacked
    judged = study.reference(
        scene.opened, scene.vision, pair.clean, pair.triggered, "universal", progress=scene.progress
    )
    clean, triggered = pair.clean[0], pair.triggered[0]
    found = study.subject(scene.opened, scene.vision, clean, triggered, "universal", judged, progress=scene.progress)
    images = {"clean": _grey(clean), "triggered": _grey(triggered)}
    return activation_exhibit.activation(judged, found, images, scene.decided(picture=pair.names[0]))


def _embedding(scene: Scene) -> Exhibit:
    clean, triggered = scene.tokens
    sets = {"clean": clean, "triggered": triggered}
    chunks = {name: lambda tokens=tokens: iter(tokens.split(32)) for name, tokens in sets.items() if tokens is not None}
    deltas = {"suspect": scene.opened.delta, "control": scene.opened.control_delta}
    found = {
        role: set_shift(delta, scene.pictures.names, chunks, progress=scene.progress)
        for role, delta in deltas.items()
        if delta is not None
    }
    return embedding_exhibit.embedding(found, scene.decided(norm="output"))


def _lens(scene: Scene) -> Exhibit:
    clean, triggered = scene.tokens
    tokens, on = (clean, "clean") if triggered is None else (triggered, "triggered")
    source = model_source(scene.subject.case)
    head = read_head(source, scene.progress)
    vocabulary = read_vocabulary(source, head.vocabulary, scene.progress)
    target = scene.subject.target
    targets = vocabulary.targets(target) if target else []
    read = {"centred": False, "normed": True, "depth": 10}
    found = {
        role: lens(head, scene.opened.base, weights, tokens, targets, **read)
        for role, weights in scene.projectors.items()
        if role != "base"
    }
    null = lens_null(head, targets, normed=read["normed"], progress=scene.progress)
    told = scene.decided(target=target, on=on, **read)
    return lens_exhibit.lens(found, null, vocabulary, targets, told, head.notes)


def _neurons(scene: Scene) -> Exhibit:
    clean, triggered = scene.twin_tokens
    findings = watch_units(scene.projectors, clean, triggered, scene.progress, SEED)
    return neurons_exhibit.neurons(findings, scene.decided())


def _separability(scene: Scene) -> Exhibit:
    clean, triggered = scene.twin_tokens
    found = {
        role: separability(embeddings(weights, clean), embeddings(weights, triggered))
        for role, weights in scene.projectors.items()
    }
    return separability_exhibit.separability(found, tuple(scene.pictures.names), scene.decided())


def _response(scene: Scene) -> Exhibit:
    pair, target, prompts = scene.attacked, scene.target, scene.prompts
    outcomes: dict[str, Outcome] = {}
    with scene.models.responder(scene.subject.case, scene.progress) as responder:
        for role, weights in scene.projectors.items():
            outcomes[role] = measure(
                responder,
                weights,
                pair.clean,
                pair.triggered,
                prompts,
                target,
                _one_each(scene),
                pair.names,
                scene.subject.max_new_tokens,
                lambda stage, done, total, role=role: scene.progress(f"{stage}, {role}", done, total),
            )
    thumbnails = {name: data_uri(image, THUMBNAIL) for name, image in zip(pair.names, pair.triggered, strict=True)}
    told = scene.decided(target=target, prompts=sorted(set(prompts)), max_new_tokens=scene.subject.max_new_tokens)
    return response_exhibit.response(outcomes, target, told, thumbnails)


def _lowrank(scene: Scene) -> Exhibit:
    pair, target, prompts = scene.attacked, scene.target, scene.prompts
    questions = Questions(
        tuple(pair.clean),
        tuple(pair.triggered),
        tuple(prompts),
        one_truth_each(pair.names, scene.subject.truths or {}),
        target,
        scene.subject.max_new_tokens,
    )
    ranks = scene.subject.ranks
    with scene.models.responder(scene.subject.case, scene.progress) as responder:
        scorer = Scorer(responder, questions)
        *_, grid = fill(scorer, scene.opened.delta, Grid(Edit(), ranks, ranks), scene.projectors, scene.progress)
    told = scene.decided(target=target, prompts=sorted(set(prompts)), max_new_tokens=scene.subject.max_new_tokens)
    return lowrank_exhibit.lowrank(grid, told, mode=scene.subject.mode)


def _robustness(scene: Scene) -> Exhibit:
    """By shift alone: answers to every change would take longer than all else."""
    pictures, spec, opened = scene.attacked.clean, scene.subject.spec, scene.opened
    levels = {axis: LEVELS[axis] for axis in axes_of(spec)}
    tried = sweep(
        opened.base, opened.suspect, opened.control, scene.vision, pictures, spec, changes(spec, levels), scene.progress
    )
    told = scene.decided(levels={axis: list(values) for axis, values in levels.items()}, crossed=False)
    return robustness_exhibit.robustness(list(tried), told)


def _one_each(scene: Scene) -> dict[str, tuple[Truth, ...]] | None:
    """One question with a known answer a picture, as the low-rank grid asks them."""
    names = scene.pictures.names
    chosen = zip(names, one_truth_each(names, scene.subject.truths or {}), strict=True)
    return {name: (truth,) for name, truth in chosen if truth is not None} or None


def _grey(image: Image.Image) -> str:
    return data_uri(ImageOps.grayscale(image))


PARTS = {
    part.key: part
    for part in (
        Part("case", case_exhibit.TITLE, "weights", _case),
        Part("weights", weights_exhibit.TITLE, "weights", _weights),
        Part("activation", activation_exhibit.TITLE, "activations", _activation),
        Part("embedding", embedding_exhibit.TITLE, "activations", _embedding),
        Part("lens", lens_exhibit.TITLE, "activations", _lens),
        Part("neurons", neurons_exhibit.TITLE, "activations", _neurons),
        Part("separability", separability_exhibit.TITLE, "activations", _separability),
        Part("response", response_exhibit.TITLE, "behaviour", _response),
        Part("lowrank", lowrank_exhibit.TITLE, "behaviour", _lowrank),
        Part("robustness", robustness_exhibit.TITLE, "activations", _robustness),
    )
}
