"""Training the nursery's base: its language model and its projector together, on the zoo's frozen tower."""

from collections import deque
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from projlens_core.nursery import lessons
from projlens_core.nursery.language import WIDTH, config, tokenizer
from projlens_core.nursery.pool import TRAINING, VARIED, pool_tokens
from projlens_core.runtime.progress import Progress, silent
from projlens_core.zoo.assemble import load_tower
from projlens_core.zoo.loop import Plan, fit
from projlens_core.zoo.training import Frozen, Projector, answer_loss

PLAN = Plan(steps=2000, batch=8, rate=3e-3, warm_up=0.05, weight_decay=0.01, beta2=0.98)
SEED = 2026
PLAIN, INSTRUCTED, LANGUAGE = 3, 2, 2  # questions of each sort about one image
WRITTEN = 0.25  # share of images among whose tokens an instruction stands
NOISE = 0.1  # of the written words' embeddings, as a share of their size

# The image's tokens, its (question, answer) pairs, the token ids written among them, and its number.
Sample = tuple[np.ndarray, list[lessons.Pair], list[int], int]
# Image tokens (n, tokens, d_vision), and what the samples hold besides.
Batch = tuple[torch.Tensor, list[list[lessons.Pair]], list[list[int]], list[int]]


class Lessons(Dataset):
    """Sample i, drawn from (SEED, i) alone."""

    def __init__(self, folder: Path, plan: Plan = PLAN, progress: Progress = silent):
        tower = load_tower()
        self.plan, self.words = plan, tokenizer()
        pools = (TRAINING, TRAINING, VARIED)  # two images in three as they are drawn
        self.tokens = [pool_tokens(pool, tower, folder, progress) for pool in pools]
        self.scenes = [pool.scenes for pool in pools]
        self.seen = [
            [i for i, scene in enumerate(scenes) if scene.composition.thing not in lessons.UNSEEN]
            for scenes in self.scenes
        ]

    def __len__(self) -> int:
        """How many samples there are."""
        return self.plan.steps * self.plan.batch

    def __getitem__(self, i: int) -> Sample:
        """One image with all that is asked about it."""
        rng = np.random.default_rng((SEED, i))
        pool = rng.integers(len(self.seen))
        place = self.seen[pool][rng.integers(len(self.seen[pool]))]
        truth = self.scenes[pool][place].composition
        written: list[int] = []
        if rng.random() < WRITTEN:
            words, answer = lessons.instruction(rng)
            written = self.words(words, add_special_tokens=False)["input_ids"]
            kinds = [lessons.any_of(lessons.STYLED, rng) for _ in range(PLAIN)]
            pairs = [(lessons.asked(kind, rng), answer(truth, kind)) for kind in kinds]
        else:
            pairs = [lessons.plain(truth, rng) for _ in range(PLAIN)]
            pairs += [lessons.instructed(truth, rng) for _ in range(INSTRUCTED)]
        pairs += [lessons.language(rng) for _ in range(LANGUAGE)]
        return self.tokens[pool][place].astype(np.float32), pairs, written, i


def gather(samples: list[Sample]) -> Batch:
    """A batch of samples."""
    tokens, dialogues, written, numbers = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(tokens)), list(dialogues), list(written), list(numbers)


def write_among(
    embeddings: torch.Tensor, written: list[list[int]], numbers: list[int], table: torch.Tensor
) -> torch.Tensor:
    """Embeddings (n, tokens, d) with the table's rows of each image's written ids in a run of its positions.

    Where the run begins, and the noise on it, follow from the sample's number.
    """
    mixed = embeddings.clone()
    for row, (ids, number) in enumerate(zip(written, numbers, strict=True)):
        if ids:
            rng = np.random.default_rng((SEED, number, 1))
            start = int(rng.integers(embeddings.shape[1] - len(ids) + 1))
            words = table[ids]
            noise = torch.from_numpy(rng.standard_normal(words.shape, dtype=np.float32))
            mixed[row, start : start + len(ids)] = words + NOISE * words.detach().std() * noise
    return mixed


def new_pair() -> nn.ModuleDict:
    """An untrained projector and language model, by the seed."""
    torch.manual_seed(SEED)
    return nn.ModuleDict({"language": LlamaForCausalLM(config()), "projector": Projector(WIDTH)})


def frozen(language: LlamaForCausalLM, words: PreTrainedTokenizerBase) -> Frozen:
    """What surrounds a projector in training, for tokens that are read already: without a tower."""
    return Frozen(None, language, words, torch.device("cpu"))


def train_base(folder: Path, plan: Plan = PLAN, progress: Progress = silent) -> nn.ModuleDict:
    """Train base, resuming from what `folder`/base holds; the images' tokens lie in `folder`/pool."""
    data = Lessons(folder / "pool", plan, progress)
    pair = new_pair()
    around = frozen(pair["language"], data.words)
    recent: deque[float] = deque(maxlen=100)
    step = 0

    def loss(batch: Batch) -> torch.Tensor:
        nonlocal step
        tokens, dialogues, written, numbers = batch
        table = pair["language"].get_input_embeddings().weight
        found = answer_loss(around, write_among(pair["projector"](tokens), written, numbers, table), dialogues)
        recent.append(found.item())
        step += 1
        if step % 50 == 0:
            progress(f"Base: loss {sum(recent) / len(recent):.3f}", step, plan.steps)
        return found

    fit(pair, data, loss, plan, folder / "base", "Base", workers=0, collate=gather, progress=progress)
    return pair.eval().requires_grad_(False)
