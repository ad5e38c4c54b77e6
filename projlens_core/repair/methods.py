"""Other ways to take a backdoor out, to compare with: each as its paper defines it, moved to a projector.

A projector's training answers are not at hand, so where a paper fine-tunes on clean labelled data the suspect's own
answers, or its embeddings of clean images, stand for the labels. What else had to be changed is said at each.
"""

from collections.abc import Sequence

import torch

from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.packed import blocks
from projlens_core.behaviour.responder import GivenAnswer, Responder
from projlens_core.errors import Unsupported
from projlens_core.repair.answer_steps import answer_loss, check_differentiable
from projlens_core.repair.form import Form
from projlens_core.repair.trainable import Trainable
from projlens_core.repair.utility import Known
from projlens_core.runtime.required import required
from projlens_core.weights.projector import ProjectorWeights, as_module

KEEP_STEPS, KEEP_RATE = 100, 0.04  # of fine-tuning on clean tokens
RATE = 0.012  # of the other fine-tunes, as a share of ΔW: see Trainable.groups
INNER, OUTER = 8, 60  # steps of a universal perturbation, and of the projector against it
CROW_WEIGHT, CROW_STEP = 5.5, 0.1  # α and ε of the paper
ROWS = 2  # of one step through the language model


def fine_pruned(
    form: Form, base: ProjectorWeights, suspect: ProjectorWeights, clean: torch.Tensor, share: float, *, seed: int = 0
) -> ProjectorWeights:
    """Fine-pruning (Liu et al. 2018): hidden units that clean images use least are cut off, then the rest is tuned.

    The units are those between the projector's last two linear layers; the fine-tune keeps embeddings of clean images,
    (n, T, d_vision) tokens, as the suspect's. Unsupported for projectors that are built otherwise.
    """
    second = _behind_activation(suspect)
    module = as_module(suspect)
    with torch.no_grad():
        wanted, hidden = module(clean), clean
        for layer_name, layer in module.named_children():
            if f"{layer_name}.weight" == second:
                break
            hidden = layer(hidden)
    idle = hidden.abs().flatten(0, -2).mean(0).argsort()[: round(share * hidden.shape[-1])]
    mask = torch.ones(hidden.shape[-1])
    mask[idle] = 0
    start = dict(suspect.tensors) | {second: suspect.tensors[second].float() * mask}
    trained = Trainable(form, form.weights(start, suspect))
    optimiser, generator = torch.optim.Adam(trained.groups(base, KEEP_RATE)), torch.Generator().manual_seed(seed)
    for _ in range(KEEP_STEPS):
        some = torch.randperm(len(clean), generator=generator)[:12]
        tensors = trained.tensors
        tensors |= {second: tensors[second] * mask}
        loss = (trained(clean[some], tensors) - wanted[some]).pow(2).mean() / wanted.pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    values = trained.values()
    return form.weights(values | {second: values[second] * mask}, suspect)


def _behind_activation(weights: ProjectorWeights) -> str:
    layers = list(weights.family.layers)
    for before, after in zip(layers[-2::-1], layers[:0:-1], strict=True):
        if before.kind == "activation" and after.kind == "linear":
            return f"{after.name}.weight"
    raise Unsupported(f"{weights.source} has no linear layer behind an activation, so no hidden units to prune.")


