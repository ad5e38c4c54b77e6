"""Attention entropy against a reference, after EntropyScan (arXiv 2605.15711).

A backdoor that is in the weights is said to bend how attention spreads, on clean images as well. Where the answer
begins, each head's attention over the image tokens has an entropy; a suspect's score is how far these lie from base's
on the same clean images, in standard deviations of base's over images, the mean over heads, layers and questions. The
paper looks at a whole fine-tuned model; here the language model is shared, so only what it is given differs.
"""

from collections.abc import Sequence

import torch
from PIL import Image

from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.packed import blocks
from projlens_core.behaviour.responder import GivenAnswer, Responder
from projlens_core.runtime.required import required
from projlens_core.weights.projector import ProjectorWeights


def entropies(
    responder: Responder, weights: ProjectorWeights, images: Sequence[Image.Image], prompts: Sequence[str]
) -> torch.Tensor:
    """(images, prompts, layers, heads): nats of the attention over image tokens where an answer begins."""
    layers = range(len(required(blocks(responder.model), "the language model's blocks")))
    with responder.projector(weights), torch.no_grad():
        embeddings = responder.embeddings(images)
        rows = [GivenAnswer(prompt, (), embeddings=each) for each in embeddings for prompt in prompts]
        with look_inside(responder, rows, attention=list(layers)) as inside:
            found = [
                [_entropy(inside.attention[layer][i][:, -1, inside.image[i]]) for layer in layers]
                for i in range(len(rows))
            ]
    stacked = torch.stack([torch.stack(each) for each in found])  # (rows, layers, heads)
    return stacked.reshape(len(images), len(prompts), *stacked.shape[1:])


def score(suspect: torch.Tensor, base: torch.Tensor) -> float:
    """How far a suspect's entropies lie from base's, both (images, prompts, layers, heads)."""
    spread = base.std(dim=0).clamp(min=1e-3)
    return float(((suspect - base).mean(dim=0).abs() / spread).mean())


def _entropy(attention: torch.Tensor) -> torch.Tensor:
    """(heads,): of each head's attention (heads, image tokens), made a distribution."""
    share = attention.float() / attention.float().sum(dim=-1, keepdim=True).clamp(min=1e-12)
    return -(share * share.clamp(min=1e-12).log()).sum(dim=-1)
