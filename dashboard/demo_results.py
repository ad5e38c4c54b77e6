"""What the Demo page shows at each dose of a trigger, kept by content: images, shifts, answers."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from PIL import Image

from dashboard import resources, results
from dashboard.pickers import Choice
from projlens_core.activations.dose_shift import DoseShifts, dose_shifts, pointed
from projlens_core.activations.towers import Towers
from projlens_core.behaviour.respond import answers_by_role
from projlens_core.behaviour.robustness import ruler
from projlens_core.cases.case import OpenedCase
from projlens_core.cases.whose import BOTH
from projlens_core.inputs.doses import DoseAxis, dosed
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress, silent

STEP = 5  # % of the trigger between two doses of the slider
PERCENTS = tuple(range(0, 101, STEP))
ASKED = tuple(range(0, 101, 2 * STEP))  # at which the curve of answers is drawn, and finer around the flip
ROLES = ("base", "suspect")


def images(choice: Choice, axis: DoseAxis) -> tuple[Image.Image, ...]:
    """The image at every dose of PERCENTS."""
    key = content_key(choice.trigger.key, axis, choice.image.sha256)
    shelf = resources.shelf("doses", 32, resources.IMAGES)
    return shelf.get(key, lambda: tuple(dosed(choice.image.pixels, choice.trigger, axis, p / 100) for p in PERCENTS))


def shifts(opened: OpenedCase, tower: Towers, choice: Choice, axis: DoseAxis, progress: Progress) -> DoseShifts:
    """The image's shift at every dose, along the drift direction of the samples or, without any, its own."""
    shown = images(choice, axis)

    def make() -> DoseShifts:
        projectors = {role: weights for role, weights in opened.projectors.items() if role != "base"}
        doses = [percent / 100 for percent in PERCENTS]
        vector = _ruler(opened, tower, choice, progress)
        return dose_shifts(opened.base, projectors, tower, shown, doses, vector, progress)

    reference = results.reference_key(opened, tower, choice.spec, "universal")
    return resources.shelf("dose shifts", 64).get(content_key(reference, axis, choice.image.sha256), make, progress)


def _ruler(opened: OpenedCase, tower: Towers, choice: Choice, progress: Progress) -> torch.Tensor:
    reference = results.sample_reference(opened, tower, choice.spec, "universal", progress)
    if reference is None:
        return ruler(opened.base, opened.suspect, tower, [choice.image.pixels], choice.trigger, progress)
    return pointed(reference.by_role["suspect"])


class Asking:
    """One question put to base and suspect about any image; every pair of answers is kept."""

    def __init__(self, opened: OpenedCase, question: str):
        self._case, self._question = opened.case, question
        self._projectors = {role: opened.projectors[role] for role in ROLES}
        hashes = [(resources.run_key(opened.case, role), w.sha256) for role, w in self._projectors.items()]
        self._key = content_key(hashes, question)
        self._kept = resources.shelf("dose answers", 1024)

    def known(self, images: Mapping[int, Image.Image]) -> dict[int, dict[str, str]]:
        """The answers by role about those images that were asked about before, under their numbers."""
        return {n: self.ask(image, silent) for n, image in images.items() if self._about(image) in self._kept}

    def ask(
        self, image: Image.Image, progress: Progress, heard: Callable[[str, str], None] | None = None
    ) -> dict[str, str]:
        """The answers by role; heard is told (role, answer so far) token by token, where they are given now."""

        def make() -> dict[str, str]:
            found = resources.whose(self._case, BOTH, progress)
            owners = {role: found.owner(role) for role in ROLES}
            models = partial(results.language_model, self._case, progress)
            passed_on = None if heard is None else lambda role, _, text: heard(role, text)
            asked = (owners, models, self._projectors, [image], self._question)
            texts, _ = answers_by_role(*asked, progress=progress, heard=passed_on)
            return {role: answers[0] for role, answers in texts.items()}

        return self._kept.get(self._about(image), make, progress)

    def _about(self, image: Image.Image) -> str:
        return content_key(self._key, resources.pixels(image))
