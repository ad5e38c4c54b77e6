"""What was computed about a case, kept by content: analyses of samples and pictures, answers, batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from PIL import Image

from dashboard import batch, resources
from dashboard.batch import Batch
from dashboard.pickers import SetChoice
from projlens_core.activations.model import VisionModel
from projlens_core.activations.tokens import twin_tokens
from projlens_core.behaviour.respond import FourAnswers, four_answers, load_responder
from projlens_core.behaviour.responder import Responder
from projlens_core.behaviour.success import Outcome
from projlens_core.evidence import study
from projlens_core.evidence.case import Case, OpenedCase, model_source
from projlens_core.evidence.settings import settings
from projlens_core.evidence.study import Reference, Subject
from projlens_core.inputs.images import Picture
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.fifo_lock import FifoLock
from projlens_core.runtime.progress import Progress
from projlens_core.weights.projector import ProjectorWeights

LINE = FifoLock("the language model")


def sample_reference(
    case: OpenedCase, tower: VisionModel, spec: TriggerSpec | None, direction: str, progress: Progress
) -> Reference | None:
    """The samples under suspect and control: what one picture is judged against; None where there are no samples.

    Without a spec the samples are analysed clean only.
    """
    pictures = resources.samples()
    if not pictures:
        return None

    def make() -> Reference:
        clean = [resources.clean_image(p, spec) for p in pictures]
        triggered = None
        if spec is not None:
            triggered = []
            for done, picture in enumerate(pictures):
                progress("Stamping the trigger on the samples", done, len(pictures))
                triggered.append(resources.triggered_image(picture, spec))
        return study.reference(case, tower, clean, triggered, direction, progress)

    return resources.shelf("references", 2 * resources.CASES).get(
        reference_key(case, tower, spec, direction), make, progress
    )


@dataclass(frozen=True)
class SetTokens:
    """What the projectors read of a set of pictures, clean and triggered: (n, T, d_vision) each, in order of names."""

    names: tuple[str, ...]
    clean: torch.Tensor
    triggered: torch.Tensor


def set_tokens(tower: VisionModel, choice: SetChoice, progress: Progress) -> SetTokens:
    """The vision tower's tokens of the pictures and their triggered twins, each through the tower once, ever."""
    clean, triggered = [], []
    for done, picture in enumerate(choice.pictures):
        progress("Stamping the trigger", done, len(choice.pictures))
        clean.append(resources.clean_image(picture, choice.spec))
        triggered.append(resources.triggered_image(picture, choice.spec))
    return SetTokens(tuple(p.name for p in choice.pictures), *twin_tokens(tower, clean, triggered, progress))


def told(opened: OpenedCase, choice: SetChoice, **more: object) -> dict:
    """What decides the numbers of an analysis of a set, as its exhibit keeps it; `more`: what it alone is told."""
    return settings(opened.case, opened.projectors, choice.spec, len(choice.pictures), **more)


def subject(
    case: OpenedCase,
    tower: VisionModel,
    clean: Image.Image | None,
    triggered: Image.Image,
    spec: TriggerSpec | None,
    direction: str,
    progress: Progress,
) -> dict[str, Subject]:
    """One picture under suspect and control, along their direction from `sample_reference` if that is universal."""
    images = [resources.pixels(image) for image in (clean, triggered)]
    key = content_key(reference_key(case, tower, spec, direction), *images)

    def make() -> dict[str, Subject]:
        judged = sample_reference(case, tower, spec, direction, progress)
        return study.subject(case, tower, clean, triggered, direction, judged, progress)

    return resources.shelf("subjects", 512).get(key, make, progress)


def reference_key(case: OpenedCase, tower: VisionModel, spec: TriggerSpec | None, direction: str) -> str:
    """A hash of all that decides what the samples show: projectors, tower, trigger, direction, pictures."""
    projectors = [weights.sha256 for weights in case.projectors.values()]
    trigger = spec.key if spec else None
    return content_key(tower.key, projectors, trigger, direction, *resources.keys(resources.samples()))


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
    asked = (question, *(resources.pixels(image) for image in images))
    key = content_key(resources.model_key(opened.case), opened.base.sha256, opened.suspect.sha256, *asked)

    def make() -> FourAnswers:
        with language_model(opened.case, progress) as responder:
            return four_answers(
                responder,
                opened.base,
                opened.suspect,
                images[0],
                images[1] if clean else None,
                question,
                progress=progress,
            )

    kept = resources.shelf("answers", 256)
    return kept.get(key, make, progress) if ask or key in kept else None


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
    images = [(p.name, resources.clean_image(p, spec), resources.triggered_image(p, spec)) for p in pictures]
    known = resources.truths() if useful else None
    asked = (spec.key, question, target, repr(known), *resources.keys(pictures))
    outcomes = {}
    for role, weights in opened.projectors.items():

        def make(role: str = role, weights: ProjectorWeights = weights) -> Outcome:
            with language_model(opened.case, progress) as responder:
                return batch.run(responder, role, weights, images, question, target, known, progress)

        outcomes[role] = resources.shelf("outcomes", 32).get(
            content_key(resources.model_key(opened.case), weights.sha256, *asked), make, progress
        )
    return Batch(opened.case, question, target, spec.title, tuple(stamped for _, _, stamped in images), outcomes)


@contextmanager
def language_model(case: Case, progress: Progress) -> Iterator[Responder]:
    """The one loaded language model, for this session alone while it swaps projectors; others stand in line."""
    with LINE.turn(progress):
        yield resources.shelf("language models", 1).get(
            resources.model_key(case),
            lambda: resources.lasting(lambda: load_responder(model_source(case), progress=progress)),
        )
