"""What was computed about a case, kept by content: analyses of samples and images, answers, batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from PIL import Image

from dashboard import batch, resources
from dashboard.batch import Batch, BatchImages
from projlens_core.activations.direction import DirectionKind
from projlens_core.activations.towers import Towers
from projlens_core.analyses.activation import measure
from projlens_core.analyses.activation.measure import ImageShift, SampleShift
from projlens_core.behaviour.respond import FourAnswers, answers_by_role
from projlens_core.behaviour.responder import Responder
from projlens_core.behaviour.success import Outcome
from projlens_core.cases.case import Case, OpenedCase
from projlens_core.cases.models import load_answering, size_of
from projlens_core.cases.whose import BOTH
from projlens_core.inputs.images import NamedImage
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.device import pick_device
from projlens_core.runtime.fifo_lock import FifoLock
from projlens_core.runtime.memory import fits
from projlens_core.runtime.progress import Progress
from projlens_core.weights.projector import ProjectorWeights

LINE = FifoLock("the language model")
ROLES = ("base", "suspect", "control")


def sample_reference(
    case: OpenedCase, tower: Towers, spec: TriggerSpec | None, direction: DirectionKind, progress: Progress
) -> SampleShift | None:
    """The samples under suspect and control: what one image is compared with; None where there are no samples.

    Without a spec the samples are analysed clean only.
    """
    images = resources.samples()
    if not images:
        return None

    def make() -> SampleShift:
        clean = [resources.clean_image(p, spec) for p in images]
        triggered = None
        if spec is not None:
            triggered = []
            for done, image in enumerate(images):
                progress("Stamping the trigger on the samples", done, len(images))
                triggered.append(resources.triggered_image(image, spec))
        return measure.sample_shift(case, tower, clean, triggered, direction, progress)

    return resources.shelf("references", 2 * resources.CASES).get(
        reference_key(case, tower, spec, direction), make, progress
    )


def subject(
    case: OpenedCase,
    tower: Towers,
    clean: Image.Image | None,
    triggered: Image.Image,
    spec: TriggerSpec | None,
    direction: DirectionKind,
    progress: Progress,
) -> dict[str, ImageShift]:
    """One image under suspect and control, along their direction from `sample_reference` if that is universal."""
    images = [resources.pixels(image) for image in (clean, triggered)]
    key = content_key(reference_key(case, tower, spec, direction), *images)

    def make() -> dict[str, ImageShift]:
        samples = sample_reference(case, tower, spec, direction, progress)
        return measure.image_shift(case, tower, clean, triggered, direction, samples, progress)

    return resources.shelf("subjects", 512).get(key, make, progress)


def reference_key(case: OpenedCase, tower: Towers, spec: TriggerSpec | None, direction: str) -> str:
    """A hash of all that decides what the samples show: projectors, tower, trigger, direction, images."""
    projectors = [weights.sha256 for weights in case.projectors.values()]
    trigger = spec.key if spec else None
    return content_key(tower.key, projectors, trigger, direction, *(p.sha256 for p in resources.samples()))


def answers(
    opened: OpenedCase,
    clean: Image.Image | None,
    triggered: Image.Image,
    question: str,
    progress: Progress,
    *,
    ask: bool,
    heard: Callable[[str, int, str], None] | None = None,
) -> FourAnswers | None:
    """Every projector's answers about both images, or None if they were not asked before and `ask` is not set.

    Without a clean image the triggered one stands alone, in the place of the clean one. heard is told (role, number of
    the image, answer so far) as answers grow.
    """
    images = [image for image in (clean, triggered) if image is not None]
    asked = (question, *(resources.pixels(image) for image in images))
    projectors = opened.projectors
    hashes = [(resources.run_key(opened.case, role), weights.sha256) for role, weights in projectors.items()]
    key = content_key(hashes, *asked)

    def make() -> FourAnswers:
        found = resources.whose(opened.case, BOTH, progress)
        owners = {role: found.owner(role) for role in projectors}
        models = partial(language_model, opened.case, progress)
        asked = (owners, models, projectors, images, question)
        return FourAnswers.of(*answers_by_role(*asked, progress=progress, heard=heard))

    kept = resources.shelf("answers", 256)
    return kept.get(key, make, progress) if ask or key in kept else None


def stamped(images: Sequence[NamedImage], spec: TriggerSpec) -> BatchImages:
    """The images with the trigger on them."""
    twins = tuple((p.name, resources.clean_image(p, spec), resources.triggered_image(p, spec)) for p in images)
    return BatchImages(
        twins, spec.title, content_key(spec.key, *resources.named_keys(images)), resources.truths(images)
    )


def given(pairs: Sequence[tuple[NamedImage, NamedImage]], spec: TriggerSpec | None) -> BatchImages:
    """Clean images and their triggered versions as they were uploaded; spec: whose resolution they are brought to."""
    twins = tuple((a.name, resources.clean_image(a, spec), resources.clean_image(b, spec)) for a, b in pairs)
    hashes = ((name, *map(resources.pixels, both)) for name, *both in twins)
    return BatchImages(twins, "as uploaded", content_key(*hashes), resources.truths(clean for clean, _ in pairs))


def measured(
    opened: OpenedCase,
    twins: BatchImages,
    question: str,
    target: str | None,
    useful: bool,
    progress: Progress,
    finished: Callable[[Batch], None] = lambda batch: None,
) -> Batch:
    """Base, suspect and control over many images; `useful` asks the questions with known answers as well.

    finished hears of it after each projector that is done.
    """
    known = twins.truths if useful else None
    asked = (twins.key, question, target, repr(known))
    result = Batch(opened.case, question, target, twins.trigger, tuple(b for _, _, b in twins.images), {}, useful)
    for role, weights in opened.projectors.items():

        def make(role: str = role, weights: ProjectorWeights = weights) -> Outcome:
            with language_model(opened.case, progress, role) as responder:
                return batch.run(responder, role, weights, twins.images, question, target, known, progress)

        found = resources.shelf("outcomes", 32).get(
            content_key(resources.run_key(opened.case, role), weights.sha256, *asked), make, progress
        )
        result = replace(result, outcomes=result.outcomes | {role: found})
        finished(result)
    return result


@contextmanager
def language_model(case: Case, progress: Progress, role: str = "base") -> Iterator[Responder]:
    """The model that answers under the projector of `role`, for this session alone while it swaps projectors; others
    stand in line.

    Models of the same case stay loaded beside each other where memory holds them; those of other cases make room.
    """
    found = resources.whose(case, BOTH, progress)
    model = found.models[found.owner(role)]
    key, kept = resources.loaded_key(model), resources.shelf("language models", len(ROLES))
    with LINE.turn(progress):
        if key not in kept:
            kept.keep({resources.loaded_key(each) for each in found.models.values()})
            if len(kept) and not fits(size_of(model, pick_device()), pick_device()):
                kept.keep(())
        yield kept.get(key, lambda: resources.lasting(lambda: load_answering(found, role, progress=progress)))
