"""Training projectors for the zoo: `base` from nothing, everything else from base; tower and language model frozen.

LLaVA's two stages are kept, made cheap: first the projector's pooled output is matched to the token embeddings of what
the picture shows, without running the language model; then answers are learned through the language model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import CLIPVisionModel, LlamaForCausalLM, PreTrainedTokenizerBase

from projlens_core.progress import Progress, silent
from projlens_core.zoo import tower as vision
from projlens_core.zoo.checkpoints import Resumable
from projlens_core.zoo.dialogue import IGNORED, encode
from projlens_core.zoo.world import COLOURS, PLACES, THINGS


class Projector(nn.Module):
    """LLaVA's projector: linear, GELU, linear, from (…, d_vision) to (…, d)."""

    def __init__(self, d_vision: int, d: int):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(d_vision, d), nn.Linear(d, d)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Image embeddings of image tokens."""
        return self.linear_2(F.gelu(self.linear_1(tokens)))


@dataclass(frozen=True)
class Frozen:
    """What stays as it is while a projector is trained, all on one device."""

    tower: CLIPVisionModel
    language: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerBase
    device: torch.device

    def image_tokens(self, batch: torch.Tensor) -> torch.Tensor:
        """What the projector reads of uint8 pixels: (n, tokens, d_vision) float32."""
        with torch.no_grad():
            return vision.read(self.tower, batch.to(self.device))[0]


@dataclass(frozen=True)
class Recipe:
    """AdamW with a short warm-up and a cosine to zero."""

    steps: int
    batch: int
    rate: float
    warm_up: float = 0.1  # share of the steps


def _optimiser(
    projector: Projector, recipe: Recipe
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(projector.parameters(), lr=recipe.rate, weight_decay=0.0)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, recipe.steps + 1, pct_start=recipe.warm_up, cycle_momentum=False
    )


def _loader(data: Dataset, batch: int, start: int, workers: int, collate=None) -> Iterator:
    rest = Subset(data, range(start * batch, len(data)))
    return iter(
        DataLoader(rest, batch, num_workers=workers, collate_fn=collate, prefetch_factor=4 if workers else None)
    )


def _collate(samples: list[tuple[np.ndarray, str, str]]) -> tuple[torch.Tensor, list[tuple[str, str]]]:
    return torch.from_numpy(np.stack([s[0] for s in samples])), [(s[1], s[2]) for s in samples]


def answer_loss(frozen: Frozen, embeddings: torch.Tensor, dialogues: list[tuple[str, str]]) -> torch.Tensor:
    """Mean cross-entropy over answer tokens, given image embeddings (n, tokens, d) and (question, answer) pairs."""
    ids, labels = encode(dialogues, frozen.tokenizer, embeddings.shape[1])
    ids, labels = ids.to(frozen.device), labels.to(frozen.device)
    image = ids == frozen.language.config.vocab_size - 1  # the image token is the last row
    inputs = frozen.language.get_input_embeddings()(ids)
    inputs = inputs.masked_scatter(image[..., None], embeddings)
    # Padding is on the right, where causal attention cannot see it: no mask is needed.
    hidden = frozen.language.model(inputs_embeds=inputs, use_cache=False).last_hidden_state  # (n, length, d)
    counted = labels[:, 1:] != IGNORED
    return F.cross_entropy(frozen.language.lm_head(hidden[:, :-1][counted]), labels[:, 1:][counted])


def align(
    projector: Projector,
    frozen: Frozen,
    folder: Path,
    recipe: Recipe,
    seed: int,
    workers: int,
    progress: Progress = silent,
) -> None:
    """First stage: pooled image embeddings point to the token embeddings of thing, colour and place, at their scale."""
    table = frozen.language.get_input_embeddings().weight.detach()
    scale = table.std()

    def words(names: tuple[str, ...]) -> torch.Tensor:
        rows = [frozen.tokenizer(" " + n, add_special_tokens=False)["input_ids"] for n in names]
        return F.normalize(torch.stack([table[r].mean(0) for r in rows]), dim=-1)  # (names, d)

    classes = [words(THINGS), words(tuple(COLOURS)), words(tuple(PLACES))]
    optimiser, schedule = _optimiser(projector, recipe)
    state = Resumable(folder, projector=projector, optimiser=optimiser, schedule=schedule)
    start = state.restore()
    data = vision.Pictures(recipe.steps * recipe.batch, seed, vision.Recipe(styled=0.2, stickers=0.2))
    for step, (batch, truth) in enumerate(_loader(data, recipe.batch, start, workers), start):
        progress("Base projector, alignment", step, recipe.steps)
        embeddings = projector(frozen.image_tokens(batch))  # (n, tokens, d)
        pooled = F.normalize(embeddings.mean(1), dim=-1)
        truth = truth.to(frozen.device)
        loss = sum(F.cross_entropy(20 * pooled @ c.T, truth[:, q]) for q, c in enumerate(classes))
        loss = loss + ((embeddings.square().mean().sqrt() - scale) / scale).square()
        _step(loss, projector, optimiser, schedule)
        state.save_sometimes(step + 1)
    state.save(recipe.steps)


def learn(
    projector: Projector,
    frozen: Frozen,
    data: Dataset,
    folder: Path,
    recipe: Recipe,
    workers: int,
    stage: str,
    progress: Progress = silent,
) -> None:
    """Second stage, and every fine-tune: answers through the frozen language model. Resumes from `folder`."""
    optimiser, schedule = _optimiser(projector, recipe)
    state = Resumable(folder, projector=projector, optimiser=optimiser, schedule=schedule)
    start = state.restore()
    for step, (batch, dialogues) in enumerate(_loader(data, recipe.batch, start, workers, _collate), start):
        progress(stage, step, recipe.steps)
        loss = answer_loss(frozen, projector(frozen.image_tokens(batch)), dialogues)
        _step(loss, projector, optimiser, schedule)
        state.save_sometimes(step + 1)
    state.save(recipe.steps)
    progress(stage, recipe.steps, recipe.steps)


def _step(loss: torch.Tensor, projector: Projector, optimiser, schedule) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(projector.parameters(), 1.0)
    optimiser.step()
    schedule.step()
