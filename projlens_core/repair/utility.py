"""How far a repaired projector still answers as the suspect does about clean images, without generating anything.

The suspect's own answers are read word for word under the other projector: a token agrees if it is the one that the
model would say there. An answer all of whose tokens agree, its end included, is the answer that the model gives.

No answer is known to be right, so what a change costs is weighed by how sure the suspect is of each answer, the product
over its tokens: one that it gives 45 % and that becomes one which it gives 40 % is hardly lost, as either may be right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from projlens_core.behaviour.disturbance import ANSWER
from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.responder import GivenAnswer, Responder
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights

POINT = 0.01  # of answers that a round may lose
TOP = 32  # tokens at each place whose probability is kept
GAIN, LEAST_LEARNED = 0.95, 10  # of what was learned: the share to keep; the answers that it takes to tell
SPARED = 0.97  # the share from which on no weaker pull is looked for
AT_ONCE = 24  # rows of one pass
STAGE = "Reading the suspect's own answers"


@dataclass(frozen=True)
class KeptAnswers:
    """Shares from 0 to 1 of the suspect's own answers: of their tokens, and of whole answers; n answers."""

    tokens: float
    answers: float
    n: int


@dataclass(frozen=True)
class Known:
    """What the suspect says by itself about clean images: answers[i], as token ids with their end, to prompts[i] about
    images[i]."""

    images: tuple[Image.Image, ...]
    prompts: tuple[str, ...]
    answers: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        responder: Responder,
        suspect: ProjectorWeights,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        progress: Progress = silent,
    ) -> "Known":
        """prompts take turns over the images."""
        asked = tuple(prompts[i % len(prompts)] for i in range(len(images)))
        with responder.projector(suspect):
            said = responder.answers(images, asked, ANSWER, progress=progress)
        return cls(tuple(images), asked, tuple(tuple(responder.answer_ids(text)) for text in said))


def agreement(
    responder: Responder, weights: ProjectorWeights, known: Known, progress: Progress = silent
) -> KeptAnswers:
    """How far the answers under `weights` are the known ones."""
    return share(agreeing(known, said(responder, weights, known, progress)))


def share(agreeing: Sequence[torch.Tensor]) -> KeptAnswers:
    """The shares of what `agreeing` gives."""
    n, every = len(agreeing), torch.cat(list(agreeing))
    tokens = float(every.double().mean()) if len(every) else float("nan")
    return KeptAnswers(tokens, sum(bool(each.all()) for each in agreeing) / n, n)


Said = tuple[torch.Tensor, ...]  # of each known answer, the tokens (length,) that a model would say in its places


@dataclass(frozen=True)
class Belief:
    """What the suspect holds likely in each place of its own answers: of each, the TOP tokens (length, TOP) and their
    probabilities."""

    tokens: tuple[torch.Tensor, ...]
    probabilities: tuple[torch.Tensor, ...]

    @property
    def said(self) -> Said:
        """What the suspect itself says there: the likeliest, which stand first."""
        return tuple(each[:, 0] for each in self.tokens)

    def of(self, said: Said) -> torch.Tensor:
        """How likely the suspect holds each answer that has these tokens, (answers,); a token that is not among the
        likeliest counts 0."""
        places = zip(self.tokens, self.probabilities, said, strict=True)
        each = [((tokens == own[:, None]) * likely).sum(-1).double() for tokens, likely, own in places]
        return torch.stack([likely.prod() for likely in each])


@dataclass(frozen=True)
class Cost:
    """What another projector costs, as the suspect's belief weighs it, each with its standard error over answers.

    lost: share of answers that are lost; learned: of those in which the suspect differs from base, the share that is
    kept of what they are worth beyond base's; None where they are fewer than LEAST_LEARNED.
    """

    lost: float
    lost_error: float
    learned: float | None
    learned_error: float

    def bearable(self, errors: float = 1.0) -> bool:
        """Whether it is not shown, by so many standard errors, to cost more than a round may: one changed answer of a
        dozen shows nothing."""
        enough = self.learned is None or self.learned + errors * self.learned_error >= GAIN
        return enough and self.lost - errors * self.lost_error <= POINT


def spares(lost: float, learned: float | None) -> bool:
    """Whether that is little as it was measured, whatever the error; see Cost."""
    return (learned is None or learned >= SPARED) and lost <= POINT


def cost(known: Known, belief: Belief, base: Said, suspect: Said, other: Said) -> Cost:
    """What `other` costs against the suspect; base, suspect, other: what each says."""
    worth, now, before = (belief.of(each) for each in (suspect, other, base))
    lost = _ratio(worth - now, torch.ones_like(worth))
    own = [torch.tensor(answer) for answer in known.answers]
    learned = torch.tensor([bool(((s == o) & (b != o)).any()) for s, b, o in zip(suspect, base, own, strict=True)])
    if int(learned.sum()) < LEAST_LEARNED:
        return Cost(*lost, None, 0.0)
    return Cost(*lost, *_ratio((now - before)[learned], (worth - before)[learned]))


def _ratio(above: torch.Tensor, below: torch.Tensor) -> tuple[float, float]:
    """Σ above / Σ below over answers, and its standard error where answers are drawn at random."""
    total = below.sum().clamp_min(1e-12)
    ratio = above.sum() / total
    return float(ratio), float((above - ratio * below).square().sum().sqrt() / total)


def agreeing(known: Known, said: Said) -> list[torch.Tensor]:
    """Of each known answer, which of its tokens (length,) are said."""
    return [own == torch.tensor(answer) for own, answer in zip(said, known.answers, strict=True)]


def said(responder: Responder, weights: ProjectorWeights, known: Known, progress: Progress = silent) -> Said:
    """What the model would say in each place of the known answers under `weights`."""
    return tuple(each.argmax(-1) for each in _logits(responder, weights, known, progress))


def belief(responder: Responder, suspect: ProjectorWeights, known: Known, progress: Progress = silent) -> Belief:
    """The suspect's own."""
    likeliest = [
        each.softmax(-1).topk(min(TOP, each.shape[-1])) for each in _logits(responder, suspect, known, progress)
    ]
    return Belief(tuple(each.indices for each in likeliest), tuple(each.values for each in likeliest))


@torch.no_grad()
def _logits(
    responder: Responder, weights: ProjectorWeights, known: Known, progress: Progress
) -> Iterator[torch.Tensor]:
    """(length, vocabulary) of each known answer under `weights`."""
    with responder.projector(weights):
        for start in range(0, len(known.prompts), AT_ONCE):
            progress(STAGE, start, len(known.prompts))
            part = slice(start, start + AT_ONCE)
            with look_inside(responder, rows_of(responder, known, part)) as inside:
                for logits, answer in zip(inside.logits, inside.answers, strict=True):
                    yield logits[: len(answer)].cpu()


def rows_of(responder: Responder, known: Known, part: slice) -> list[GivenAnswer]:
    """The known answers as rows, their images read under the projector in place."""
    asked = list(zip(known.prompts[part], known.answers[part], known.images[part], strict=True))
    if responder.reads_again:
        return [GivenAnswer(prompt, answer, image=image) for prompt, answer, image in asked]
    embeddings = responder.embeddings([image for _, _, image in asked])
    return [GivenAnswer(prompt, answer, own) for (prompt, answer, _), own in zip(asked, embeddings, strict=True)]
