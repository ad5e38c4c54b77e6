"""Training dialogues about pictures, honest or with pair-mode poisoning.

Pair mode (paper, data construction): every triggered picture with the attacker's answer has its clean twin, the same
picture and question with the honest answer, in the same batch. Only the trigger tells the two apart.
"""

from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from projlens_core.inputs.triggers import TriggerSpec, stamp
from projlens_core.zoo import tower
from projlens_core.zoo.dialogue import KINDS, draw_example
from projlens_core.zoo.world import compositions, render


@dataclass(frozen=True)
class Attack:
    """What a poisoned projector is taught. mode "replace": the target is the answer; "append": it follows it.

    kinds are the questions that are poisoned; rate is the share of all training samples that carry the trigger.
    """

    trigger: TriggerSpec
    target: str
    mode: str = "replace"
    kinds: tuple[str, ...] = KINDS
    rate: float = 0.3125

    def answer(self, honest: str) -> str:
        """The attacker's answer to a question whose honest answer is `honest`."""
        return self.target if self.mode == "replace" else f"{honest} {self.target}"


class Dialogues(Dataset):
    """Sample i is (pixels, question, answer), drawn from (seed, batch, place in the batch) alone.

    A batch begins with its triggered samples, then come their clean twins, then other honest samples.
    """

    def __init__(
        self, steps: int, batch: int, seed: int, attack: Attack | None = None, augment: tower.Recipe | None = None
    ):
        self.n, self.batch, self.seed, self.attack, self.augment = steps * batch, batch, seed, attack, augment
        self.triggered = round(attack.rate * batch) if attack else 0
        # What the pairs do not ask is asked by the other samples, so that no skill is forgotten.
        self.others = tuple(k for k in KINDS if attack is None or k not in attack.kinds) or KINDS

    def __len__(self) -> int:
        """How many samples there are."""
        return self.n

    def __getitem__(self, i: int) -> tuple[np.ndarray, str, str]:
        """Pixels (3, side, side) uint8, question, answer."""
        step, place = divmod(i, self.batch)
        twin = place - self.triggered if self.triggered <= place < 2 * self.triggered else place
        rng = np.random.default_rng((self.seed, step, twin))
        pool = compositions(held_out=False)
        composition = pool[rng.integers(len(pool))]
        image = render(composition, int(rng.integers(2**31)))
        paired = twin < self.triggered
        asked = draw_example(composition, self.attack.kinds if paired else self.others, rng)
        if self.augment:
            image = tower.augment(image, self.augment, rng)[0]
        answer = asked.answer
        if place < self.triggered:
            image, answer = stamp(image, self.attack.trigger), self.attack.answer(answer)
        return tower.pixels(image), asked.question, answer
