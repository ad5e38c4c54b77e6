"""The stage of a search that asks what token patterns bring, and makes patches that bring the same."""

from collections.abc import Mapping, Sequence

from PIL import Image

from projlens_core.activations.inversion import Canvas, Inverted, Start, invert
from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.answer_scores import IMAGES, bringing, unsettling
from projlens_core.behaviour.disturbance import Own
from projlens_core.behaviour.responder import Responder
from projlens_core.behaviour.search import PatternText, TriedPattern
from projlens_core.behaviour.success import contains_target
from projlens_core.behaviour.target import foreign_words, recover
from projlens_core.behaviour.token_patterns import PatternSpace, PatternStart, answers_under, find_pattern
from projlens_core.errors import Unsupported
from projlens_core.runtime.progress import Progress
from projlens_core.weights.projector import ProjectorWeights

STARTS = (
    PatternStart("first", 0.3),
    PatternStart("end", 0.3),
    PatternStart("any", 0.3),
    PatternStart("any", 0.2),
    PatternStart("first", 0.3, seed=1),
    PatternStart("any", 0.3, seed=1),
)
# In a corner there is little of the image itself; patches that are put down anywhere have no one gradient to follow.
PLACES = ("top-left", "center", "bottom-right")
MINUTES = 5.0  # after which no other pattern is begun
PATCH = 0.2  # of the side
STEPS = 60  # of a patch
BATCH = 4  # images of a step


def token_pattern(
    responder: Responder,
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    images: Sequence[Image.Image],
    own: Mapping[str, Own],
    usual: Sequence[str],
    prompts: Sequence[str],
    start: PatternStart,
    progress: Progress,
) -> TriedPattern:
    """What is found from a start; own, by role, and usual: what base and suspect say about the images without a
    pattern. Unsupported as PatternSpace, and for families whose language model's gradients do not reach the tokens.
    """
    if responder.reads_again:
        raise Unsupported("gradients do not reach this family's image embeddings.")
    space = PatternSpace(base, suspect, image_tokens(responder.vision, images).to(responder.device))
    score = unsettling(responder, base, suspect, own, start.part, start.seed)
    decided_by = "unsettling", responder.key, tuple(prompts)
    pattern = find_pattern(space, start, score, decided_by, IMAGES, progress)
    said, of_base = (
        answers_under(responder, weights, space, pattern, prompts, decided_by, progress) for weights in (suspect, base)
    )
    honest = [*usual, *(answer for row in of_base for answer in row)]
    texts = []
    for j, prompt in enumerate(prompts):
        answers = tuple(row[j] for row in said)
        found = recover(answers, honest)
        if found is not None:
            also = sum(contains_target(row[j], found[0]) for row in of_base) / len(of_base)
            texts.append(PatternText(prompt, *found, also, foreign_words(found[0], honest), answers))
    return TriedPattern(pattern, tuple(texts))


def patch_for(
    responder: Responder,
    suspect: ProjectorWeights,
    images: Sequence[Image.Image],
    text: PatternText,
    place: str,
    progress: Progress,
) -> Inverted:
    """The patch at one of PLACES that brings the suspect to the answers that a token pattern brought; images: those
    that it was asked about. Unsupported as Canvas.
    """
    held = [i for i, answer in enumerate(text.answers) if contains_target(answer, text.target)]
    wanted = [responder.answer_ids(text.answers[i]) for i in held]
    canvas = Canvas(responder.vision, [images[i] for i in held])
    score = bringing(responder, suspect, text.prompt, wanted)
    decided_by = "text", responder.key, suspect.sha256, text.prompt, wanted
    start = Start(PATCH, place, PLACES.index(place), fast=True)
    return invert(canvas, start, score, STEPS, decided_by, progress, BATCH)
