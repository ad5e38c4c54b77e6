"""Several questions about one image, each with an answer that is given, read in one sequence.

Most of a prompt is its image. Here it stands once, the questions and answers behind it, side by side: each sees what
came before all of them and itself, and is counted from the image's end as if it were alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaForConditionalGeneration

from projlens_core.behaviour.greedy import after_image, embedded
from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.llava import LlavaResponder
from projlens_core.behaviour.responder import GivenAnswer, Responder

Asked = Sequence[tuple[str, Sequence[int]]]  # questions with given answers as token ids


@dataclass(frozen=True)
class _Sequence:
    """One image's sequence: embeddings (length, d), positions and branches (length,), 0 for what all of them see, and
    of each branch, by numbers of image and question, where its answer's first token is said, and its end.
    """

    embeddings: torch.Tensor
    positions: torch.Tensor
    branch: torch.Tensor
    answers: dict[tuple[int, int], tuple[int, int]]


def answer_logits(
    responder: Responder, shown: Sequence | torch.Tensor, asked: Sequence[Asked], *, gradient: bool = False
) -> list[list[torch.Tensor]]:
    """Logits [i][j] (answer + 1, vocabulary), float32, of the answers asked[i][j] about shown[i].

    shown: images, read under the projector in place; or image embeddings (T, d), whichever projector made them, where
    the responder does not read images again. With `gradient` the graph to those embeddings is kept.
    """
    with torch.set_grad_enabled(gradient):
        if isinstance(responder, LlavaResponder) and not _windowed(responder.model):
            with responder.reading(False):  # so that others wait
                return _branched(responder, shown, asked)
        named = "image" if responder.reads_again else "embeddings"
        rows = [
            GivenAnswer(*each, **{named: one})
            for one, each_asked in zip(shown, asked, strict=True)
            for each in each_asked
        ]
        with look_inside(responder, rows, gradient=gradient) as inside:
            logits = iter(inside.logits)
            return [[next(logits) for _ in each_asked] for each_asked in asked]


def _windowed(model: LlavaForConditionalGeneration) -> bool:
    """Whether its language model's attention is more than causal, which the mask here knows nothing of."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return getattr(config, "sliding_window", None) is not None or not kinds <= {"full_attention"}


def _branched(
    responder: LlavaResponder, shown: Sequence[torch.Tensor] | torch.Tensor, asked: Sequence[Asked]
) -> list[list[torch.Tensor]]:
    sequences = [each for i, questions in enumerate(asked) for each in _sequences(responder, shown[i], questions, i)]
    embeds = pad_sequence([each.embeddings for each in sequences], batch_first=True)  # (n, longest, d), padded right
    positions = pad_sequence([each.positions for each in sequences], batch_first=True)
    branch = pad_sequence([each.branch for each in sequences], batch_first=True, padding_value=-1)
    longest = embeds.shape[1]
    earlier = torch.ones(longest, longest, dtype=torch.bool, device=embeds.device).tril()
    seen = earlier & ((branch[:, None, :] == branch[:, :, None]) | (branch[:, None, :] == 0))  # (n, longest, longest)
    bias = torch.zeros(seen.shape, dtype=embeds.dtype, device=embeds.device).masked_fill(
        ~seen, torch.finfo(embeds.dtype).min
    )
    states = responder.model.model(
        inputs_embeds=embeds, attention_mask=bias[:, None], position_ids=positions, use_cache=False
    ).last_hidden_state
    logits = {
        place: responder.model.lm_head(own[start:end]).float()
        for own, each in zip(states, sequences, strict=True)
        for place, (start, end) in each.answers.items()
    }
    return [[logits[i, j] for j in range(len(questions))] for i, questions in enumerate(asked)]


def _sequences(responder: LlavaResponder, image: torch.Tensor, asked: Asked, number: int) -> Iterator[_Sequence]:
    """One sequence, unless prompts differ before the image's end: questions about image `number` that begin alike."""
    prompts = [[*responder.token_ids(question, len(image), len(answer)), *answer] for question, answer in asked]
    starts = [after_image(prompt, responder.model.config.image_token_id) for prompt in prompts]
    alike: dict[tuple[int, ...], list[int]] = {}
    for j, (prompt, start) in enumerate(zip(prompts, starts, strict=True)):
        alike.setdefault(tuple(prompt[:start]), []).append(j)
    for begun, places in alike.items():
        start = len(begun)
        ids, positions, branch, answers = list(begun), list(range(start)), [0] * start, {}
        for which, j in enumerate(places, 1):
            ids += prompts[j][start:]
            positions += range(start, len(prompts[j]))
            branch += [which] * (len(prompts[j]) - start)
            answers[number, j] = len(ids) - len(asked[j][1]) - 1, len(ids)
        device = image.device
        yield _Sequence(
            embedded(responder.model, ids, image),
            torch.tensor(positions, device=device),
            torch.tensor(branch, device=device),
            answers,
        )
