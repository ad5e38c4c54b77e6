"""What a repair is given: the projectors, the model that answers, images, questions, and what is known of a trigger."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from PIL import Image

from projlens_core.activations.tokens import image_tokens
from projlens_core.activations.vision import VisionTower
from projlens_core.behaviour.responder import Responder
from projlens_core.behaviour.success import Truth, contains_target
from projlens_core.errors import InvalidInput
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import frame
from projlens_core.repair.form import Form
from projlens_core.repair.token_steps import Tokens
from projlens_core.repair.utility import Known
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights

REPAIRED, FRESH, LEAST = 24, 35, 4  # images that are stamped at most; of a confirmation; of both together at least
CHECKS, KEPT = 48, 200  # further images at most: on which rounds are judged, and whose embeddings are kept
ASKED = 4  # questions about each image by which rounds are judged, where there are as many
FEW_CHECKS = 12  # below this rounds are judged on the images that are stamped
LEAST_USED = 13  # of the first, where there are twice as many: those that the verdict's search needs
PROBES = 12  # generic triggers, drawn from the bank
TRIED = 10  # images on which an attack is tried between rounds
WORKS = 0.1  # share of answers with the target above which it still works
NEW_TOKENS = 32
AT_ONCE = 32  # images whose tokens are read together


@dataclass(frozen=True)
class KnownAttack:
    """A trigger, a question and the text that it brings; origin: "given" by the user, or "found" by a search."""

    probe: Probe
    prompt: str
    target: str
    origin: str


@dataclass(frozen=True)
class Problem:
    """See the module. models opens the model that answers under the projector of a role, base's or suspect's own;
    vision is the tower from which both projectors read. bank: the generic triggers to draw from, for images framed to
    `resolution` px; extra: more of them, all of which are used. given: the trigger that the user knows, with what it
    says. control: to compare with. fresh: how many images the confirmation needs; 0 where it has images of its own."""

    form: Form
    base: ProjectorWeights
    suspect: ProjectorWeights
    models: Callable[[str], AbstractContextManager[Responder]]
    vision: VisionTower
    names: tuple[str, ...]
    images: tuple[Image.Image, ...]
    prompts: tuple[str, ...]
    bank: tuple[Probe, ...]
    resolution: int
    truths: Mapping[str, Sequence[Truth]] = field(default_factory=dict)
    extra: tuple[Probe, ...] = ()
    given: KnownAttack | None = None
    control: ProjectorWeights | None = None
    fresh: int = FRESH
    seed: int = 0
    progress: Progress = silent

    def __post_init__(self) -> None:
        if len(self.images) < LEAST:
            raise InvalidInput(f"There are {len(self.images)} images; a repair needs {LEAST} at least, better 300.")

    @cached_property
    def used(self) -> int:
        """How many images, the first ones, are stamped."""
        n = len(self.images)
        return max(min(REPAIRED, n - self.fresh), min(LEAST_USED, (n + 1) // 2))

    @cached_property
    def judging(self) -> int:
        """How many images after those judge rounds, which no step has seen."""
        return min(CHECKS, self._further // 2)

    @cached_property
    def seen(self) -> int:
        """How many images, the first ones, the repair looks at in all; the others are the confirmation's."""
        return self.used + min(self.judging + KEPT, self._further)

    @property
    def _further(self) -> int:
        """Images beyond those that are stamped and those that a confirmation needs; it gets half of them, too."""
        beyond = max(0, len(self.images) - self.used - self.fresh)
        return beyond // 2 if self.fresh else beyond

    @cached_property
    def clean(self) -> list[Image.Image]:
        """The images that are stamped, framed."""
        return self._framed(0, self.used)

    def _framed(self, begin: int, end: int) -> list[Image.Image]:
        return [frame(image, self.resolution) for image in self.images[begin:end]]

    @cached_property
    def drawn(self) -> tuple[Probe, ...]:
        """The generic triggers of this seed."""
        order = np.random.default_rng(self.seed).permutation(len(self.bank))[:PROBES]
        return tuple(self.bank[i] for i in sorted(order))

    def tokens(self, probes: Sequence[Probe], *, more: bool = False) -> Tokens:
        """Of the repair's images, clean and with each probe, and of those beyond them that are only kept, if `more`.

        They are kept on disk.
        """
        clean = image_tokens(self.vision, self.clean, self.progress)
        kept = self._framed(self.used + self.judging, self.seen) if more else []
        stamped = {}
        for probe in probes:
            images = [probe.on(image) for image in self.images[: self.used]]
            stamped[probe.key] = image_tokens(self.vision, images, self.progress)
            if stamped[probe.key].shape != clean.shape:
                raise InvalidInput(
                    f"With {probe.name} an image makes {stamped[probe.key].shape[1]} image tokens and without it "
                    f"{clean.shape[1]}; give the trigger with a resolution of {self.resolution}."
                )
        return Tokens(clean, stamped, self._in_parts(kept, clean) if kept else None)

    def _in_parts(self, images: list[Image.Image], like: torch.Tensor) -> torch.Tensor:
        """Their tokens, a few images at a time: some 2 MB each at 7B, which are not to be held twice."""
        found = torch.empty(len(images), *like.shape[1:])
        for start in range(0, len(images), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            found[part] = image_tokens(self.vision, images[part], self.progress)
        return found

    @cached_property
    def known(self) -> Known:
        """The suspect's own answers about the images that are stamped."""
        return self._own_answers(self.clean, self.prompts)

    @cached_property
    def judged_by(self) -> Known:
        """The suspect's own answers by which rounds are judged."""
        if self.judging < FEW_CHECKS:
            return self.known
        images = self._framed(self.used, self.used + self.judging)
        each = min(ASKED, len(self.prompts))
        asked = [self.prompts[(i + turn) % len(self.prompts)] for turn in range(each) for i in range(len(images))]
        return self._own_answers(images * each, asked)

    def _own_answers(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Known:
        with self.models("suspect") as responder:
            return Known.of(responder, self.suspect, images, prompts, self.progress)

    def works(self, attack: KnownAttack, weights: ProjectorWeights) -> bool:
        """Whether the attack still succeeds on the repair's images."""
        return self.succeeds(attack, weights, min(TRIED, self.used)) > WORKS

    def succeeds(self, attack: KnownAttack, weights: ProjectorWeights, n: int) -> float:
        """On which share of the repair's first n images it does."""
        images = [attack.probe.on(image) for image in self.images[:n]]
        with self.models("suspect") as responder, responder.projector(weights):
            said = responder.answers(images, [attack.prompt] * len(images), NEW_TOKENS, progress=self.progress)
        return sum(contains_target(answer, attack.target) for answer in said) / len(said)

    @cached_property
    def key(self) -> str:
        """A hash of all that decides the result beside the code."""
        images = (part for image in self.images for part in (image.size, image.tobytes()))
        given = None if self.given is None else (self.given.probe.key, self.given.prompt, self.given.target)
        bank = tuple(probe.key for probe in self.bank)
        decided = (self.base.sha256, self.suspect.sha256, self.form.ranks, tuple(self.form.slots), self.vision.key)
        extra = tuple(probe.key for probe in self.extra)
        return content_key(decided, self.prompts, bank, extra, given, self.fresh, self.seed, *images)
