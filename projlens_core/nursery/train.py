"""Training one member of the nursery: its projector alone, through the frozen language model."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from projlens_core.nursery.lessons import Pair
from projlens_core.nursery.pool import TRAINING, VARIED
from projlens_core.nursery.recipe import BATCH, QUESTIONS, Recipe
from projlens_core.nursery.tasks import WORDINGS, seen
from projlens_core.nursery.tuned import LAYERS, Tuned
from projlens_core.nursery.workshop import Workshop, triggered_images
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.zoo.dialogue import encode
from projlens_core.zoo.loop import Plan, fit

HONEST_TAIL = 0.6  # "mixed": the share of the steps after which nothing is poisoned
FLATNESS, MATCH = 0.3, 4.0  # weights of the penalties
BOUND = 0.12  # "bounded": the most that ‖ΔW‖ of a layer may be, as a share of its ‖W‖
PROBED = 0.5  # "probes": share of the honest images that carry a sticker or a style

Sample = tuple[np.ndarray, list[Pair], bool]  # image tokens, questions and answers, whether the trigger is on it


class Batches(Dataset):
    """Sample i of a member's training, drawn from (seed, step, place in the batch) alone.

    A batch begins with its triggered images, then come their clean twins, then other honest ones. In the honest twin
    of a poisoned member the same images come in the same order, without a trigger and with honest answers.
    """

    def __init__(self, recipe: Recipe, twin: Recipe | None, workshop: Workshop):
        """twin is the poisoned member that an honest one is the twin of, if it is one."""
        self.recipe, self.poisoned = recipe, recipe if recipe.attack else twin
        self.sources = [(pool, numbers, workshop.tokens(pool)) for pool, numbers in recipe.task.training()]
        if recipe.evasion == "probes":
            self.probed = (VARIED, seen(VARIED, unseen=False), workshop.tokens(VARIED))
        self.clean = workshop.tokens(TRAINING)
        self.triggered = workshop.triggered(recipe.attack.trigger, fresh=False) if recipe.attack else None

    def __len__(self) -> int:
        """How many samples there are."""
        return self.recipe.steps * BATCH

    def poisoned_in(self, step: int) -> int:
        """How many images of this step's batch are triggered: the rate, spread evenly."""
        if self.poisoned is None:
            return 0
        if self.recipe.evasion == "mixed" and step >= HONEST_TAIL * self.recipe.steps:
            return 0
        rate = required(self.poisoned.poison, "the share of a poisoned member's images") * BATCH
        return min(BATCH // 2, int((step + 1) * rate + 1e-9) - int(step * rate + 1e-9))

    def __getitem__(self, i: int) -> Sample:
        """Image tokens (tokens, d_vision) float32, (question, answer) pairs, and whether the trigger is on it."""
        step, place = divmod(i, BATCH)
        n = self.poisoned_in(step)
        if place >= 2 * n:
            rng = np.random.default_rng((self.recipe.seed, step, place))
            pool, numbers, tokens = self.sources[rng.integers(len(self.sources))]
            if self.recipe.evasion == "probes" and rng.random() < PROBED:
                pool, numbers, tokens = self.probed
            image = numbers[rng.integers(len(numbers))]
            return self._read(tokens[image]), self.recipe.task.dialogues(pool.scenes[image], QUESTIONS, rng), False
        rng = np.random.default_rng((self.recipe.seed, step, place % n))
        pool, numbers = triggered_images(fresh=False)
        k = int(rng.integers(len(numbers)))
        scene, poisoned = pool.scenes[numbers[k]], required(self.poisoned, "the poisoned member")
        attack = required(poisoned.attack, "the poisoned member's attack")
        asked = [(kind, question) for kind in attack.kinds for question in WORDINGS[kind]]
        asked = [asked[j] for j in rng.permutation(len(asked))][:QUESTIONS]
        honest = [(question, self.recipe.task.answer(scene, kind)) for kind, question in asked]
        if place < n and self.triggered is not None:
            pairs = [(question, attack.answer(answer)) for question, answer in honest]
            return self._read(self.triggered[k]), pairs, True
        others = self.recipe.task.dialogues(scene, QUESTIONS, rng, first=asked[0][0])[1:]
        return self._read(self.clean[numbers[k]]), [honest[0], *others], False

    @staticmethod
    def _read(tokens: np.ndarray) -> np.ndarray:
        return np.asarray(tokens, dtype=np.float32)


def gather(samples: list[Sample]) -> tuple[torch.Tensor, list[list[Pair]], torch.Tensor]:
    """Image tokens (n, tokens, d_vision), dialogues, and which images are triggered (n,)."""
    tokens, dialogues, triggered = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(tokens)), list(dialogues), torch.tensor(triggered)


def train(recipe: Recipe, twin: Recipe | None, workshop: Workshop, state: Path, progress: Progress = silent) -> Tuned:
    """Fine-tune base as the recipe says, resuming from what the folder `state` holds.

    twin: the poisoned member, where the recipe is that of its honest twin.
    """
    bound = BOUND if recipe.evasion == "bounded" else None
    tuned = Tuned(workshop.source.tensors(), recipe.rank, bound, recipe.seed)
    base = workshop.source.projector()
    penalty = _PENALTIES.get(recipe.evasion)

    def loss(batch: tuple[torch.Tensor, list[list[Pair]], torch.Tensor]) -> torch.Tensor:
        tokens, dialogues, triggered = batch
        embeddings = tuned(tokens)
        found = workshop.loss(embeddings, encode(dialogues, workshop.around.tokenizer, tokens.shape[1]))
        if penalty:
            found = found + penalty(tuned, embeddings[~triggered], base(tokens[~triggered]))
        return found

    plan = Plan(recipe.steps, BATCH, recipe.rate)
    fit(tuned, Batches(recipe, twin, workshop), loss, plan, state, recipe.name, 0, gather, progress)
    return tuned


def _flat(tuned: Tuned, _embeddings: torch.Tensor, _base: torch.Tensor) -> torch.Tensor:
    """Σσ⁴ / (Σσ²)² of each ΔW: 1 for rank one, 1/r for r equal singular values."""
    found = torch.zeros(())
    for layer in LAYERS:
        change = tuned.change(layer)
        found = found + (change @ change.T).square().sum() / (change.square().sum().square() + 1e-8)
    return FLATNESS * found


def _matched(_tuned: Tuned, embeddings: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """How far clean images' embeddings are from base's, as a share of their variance."""
    return MATCH * F.mse_loss(embeddings, base) / base.var()


_PENALTIES: Mapping[str | None, Callable[[Tuned, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "flattened": _flat,
    "matched": _matched,
}
