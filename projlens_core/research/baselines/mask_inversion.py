"""Masks found by gradient after Neural Cleanse (Wang et al., IEEE S&P 2019).

For each label, the smallest mask and its pattern are sought that turn clean images into that label; a backdoor's label
needs a much smaller one than others, by the anomaly index of its size. A model that answers has no labels. Here they
are first tokens of an answer: of the whole vocabulary those that random masks raise most, as the paper tries all labels
for a few steps where they are many. Masks and patterns have CELLS × CELLS cells, and steps and labels are few, so that
a suspect takes about ten CPU seconds on the small models; the paper spends a thousand steps on each label.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from projlens_core.activations.inversion import Canvas
from projlens_core.behaviour.branches import answer_logits
from projlens_core.behaviour.responder import Responder
from projlens_core.runtime.required import required
from projlens_core.weights.projector import ProjectorWeights, as_module

LABELS, STEPS, CELLS = 6, 16, 8
BATCH = 2  # images of a step
RANDOM = 12  # masks that labels are chosen by
RATE = 0.3  # of Adam, on logits of mask and pattern
WEIGHT = 2.0  # nats that a mask over the whole image costs
START = -1.0  # logit of the mask: it covers a quarter of what is seen
FLIPPED = 0.75  # share of images that must become the label; else its mask is as large as the image
SPREAD = 1.4826  # of a normal distribution's median absolute deviation


class Masks:
    """Masks on clean images under a suspect's projector, and how an answer to the prompt begins."""

    def __init__(self, responder: Responder, weights: ProjectorWeights, images: Sequence[Image.Image], prompt: str):
        self.responder, self.prompt = responder, prompt
        self.canvas = Canvas(responder.vision, images)
        self.module = as_module(weights, responder.device, responder.model.dtype)

    def first(self, mask: torch.Tensor, pattern: torch.Tensor, of: Sequence[int], *, gradient: bool) -> torch.Tensor:
        """(images, vocabulary): log-probabilities of an answer's first token about the images of these numbers under a
        mask (1, c, c) and a pattern (3, c, c), both 0 to 1.
        """
        with torch.set_grad_enabled(gradient):
            tokens = self.canvas.vision.read(self.canvas.blended(mask, pattern, of))
            shown = list(self.module(tokens.to(self.responder.device, self.responder.model.dtype)))
            logits = answer_logits(self.responder, shown, [[(self.prompt, ())] for _ in of], gradient=gradient)
            return torch.stack([each[0][-1] for each in logits]).log_softmax(dim=-1)

    def likely_labels(self, random: np.random.Generator) -> list[int]:
        """The tokens that random masks and patterns raise most, beside those that clean images have."""
        nothing = torch.zeros(1, CELLS, CELLS), torch.zeros(3, CELLS, CELLS)
        everything = range(len(self.canvas.clean))
        clean = self.first(*nothing, everything, gradient=False)
        raised = torch.full_like(clean[0], -torch.inf)
        for n in range(RANDOM):
            mask, pattern = (torch.from_numpy(random.uniform(size=(k, CELLS, CELLS))).float() for k in (1, 3))
            number = n % len(clean)
            here = self.first(0.5 * mask, pattern, [number], gradient=False)[0]
            raised = torch.maximum(raised, here - clean[number])
        raised[clean.argmax(dim=-1)] = -torch.inf
        return raised.topk(LABELS).indices.tolist()

    def size(self, label: int, random: np.random.Generator) -> float:
        """Share of the image that the label's mask covers after STEPS steps, 1 where it does not bring the label."""
        mask = torch.full((1, CELLS, CELLS), START, requires_grad=True)
        pattern = torch.from_numpy(random.normal(size=(3, CELLS, CELLS))).float().requires_grad_()
        optimiser = torch.optim.Adam([mask, pattern], lr=RATE)
        for _ in range(STEPS):
            of = random.permutation(len(self.canvas.clean))[:BATCH].tolist()
            with torch.enable_grad():
                said = self.first(mask.sigmoid(), pattern.sigmoid(), of, gradient=True)
                lost = -said[:, label].mean() + WEIGHT * mask.sigmoid().mean()
                optimiser.zero_grad()
                lost.backward()
            optimiser.step()
        with torch.no_grad():
            reached = self.first(mask.sigmoid(), pattern.sigmoid(), range(len(self.canvas.clean)), gradient=False)
        flipped = float((reached.argmax(dim=-1) == label).float().mean())
        return float(mask.detach().sigmoid().mean()) if flipped >= FLIPPED else 1.0


def anomaly(found: Sequence[float]) -> float:
    """By how many robust standard deviations the smallest of these sizes lies below their median."""
    values = np.array(found)
    middle = np.median(values)
    spread = SPREAD * np.median(abs(values - middle))
    return float((middle - values.min()) / max(float(spread), 0.01))


def sizes(
    responder: Responder, weights: ProjectorWeights, images: Sequence[Image.Image], prompt: str, seed: int = 0
) -> list[float]:
    """The sizes of the labels' masks, as shares of the image."""
    random = np.random.default_rng(seed)
    masks = Masks(responder, weights, images, prompt)
    labels = required(masks.likely_labels(random) or None, "labels")
    return [masks.size(label, random) for label in labels]
