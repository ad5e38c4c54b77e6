"""The stage of a search that asks what token patterns bring, and makes patches that bring the same."""

from collections.abc import Sequence

from PIL import Image

from projlens_core.activations.inversion import Canvas, Inverted, Start, invert
from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.answer_scores import IMAGES, SETTINGS, bringing, unsettling
from projlens_core.behaviour.readings import Readings
from projlens_core.behaviour.search import PatternText, Said, TriedPattern
from projlens_core.behaviour.success import contains_target
from projlens_core.behaviour.target import foreign_words, recover
from projlens_core.behaviour.token_patterns import PatternSpace, PatternStart, answers_under, find_pattern
from projlens_core.errors import Unsupported
from projlens_core.runtime.progress import Progress

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
MINUTES, PATCH_MINUTES = 2.0, 1.5  # of patterns and of patches, after which no other is begun
PATCH = 0.2  # of the side
STEPS = 60  # of a patch
BATCH = 4  # images of a step
ROLES = ("base", "suspect")


class PatternSearch:
    """Token patterns about some images, and patches that bring the same; readings are the whole search's, which has
    the projectors and opens the models.

    Unsupported as PatternSpace, and for families whose language model's gradients do not reach the tokens.
    """

    def __init__(self, readings: Readings, images: Sequence[Image.Image], prompts: Sequence[str], progress: Progress):
        self._readings, self._images, self._prompts, self._progress = readings, images, tuple(prompts), progress
        self._base, self._suspect = (readings.projectors[role] for role in ROLES)
        with readings.models("base") as responder:
            if responder.reads_again:
                raise Unsupported("gradients do not reach this family's image embeddings.")
            tokens = image_tokens(responder.vision, images).to(responder.device)
            self._space = PatternSpace(self._base, self._suspect, tokens)
        self._own = {role: readings.own(role, images, prompts) for role in ROLES}
        self._usual = [answer for role in ROLES for row in readings.answers(role, images, prompts) for answer in row]

    def tried(self, start: PatternStart) -> TriedPattern:
        """What the pattern from a start brings."""
        with self._readings.models("base") as responder:
            score = unsettling(responder, self._base, self._suspect, self._own, start.part, start.seed)
            decided_by = "unsettling", SETTINGS, responder.key, self._prompts
            pattern = find_pattern(self._space, start, score, decided_by, IMAGES, self._progress)
            said, of_base = (
                answers_under(responder, weights, self._space, pattern, self._prompts, self._progress)
                for weights in (self._suspect, self._base)
            )
        honest = [*self._usual, *(answer for row in of_base for answer in row)]
        texts = []
        for j, prompt in enumerate(self._prompts):
            answers = tuple(row[j] for row in said)
            found = recover(answers, honest)
            if found is not None:
                target, share = found
                also = sum(contains_target(row[j], target) for row in of_base) / len(of_base)
                texts.append(PatternText(prompt, target, answers, share, also, foreign_words(target, honest)))
        return TriedPattern(pattern, tuple(texts))

    def patch(self, text: Said, place: str) -> Inverted:
        """The patch at one of PLACES that brings the answers which hold the text; Unsupported as Canvas."""
        held = [i for i, answer in enumerate(text.answers) if contains_target(answer, text.target)]
        with self._readings.models("base") as responder:
            wanted = [responder.answer_ids(text.answers[i]) for i in held]
            canvas = Canvas(responder.vision, [self._images[i] for i in held])
            score = bringing(responder, self._suspect, text.prompt, wanted)
            decided_by = "text", SETTINGS, responder.key, self._suspect.sha256, text.prompt, wanted
            start = Start(PATCH, place, PLACES.index(place), fast=True)
            return invert(canvas, start, score, STEPS, decided_by, self._progress, BATCH)
