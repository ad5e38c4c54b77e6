"""A look inside a prompt: where the image stands in it, what each layer makes of it, what the model would say next.

One pass of the language model over prompts whose answers are given ("teacher forcing"). Hooks and what they hold are
gone when the block ends. Gradients reach the image embeddings, and through them whatever made these.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from projlens_core.behaviour.packed import blocks
from projlens_core.behaviour.responder import GivenAnswer, Responder
from projlens_core.errors import Unsupported


@dataclass(frozen=True)
class Inside:
    """What was seen in the rows, in their order, padding cut off.

    logits[i]: (answer + 1, vocabulary), float32: what the model would say at each position of the answer, and after
    its last token. log_odds[i]: (answer,), log p / (1 − p) of each token of the answer where it stands.
    image[i]: (length,) bool, where image tokens stand. hidden[layer][i]: (length, d) after the block of that number,
    attention[layer][i]: (heads, length, length); both only for the layers asked for.
    """

    logits: list[torch.Tensor]
    answers: list[list[int]]
    image: list[torch.Tensor]
    hidden: dict[int, list[torch.Tensor]]
    attention: dict[int, list[torch.Tensor]]

    @property
    def log_probabilities(self) -> list[torch.Tensor]:
        """(answer,) for each row: log p of each of its tokens where it stands."""
        return [
            logits[: len(answer)].log_softmax(dim=-1)[range(len(answer)), answer]
            for logits, answer in zip(self.logits, self.answers, strict=True)
        ]

    @property
    def log_odds(self) -> list[torch.Tensor]:
        """(answer,) for each row: log p / (1 − p); unlike log p it has a slope where a token is all but certain."""
        return [log_odds(logits, answer) for logits, answer in zip(self.logits, self.answers, strict=True)]


def log_odds(logits: torch.Tensor, answer: Sequence[int]) -> torch.Tensor:
    """(answer,): log p / (1 − p) of the tokens of an answer: logits (answer + 1, vocabulary)."""
    here = logits[: len(answer)]
    token = here[range(len(answer)), list(answer)]
    others = here.clone()
    others[range(len(answer)), list(answer)] = -torch.inf
    return token - others.logsumexp(dim=-1)


@contextmanager
def look_inside(
    responder: Responder,
    rows: Sequence[GivenAnswer],
    *,
    layers: Sequence[int] = (),
    attention: Sequence[int] = (),
    gradient: bool = False,
) -> Iterator[Inside]:
    """Read the rows under the projector in place and yield what was seen; layers count from 0, −1 is the last.

    With `gradient` the graph from logits, hidden states and attention to the rows' embeddings is kept until the block
    ends. Other threads wait meanwhile. Unsupported for families whose language model reads the image apart from the
    text, and for attention where the model's own does not give it.
    """
    found = blocks(responder.model)
    if found is None:
        raise Unsupported(f"{responder.label} keeps its language model's blocks where this version does not find them.")
    kept: dict[int, torch.Tensor] = {}
    hooks = [
        found[layer].register_forward_hook(
            lambda _, given, put, layer=layer: kept.__setitem__(layer, put if isinstance(put, torch.Tensor) else put[0])
        )
        for layer in layers
    ]
    inside: Inside | None = None
    try:
        with torch.set_grad_enabled(gradient), responder.reading(bool(attention)) as read:
            logits, image, maps = read(rows)
            inside = Inside(
                logits=[own.float() for own in logits],
                answers=[list(row.answer) for row in rows],
                image=image,
                hidden={layer: _rows(kept[layer], image) for layer in layers},
                attention={layer: [m[..., -len(i) :, -len(i) :] for m, i in zip(maps[layer], image, strict=True)]
                           for layer in attention},
            )  # fmt: skip
            yield inside
    finally:
        for hook in hooks:
            hook.remove()
        kept.clear()


def _rows(states: torch.Tensor, image: list[torch.Tensor]) -> list[torch.Tensor]:
    """States (rows, longest, d) without the padding on the left."""
    return [own[-len(places) :] for own, places in zip(states, image, strict=True)]
