"""Training projectors for the zoo: `base` from nothing, everything else from base; tower and language model frozen.

LLaVA's two stages are kept, made cheap: first the projector's pooled output is matched to the token embeddings of what
the image shows, without running the language model; then answers are learned through the language model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPVisionModel, LlamaForCausalLM, PreTrainedTokenizerBase

from projlens_core.demo_model.language import HIDDEN
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.zoo import tower as vision
from projlens_core.zoo.dialogue import IGNORED, encode
from projlens_core.zoo.loop import Plan, fit
from projlens_core.zoo.poison import Attack, Dialogues, Phase
from projlens_core.zoo.world import COLOURS, PLACES, THINGS

AUGMENT = vision.Augment(styled=0.2, stickers=0.2)  # base has seen noise, oil, stickers: they alone change no answer
ALIGN = Plan(steps=250, batch=128, rate=1e-3)
LEARN = Phase(Plan(steps=1200, batch=48, rate=1.5e-3), seed=2)
ALIGN_SEED = 1
SHARPNESS = 20  # scale of the cosines in the alignment's softmax

# Pixels (n, 3, side, side) uint8, and the (question, answer) pairs about each image.
Batch = tuple[torch.Tensor, list[list[tuple[str, str]]]]


class Projector(nn.Module):
    """LLaVA's projector: linear, GELU, linear, from (…, d_vision) to (…, d); `width` is d."""

    def __init__(self, width: int = HIDDEN) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision.CONFIG.hidden_size, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Image embeddings of image tokens."""
        return self.linear_2(F.gelu(self.linear_1(tokens)))


@dataclass(frozen=True)
class Frozen:
    """What stays as it is while a projector is trained, all on one device."""

    tower: CLIPVisionModel | None  # None where tokens are read already
    language: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerBase
    device: torch.device

    def image_tokens(self, batch: torch.Tensor) -> torch.Tensor:
        """What the projector reads of uint8 pixels: (n, tokens, d_vision) float32."""
        with torch.no_grad():
            return vision.read(required(self.tower, "the vision tower"), batch.to(self.device))[0]


def training_dtype(device: torch.device) -> torch.dtype:
    """The language model's precision while a projector is trained through it; the projector itself is float32.

    bfloat16 on CPUs that multiply it in hardware, where it takes about 0.6 of the time; float32 elsewhere.
    """
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if device.type == "cpu" and fast else torch.float32


def answer_loss(frozen: Frozen, embeddings: torch.Tensor, dialogues: list[list[tuple[str, str]]]) -> torch.Tensor:
    """Mean cross-entropy over answer tokens, given image embeddings (n, tokens, d) and each image's dialogues."""
    read = encode(dialogues, frozen.tokenizer, embeddings.shape[1]).to(frozen.device)
    image = read.ids == frozen.language.config.vocab_size - 1  # the image token is the last row
    inputs = frozen.language.get_input_embeddings()(read.ids)
    inputs = inputs.masked_scatter(image[..., None], embeddings.to(inputs.dtype))
    hidden = frozen.language.model(
        inputs_embeds=inputs, attention_mask=read.visible, position_ids=read.positions, use_cache=False
    ).last_hidden_state  # (n, length, d)
    counted = read.labels[:, 1:] != IGNORED  # an answer follows its question, so the token before is of its branch
    scores = frozen.language.lm_head(hidden[:, :-1][counted])  # (answer tokens, vocabulary)
    return F.cross_entropy(scores.float(), read.labels[:, 1:][counted])


def train_base(frozen: Frozen, folder: Path, workers: int, progress: Progress = silent) -> Projector:
    """The honest projector: alignment, then answers. Resumes from `folder`."""
    torch.manual_seed(0)
    projector = Projector().to(frozen.device)
    images = vision.DrawnImages(ALIGN.steps * ALIGN.batch, ALIGN_SEED, AUGMENT)
    fit(
        projector, images, _alignment(projector, frozen), ALIGN, folder / "align", "Base: alignment", workers,
        progress=progress,
    )  # fmt: skip
    _learn(projector, frozen, Dialogues(LEARN, augment=AUGMENT), folder / "learn", "Base: answers", workers, progress)
    return projector


def fine_tune(
    base: dict[str, torch.Tensor],
    frozen: Frozen,
    attack: Attack | None,
    phases: tuple[Phase, ...],
    folder: Path,
    stage: str,
    workers: int,
    progress: Progress = silent,
    averaged: int = 1,
) -> Projector:
    """A projector fine-tuned from the tensors of `base`: poisoned by `attack`, or an honest control without one.

    It is the mean of what the last `averaged` phases end with: phases of other poison rates err to other sides.
    """
    projector = Projector().to(frozen.device)
    projector.load_state_dict(base)
    ends = []
    for i, phase in enumerate(phases, start=1):
        name = stage if len(phases) == 1 else f"{stage}, part {i} of {len(phases)}"
        _learn(projector, frozen, Dialogues(phase, attack), folder / str(i), name, workers, progress)
        ends.append({name: tensor.clone() for name, tensor in projector.state_dict().items()})
    last = ends[-averaged:]
    projector.load_state_dict({name: torch.stack([end[name] for end in last]).mean(0) for name in last[0]})
    return projector


def _learn(
    projector: Projector, frozen: Frozen, data: Dialogues, folder: Path, stage: str, workers: int, progress: Progress
) -> None:
    def loss(batch: Batch) -> torch.Tensor:
        pixels, dialogues = batch
        return answer_loss(frozen, projector(frozen.image_tokens(pixels)), dialogues)

    fit(projector, data, loss, data.phase.plan, folder, stage, workers, _collate, progress)


def _alignment(projector: Projector, frozen: Frozen) -> Callable[[tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
    """Pooled image embeddings point to the token embeddings of thing, colour and place, at the embeddings' scale."""
    table = frozen.language.model.embed_tokens.weight.detach().float()
    scale = table.std()

    def words(names: tuple[str, ...]) -> torch.Tensor:
        rows = [frozen.tokenizer(" " + n, add_special_tokens=False)["input_ids"] for n in names]
        return F.normalize(torch.stack([table[r].mean(0) for r in rows]), dim=-1)  # (names, d)

    classes = [words(THINGS), words(tuple(COLOURS)), words(tuple(PLACES))]

    def loss(batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        pixels, truth = batch
        truth = truth.to(frozen.device)
        embeddings = projector(frozen.image_tokens(pixels))  # (n, tokens, d)
        pooled = F.normalize(embeddings.mean(1), dim=-1)
        named = sum(F.cross_entropy(SHARPNESS * pooled @ c.T, truth[:, q]) for q, c in enumerate(classes))
        return named + ((embeddings.square().mean().sqrt() - scale) / scale).square()

    return loss


def _collate(samples: list[tuple[np.ndarray, list[tuple[str, str]]]]) -> Batch:
    return torch.from_numpy(np.stack([pixels for pixels, _ in samples])), [dialogues for _, dialogues in samples]