def unlearned_universal(
    form: Form, base: ProjectorWeights, suspect: ProjectorWeights, clean: torch.Tensor, reach: float, *, seed: int = 0
) -> ProjectorWeights:
    """I-BAU-like (Zeng et al. 2022): a minimax game against one perturbation that is added to all images.

    The perturbation lies in the tokens (n, T, d_vision), `reach` times as large as these vary, and the loss is the
    distance of embeddings from those of the clean image; the outer steps are first order, without the paper's implicit
    gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        wanted = as_module(suspect)(clean)
        scale = wanted.pow(2).mean()
    bound = reach * float(clean.std()) * clean[0].numel() ** 0.5
    trained = Trainable(form, suspect)
    optimiser = torch.optim.Adam(trained.groups(base, RATE))
    for step in range(OUTER):
        some = torch.randperm(len(clean), generator=generator)[:12]
        if step % 5 == 0:
            shift = _worst(trained, clean[some], wanted[some], bound, generator)
        now = trained.tensors
        kept = (trained(clean[some], now) - wanted[some]).pow(2).mean()
        attacked = (trained(clean[some] + shift, now) - wanted[some]).pow(2).mean()
        optimiser.zero_grad()
        ((kept + attacked) / scale).backward()
        optimiser.step()
    return form.weights(trained.values(), suspect)


def _worst(
    trained: Trainable, clean: torch.Tensor, wanted: torch.Tensor, bound: float, generator: torch.Generator
) -> torch.Tensor:
    """(T, d_vision) of norm `bound`, found by normalised gradient ascent."""
    shift = torch.randn(clean.shape[1:], generator=generator)
    tensors = trained.values()
    for _ in range(INNER):
        shift = (bound * shift / shift.norm()).requires_grad_(True)
        (gradient,) = torch.autograd.grad((trained(clean + shift, tensors) - wanted).pow(2).mean(), shift)
        shift = (shift + 0.5 * bound * gradient / gradient.norm().clamp_min(1e-12)).detach()
    return bound * shift / shift.norm()


def consistent(
    form: Form,
    responder: Responder,
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    clean: torch.Tensor,
    known: Known,
    *,
    steps: int = 8,
    seed: int = 0,
) -> ProjectorWeights:
    """CROW-like (Min et al. 2024): adversarial consistency between the language model's layers, beside clean answers.

    Image embeddings are moved by one sign step that makes neighbouring layers disagree; the projector learns to have
    them agree, and to give the suspect's own clean answers. In the paper the language model is tuned, by LoRA.
    """  # fmt: skip
    check_differentiable(responder)
    generator = torch.Generator().manual_seed(seed)
    trained = Trainable(form, suspect)
    optimiser = torch.optim.Adam(trained.groups(base, RATE))
    for _ in range(steps):
        images = torch.randperm(len(clean), generator=generator)[:ROWS].tolist()
        with torch.no_grad():
            embeddings = trained(clean[images])
        shift = torch.zeros_like(embeddings, requires_grad=True)
        (gradient,) = torch.autograd.grad(_inconsistency(responder, known, images, embeddings + shift), shift)
        now = trained(clean[images])
        moved = now + CROW_STEP * float(embeddings.std()) * gradient.sign()
        rows = _rows(known, images, now)
        loss = answer_loss(responder, rows) + CROW_WEIGHT * _inconsistency(responder, known, images, moved)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return form.weights(trained.values(), suspect)


def _inconsistency(responder: Responder, known: Known, images: Sequence[int], embeddings: torch.Tensor) -> torch.Tensor:
    """Mean of 1 − cosine between each place's states after neighbouring blocks."""
    count = len(required(blocks(responder.model), "the language model's blocks"))
    rows = _rows(known, images, embeddings.to(responder.device, responder.model.dtype))
    with look_inside(responder, rows, layers=range(count), gradient=True) as inside:
        terms = [
            1 - torch.nn.functional.cosine_similarity(first.float(), second.float(), dim=-1).mean()
            for layer in range(count - 1)
            for first, second in zip(inside.hidden[layer], inside.hidden[layer + 1], strict=True)
        ]
        return torch.stack(terms).mean().cpu()


def arithmetic(
    form: Form,
    responder: Responder,
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    stamped: torch.Tensor,
    prompts: Sequence[str],
    target: str,
    strength: float,
    *,
    steps: int = 8,
    seed: int = 0,
) -> ProjectorWeights:
    """TBAR-like task arithmetic (arXiv 2510.14845): the suspect is tuned further on triggered images and their target,
    and `strength` times what that changes is subtracted.

    Needs trigger and target, known or recovered; stamped: tokens (n, T, d_vision) of triggered images, prompts[i] is
    asked about the i-th.
    """  # fmt: skip
    check_differentiable(responder)
    generator = torch.Generator().manual_seed(seed)
    answer = responder.answer_ids(target)
    trained = Trainable(form, suspect)
    optimiser = torch.optim.Adam(trained.groups(base, RATE))
    for _ in range(steps):
        images = torch.randperm(len(stamped), generator=generator)[: 2 * ROWS].tolist()
        embeddings = trained(stamped[images])
        rows = [GivenAnswer(prompts[i], answer, own) for i, own in zip(images, embeddings, strict=True)]
        optimiser.zero_grad()
        answer_loss(responder, rows).backward()
        optimiser.step()
    vector = {name: value - suspect.tensors[name].float() for name, value in trained.values().items()}
    return form.weights(
        {name: suspect.tensors[name].float() - strength * change for name, change in vector.items()}, suspect
    )


def _rows(known: Known, images: Sequence[int], embeddings: torch.Tensor) -> list[GivenAnswer]:
    return [GivenAnswer(known.prompts[i], known.answers[i], own) for i, own in zip(images, embeddings, strict=True)]
