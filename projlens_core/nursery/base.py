"""Training the nursery's base: its language model and its projector together, on the zoo's frozen tower."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from projlens_core.demo_model.checkpoint import load_tower
from projlens_core.nursery import lessons
from projlens_core.nursery.language import END, WIDTH, config, tokenizer
from projlens_core.nursery.pool import TRAINING, VARIED, pool_tokens
from projlens_core.runtime.progress import Progress, silent
from projlens_core.zoo.dialogue import prompt
from projlens_core.zoo.loop import Plan, fit
from projlens_core.zoo.tower import labels
from projlens_core.zoo.training import Frozen, Projector, answer_loss
from projlens_core.zoo.world import COLOURS, PLACES, THINGS

PLAN = Plan(steps=1500, batch=8, rate=2e-3, warm_up=0.05, weight_decay=0.01, beta2=0.98)
SEED = 2026
PLAIN, INSTRUCTED, LANGUAGE = 3, 2, 1  # questions of each sort about one image
WRITTEN = 0.25  # share of images among whose tokens an instruction stands
NOISE = 0.1  # of the written words' embeddings, as a share of their size
SPOKEN = 6  # questions without an image that come with each image
SHOWN = 4  # further images whose embeddings are matched to the words for them
LOSSES = ("answers", "language", "match")
SHARPNESS, MATCHING = 20, 0.3  # scale of the cosines in that match, and its weight


@dataclass(frozen=True)
class Sample:
    """One image and what is asked about it; more images and questions that come with it.

    written: token ids that stand among the image's tokens. spoken: questions and answers without an image.
    shown: image tokens (SHOWN, tokens, d_vision); truths: their (thing, colour, place), class indices (SHOWN, 3).
    """

    number: int
    tokens: np.ndarray
    dialogues: list[lessons.Pair]
    written: list[int]
    spoken: list[lessons.Pair]
    shown: np.ndarray
    truths: np.ndarray


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
        pool, place = self._drawn(rng)
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
        others = [self._drawn(rng) for _ in range(SHOWN)]
        return Sample(
            i,
            self.tokens[pool][place].astype(np.float32),
            pairs,
            written,
            [lessons.language(rng) for _ in range(SPOKEN)],
            np.stack([self.tokens[pool][place].astype(np.float32) for pool, place in others]),
            np.stack([labels(self.scenes[pool][place].composition)[:3] for pool, place in others]),
        )

    def _drawn(self, rng: np.random.Generator) -> tuple[int, int]:
        """A pool, and the number of an image in it whose thing is not to stay unseen."""
        pool = int(rng.integers(len(self.seen)))
        return pool, self.seen[pool][rng.integers(len(self.seen[pool]))]


def write_among(embeddings: torch.Tensor, samples: list[Sample], table: torch.Tensor) -> torch.Tensor:
    """Embeddings (n, tokens, d) with the table's rows of each image's written ids in a run of its positions.

    Where the run begins, and the noise on it, follow from the sample's number.
    """
    mixed = embeddings.clone()
    for row, sample in enumerate(samples):
        if sample.written:
            rng = np.random.default_rng((SEED, sample.number, 1))
            start = int(rng.integers(embeddings.shape[1] - len(sample.written) + 1))
            words = table[sample.written]
            noise = torch.from_numpy(rng.standard_normal(words.shape, dtype=np.float32))
            mixed[row, start : start + len(sample.written)] = words + NOISE * words.detach().std() * noise
    return mixed


def spoken_loss(language: LlamaForCausalLM, words: PreTrainedTokenizerBase, pairs: list[lessons.Pair]) -> torch.Tensor:
    """Mean cross-entropy over the tokens of answers to questions without an image."""
    asked = [words(prompt(q, 0), add_special_tokens=False)["input_ids"] for q, _ in pairs]
    said = [words(f"{a}{END}", add_special_tokens=False)["input_ids"] for _, a in pairs]
    length = max(len(q) + len(a) for q, a in zip(asked, said, strict=True))
    ids = torch.full((len(pairs), length), words.pad_token_id)
    counted = torch.zeros(len(pairs), length, dtype=torch.bool)
    for row, (q, a) in enumerate(zip(asked, said, strict=True)):
        ids[row, : len(q) + len(a)] = torch.tensor(q + a)
        counted[row, len(q) : len(q) + len(a)] = True
    hidden = language.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]  # padding comes last
    return F.cross_entropy(language.lm_head(hidden[counted[:, 1:]]), ids[:, 1:][counted[:, 1:]])


class Match:
    """Pooled image embeddings point to the embeddings of the words for thing, colour and place."""

    def __init__(self, words: PreTrainedTokenizerBase):
        self.names = [
            [words(name, add_special_tokens=False)["input_ids"] for name in names]
            for names in (THINGS, COLOURS, PLACES)
        ]

    def loss(self, embeddings: torch.Tensor, truths: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Cross-entropy summed over the three, of image embeddings (n, tokens, d) and class indices (n, 3)."""
        pooled = F.normalize(embeddings.mean(1), dim=-1)
        found = torch.zeros(())
        for q, names in enumerate(self.names):
            classes = F.normalize(torch.stack([table[ids].mean(0) for ids in names]), dim=-1)  # (names, d)
            found = found + F.cross_entropy(SHARPNESS * pooled @ classes.T, truths[:, q])
        return found


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
    language, projector = pair["language"], pair["projector"]
    if not isinstance(language, LlamaForCausalLM):
        raise TypeError("the pair's language model is no Llama")
    around, match = frozen(language, data.words), Match(data.words)
    recent: deque[tuple[float, ...]] = deque(maxlen=50)

    def loss(samples: list[Sample]) -> torch.Tensor:
        table = language.model.embed_tokens.weight
        embeddings = projector(torch.from_numpy(np.stack([s.tokens for s in samples])))
        answered = answer_loss(around, write_among(embeddings, samples, table), [s.dialogues for s in samples])
        spoken = spoken_loss(language, data.words, [pair for s in samples for pair in s.spoken])
        shown = torch.from_numpy(np.concatenate([s.shown for s in samples]))
        matched = match.loss(projector(shown), torch.from_numpy(np.concatenate([s.truths for s in samples])), table)
        recent.append((answered.item(), spoken.item(), matched.item()))
        if samples[0].number // plan.batch % 50 == 49:
            means = ", ".join(f"{name} {mean:.3f}" for name, mean in zip(LOSSES, np.mean(recent, 0), strict=True))
            progress(f"Base, losses: {means}", samples[0].number // plan.batch + 1, plan.steps)
        return answered + spoken + MATCHING * matched

    fit(pair, data, loss, plan, folder / "base", "Base", workers=0, collate=list, progress=progress)
    return pair.eval().requires_grad_(False)
