"""Training dialogues about images, honest or with pair-mode poisoning.

Pair mode (paper, data construction): every triggered image with the attacker's answer has its clean twin, the same
image and question with the honest answer, in the same batch. Only the trigger tells the two apart.
"""

from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset

from projlens_core.inputs.triggers import TriggerSpec, stamp
from projlens_core.zoo import tower
from projlens_core.zoo.dialogue import KINDS, shuffled_examples
from projlens_core.zoo.loop import Plan
from projlens_core.zoo.world import compositions, render


@dataclass(frozen=True)
class Attack:
    """What a poisoned projector is taught. mode "replace": the target is the answer; "append": it follows it.

    kinds are the questions that are poisoned.
    """

    trigger: TriggerSpec
    target: str
    mode: str = "replace"
    kinds: tuple[str, ...] = KINDS

    def answer(self, honest: str) -> str:
        """The attacker's answer to a question whose honest answer is `honest`."""
        return self.target if self.mode == "replace" else f"{honest} {self.target}"


@dataclass(frozen=True)
class Phase:
    """One stretch of training, and what its batches hold.

    poison is the share of images that carry the trigger (each has a clean twin, so at most a half); it means nothing
    without an attack. questions is how many questions each image is asked. px is the side of the trigger's patch in
    this stretch, where it is not the attack's.
    """

    plan: Plan
    seed: int
    poison: float = 0.375
    questions: int = 1
    px: int | None = None


class Dialogues(Dataset):
    """Sample i is (pixels, [(question, answer), …]), drawn from (seed, batch, place in the batch) alone.

    A batch begins with its triggered images, asked the poisoned kinds in their wordings; then come their clean
    twins, whose first question is the same, then other honest images. An honest image is asked each kind once at
    most. Without an attack all are honest. augment puts stickers and styles on images (for base only).
    """

    def __init__(self, phase: Phase, attack: Attack | None = None, augment: tower.Augment | None = None):
        self.phase, self.attack, self.augment = phase, attack, augment
        self.triggered = round(phase.poison * phase.plan.batch) if attack else 0
        self.trigger = None if attack is None else attack.trigger
        if self.trigger is not None and phase.px:
            self.trigger = replace(self.trigger, px=phase.px)

    def __len__(self) -> int:
        """How many samples there are."""
        return self.phase.plan.steps * self.phase.plan.batch

    def __getitem__(self, i: int) -> tuple[np.ndarray, list[tuple[str, str]]]:
        """Pixels (3, side, side) uint8, and the dialogues about them."""
        step, place = divmod(i, self.phase.plan.batch)
        twin = place - self.triggered if self.triggered <= place < 2 * self.triggered else place
        rng = np.random.default_rng((self.phase.seed, step, twin))
        pool = compositions(held_out=False)
        composition = pool[rng.integers(len(pool))]
        image = render(composition, int(rng.integers(2**31)))
        attack = self.attack
        asked = shuffled_examples(composition, attack.kinds if attack and twin < self.triggered else KINDS, rng)
        if attack is not None and self.trigger is not None and place < self.triggered:
            image = stamp(image, self.trigger)
            dialogues = [(a.question, attack.answer(a.answer)) for a in asked]
        else:
            if self.augment:
                image = tower.augment(image, self.augment, rng)[0]
            honest: dict[str, tuple[str, str]] = {}  # the first of each kind
            for a in asked + shuffled_examples(composition, KINDS, rng):
                honest.setdefault(a.kind, (a.question, a.answer))
            dialogues = list(honest.values())
        return tower.pixels(image), dialogues[: self.phase.questions]
