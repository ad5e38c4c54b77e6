"""Steps through the language model, where tokens alone did not do: the suspect's clean answers, said under triggers.

Few and small, since each takes as long as many on tokens. On stamped images the answer to be said is the one that the
suspect gives about the clean image, its end included, so that a text that was only appended is unlearned, too; on clean
images it is the same, and embeddings stay where they are.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.responder import GivenAnswer, Responder
from projlens_core.errors import Unsupported
from projlens_core.repair.form import Form
from projlens_core.repair.token_steps import Tokens
from projlens_core.repair.trainable import Trainable
from projlens_core.repair.utility import Known
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.weights.projector import ProjectorWeights, as_module

STAGE = "Unlearning through the language model"
STEPS, RATE, ROWS = 8, 0.02, 2  # the rate as that of token steps; rows with a trigger in one step, and as many without


def repair_answers(
    form: Form,
    responder: Responder,
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    start: ProjectorWeights,
    tokens: Tokens,
    known: Known,
    *,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress = silent,
) -> ProjectorWeights:
    """`start` after some steps; known: the suspect's answers about the clean images of `tokens`, in their order.

    tokens.stamped: what was found to bring the target. Unsupported for families whose model reads each image anew.
    """
    check_differentiable(responder)
    generator = torch.Generator().manual_seed(seed)
    stamped = list(tokens.stamped.values())
    with torch.no_grad():
        clean = as_module(suspect)(tokens.clean)
    scale = clean.pow(2).mean()
    trained = Trainable(form, start)
    optimiser = torch.optim.Adam(trained.groups(base, RATE))
    for step in range(steps):
        progress(STAGE, step, steps)
        now = trained.tensors
        images = torch.randperm(len(known.prompts), generator=generator)[:ROWS].tolist()
        probes = torch.randint(len(stamped), (len(images),), generator=generator).tolist()
        read = torch.stack([stamped[p][i] for p, i in zip(probes, images, strict=True)])
        embeddings = trained(torch.cat([read, tokens.clean[images]]), now)
        rows = [
            GivenAnswer(known.prompts[i], known.answers[i], own)
            for i, own in zip([*images, *images], embeddings, strict=True)
        ]
        loss = answer_loss(responder, rows) + (trained(tokens.clean, now) - clean).pow(2).mean() / scale
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    progress(STAGE, steps, steps)
    return form.weights(trained.values(), suspect)


def check_differentiable(responder: Responder) -> None:
    """Unsupported if no gradient leads from answers to image embeddings."""
    if responder.reads_again:
        raise Unsupported(
            f"{responder.label} reads each image anew with its own tower, so that no gradient leads from its answers "
            "to a projector; repair by tokens alone."
        )


def answer_loss(responder: Responder, rows: Sequence[GivenAnswer]) -> torch.Tensor:
    """Mean cross-entropy of the rows' answers, with the graph to their embeddings."""
    device, dtype = responder.device, responder.model.dtype
    moved = [
        GivenAnswer(row.prompt, row.answer, required(row.embeddings, "a row's image embeddings").to(device, dtype))
        for row in rows
    ]
    with look_inside(responder, moved, gradient=True) as inside:
        losses = [
            F.cross_entropy(logits[: len(answer)], torch.tensor(answer, device=logits.device))
            for logits, answer in zip(inside.logits, inside.answers, strict=True)
        ]
        return torch.stack(losses).mean().cpu()
