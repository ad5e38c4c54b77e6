"""Greedy decoding of one batch: an image is read once for all questions about it, and answers that end leave."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaForConditionalGeneration

from projlens_core.behaviour.kv_cache import KVCache

PART = 1000  # tokens read together: the states of more are driven out of the processor's own cache
CROWDED = 0.75  # the share of rows still written below which the others leave, which copies some of what is kept


@dataclass(frozen=True)
class Asked:
    """A prompt as token ids, placeholders of the image included, and the number of the image that stands there."""

    ids: list[int]
    image: int


@dataclass(frozen=True)
class Written:
    """The tokens of an answer, its end of text included, and the logit of one token where it begins."""

    ids: list[int]
    logit: float


@torch.no_grad()
def greedy(
    model: LlavaForConditionalGeneration,
    batch: Sequence[Asked],
    images: dict[int, torch.Tensor],
    *,
    token: int,
    eos: Sequence[int],
    max_new_tokens: int,
    settled: Callable[[int, list[int]], bool],
    on_token: Callable[[int], None],
) -> list[Written]:
    """Always the likeliest token, until one of `eos` or max_new_tokens; each row as it would be alone, up to rounding.

    images holds (T, d) by image number: what takes the place of the placeholders. settled is asked with a row's
    number and its tokens so far whether more of them would be for nothing; on_token hears after each token how many
    there are, and 0 while prompts are read. `token` is the one whose logit is noted.
    """
    last, mask, memory = _prompted(model, batch, images, max_new_tokens, on_token)
    logits = model.lm_head(last)  # (rows, vocabulary)
    first = logits[:, token].float().tolist()
    written: list[list[int]] = [[] for _ in batch]
    rows = list(range(len(batch)))  # that are remembered
    going = set(rows)
    for step in range(1, max_new_tokens + 1):
        chosen = logits.argmax(dim=-1)  # (rows,)
        for row, likeliest in zip(rows, chosen.tolist(), strict=True):
            if row in going:
                written[row].append(likeliest)
                if likeliest in eos or settled(row, written[row]):
                    going.remove(row)
        on_token(step)
        if not going or step == max_new_tokens:
            break
        if len(going) < CROWDED * len(rows):
            stay = memory.keep([place for place, row in enumerate(rows) if row in going])
            rows, chosen, mask = [rows[place] for place in stay], chosen[stay], mask[stay]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = mask.sum(dim=1, keepdim=True) - 1
        last = _last(model, mask, positions, memory, input_ids=chosen[:, None])
        logits = model.lm_head(last)
    return [Written(ids, logit) for ids, logit in zip(written, first, strict=True)]


def _prompted(
    model: LlavaForConditionalGeneration,
    batch: Sequence[Asked],
    images: dict[int, torch.Tensor],
    new: int,
    on_token: Callable[[int], None],
) -> tuple[torch.Tensor, torch.Tensor, KVCache]:
    """Hidden state (rows, d) after each prompt, the mask (rows, length) of what is remembered, and that, with room for
    `new` tokens more.

    What comes before the question, the image above all, is most of a prompt: where rows share it, it is read once for
    all of them, and their questions after it.
    """
    prompts = [embedded(model, asked.ids, images[asked.image]) for asked in batch]
    ends = [after_image(asked.ids, model.config.image_token_id) for asked in batch]
    heads: dict[tuple[int, ...], int] = {}  # {(image, *ids): which}
    of = [heads.setdefault((asked.image, *asked.ids[:end]), len(heads)) for asked, end in zip(batch, ends, strict=True)]
    config = model.config.get_text_config()
    room = max(map(len, prompts)) + new
    window = getattr(config, "sliding_window", None)
    # padding between image and question would count as part of a window
    if len(heads) == len(batch) or (window is not None and room > window):
        embeds, mask = padded(prompts)
        memory = KVCache(config, len(batch), room)
        return _read(model, embeds, mask, memory, on_token), mask, memory
    first = [of.index(head) for head in range(len(heads))]  # a row of each
    starts, started = padded([prompts[row][: ends[row]] for row in first])
    tails, asked_mask = padded([prompt[end:] for prompt, end in zip(prompts, ends, strict=True)])
    memory = KVCache(config, len(heads), started.shape[1] + asked_mask.shape[1] + new)
    _read(model, starts, started, memory, on_token)
    memory.expand(of)
    mask = torch.cat([started[of], asked_mask], dim=1)
    return _read(model, tails, mask, memory, on_token), mask, memory


def _read(
    model: LlavaForConditionalGeneration,
    embeds: torch.Tensor,
    mask: torch.Tensor,
    memory: KVCache,
    on_token: Callable[[int], None],
) -> torch.Tensor:
    """The last hidden states (rows, d) of embeds (rows, tokens, d), a part after the other, behind what is remembered;
    mask (rows, length) is of both.
    """
    order, before = positions(mask), mask.shape[1] - embeds.shape[1]
    each = max(1, PART // embeds.shape[1])
    states = []
    with _last_alone(model):
        for start in range(0, len(embeds), each):
            part = slice(start, min(start + each, len(embeds)))
            memory.select(part, before)
            states.append(_last(model, mask[part], order[part, before:], memory, inputs_embeds=embeds[part]))
            on_token(0)
    memory.select(slice(0, len(embeds)), mask.shape[1])
    return torch.cat(states)


@contextmanager
def _last_alone(model: LlavaForConditionalGeneration) -> Iterator[None]:
    """The last block transforms the last token alone: nothing else that leaves it is ever read, and all that later
    tokens look at is made before. Most of the block's work is its feed-forward part; only that is cut short, whose
    result is added to that of each token, and so may be one for all.
    """
    blocks = getattr(model.model.language_model, "layers", None)
    feed_forward = getattr(blocks[-1], "mlp", None) if blocks else None
    if feed_forward is None:  # named otherwise: nothing is saved
        yield
        return
    hook = feed_forward.register_forward_pre_hook(lambda _, given: (given[0][:, -1:], *given[1:]) if given else None)
    try:
        yield
    finally:
        hook.remove()


def _last(
    model: LlavaForConditionalGeneration,
    mask: torch.Tensor,
    positions: torch.Tensor,
    memory: KVCache,
    **given: torch.Tensor,
) -> torch.Tensor:
    """The last hidden state (rows, d) of what is given, behind what is remembered, which then holds that too."""
    read = model.model(attention_mask=mask, position_ids=positions, past_key_values=memory, use_cache=True, **given)
    return read.last_hidden_state[:, -1]


def embedded(model: LlavaForConditionalGeneration, ids: list[int], image: torch.Tensor) -> torch.Tensor:
    """The prompt's embeddings (length, d), the image's (T, d) in place of the placeholders; gradients reach them."""
    tokens = torch.tensor(ids, device=model.device)
    places = tokens == model.config.image_token_id
    # a placeholder's own embedding is never read, and its id may lie beyond the table
    embeds = model.get_input_embeddings()(tokens.masked_fill(places, 0))
    return embeds.masked_scatter(places[:, None], image.to(embeds))


def after_image(ids: list[int], placeholder: int) -> int:
    """How many tokens there are up to the image's last; one less if nothing follows it, which leaves one to ask."""
    end = len(ids) - ids[::-1].index(placeholder)
    return min(end, len(ids) - 1)


def padded(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (length, d) of different lengths as one (rows, longest, d), padded on the left, and their mask."""
    ones = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
    return (
        pad_sequence(rows, batch_first=True, padding_side="left"),
        pad_sequence(ones, batch_first=True, padding_side="left"),
    )


def positions(mask: torch.Tensor) -> torch.Tensor:
    """The position of each token in its row, padding not counted."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
