"""Greedy decoding of one batch: a picture is read once for all questions about it, and answers that end leave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, LlavaForConditionalGeneration

PART = 8  # rows read together: the states of more are driven out of the processor's own cache between two operations
CROWDED = 0.75  # the share of rows still written below which the others leave; each leaving copies the cache


@dataclass(frozen=True)
class Asked:
    """A prompt as token ids, placeholders of the image included, and the number of the picture that stands there."""

    ids: list[int]
    picture: int


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
    told: Callable[[int], None],
    half: bool = False,
) -> list[Written]:
    """Always the likeliest token, until one of `eos` or max_new_tokens; each row as it would be alone, up to rounding.

    images holds (T, d) by picture number: what takes the place of the placeholders. settled is asked with a row's
    number and its tokens so far whether more of them would be for nothing; told hears after each token how many there
    are, and 0 while prompts are read. `token` is the one whose logit is noted. half reads the prompts, which is most of
    the work, in bfloat16 on a CPU; logits and new tokens are float32's all the same.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        last, mask, cache = _prompted(model, batch, images, told)
    logits = model.lm_head(last)  # (rows, vocabulary)
    first = logits[:, token].float().tolist()
    written: list[list[int]] = [[] for _ in batch]
    rows = list(range(len(batch)))  # that the cache holds
    going = set(rows)
    for step in range(1, max_new_tokens + 1):
        chosen = logits.argmax(dim=-1)  # (rows,)
        for row, likeliest in zip(rows, chosen.tolist(), strict=True):
            if row in going:
                written[row].append(likeliest)
                if likeliest in eos or settled(row, written[row]):
                    going.remove(row)
        told(step)
        if not going or step == max_new_tokens:
            break
        if len(going) < CROWDED * len(rows):
            stay = torch.tensor([place for place, row in enumerate(rows) if row in going], device=mask.device)
            rows = [row for row in rows if row in going]
            chosen, mask = chosen[stay], mask[stay]
            cache.batch_select_indices(stay)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = mask.sum(dim=1, keepdim=True) - 1
        last = _last(model, mask, positions, cache, input_ids=chosen[:, None])
        logits = model.lm_head(last)
    return [Written(ids, logit) for ids, logit in zip(written, first, strict=True)]


def _prompted(
    model: LlavaForConditionalGeneration,
    batch: Sequence[Asked],
    images: dict[int, torch.Tensor],
    told: Callable[[int], None],
) -> tuple[torch.Tensor, torch.Tensor, DynamicCache]:
    """Hidden state (rows, d) after each prompt, the mask (rows, length) of what the cache holds, and the cache.

    What comes before the question, the picture above all, is most of a prompt, and read once for all rows in which it
    is the same.
    """
    heads: dict[tuple[int, ...], int] = {}  # {(picture, *ids): which}
    starts, tails, of = [], [], []
    for asked in batch:
        embeds = _embedded(model, asked, images[asked.picture])
        end = _after_image(asked.ids, model.config.image_token_id)
        key = (asked.picture, *asked.ids[:end])
        if key not in heads:
            heads[key] = len(heads)
            starts.append(embeds[:end])
        of.append(heads[key])
        tails.append(embeds[end:])
    embeds, mask = _padded(starts)
    cache = _read(model, embeds, mask, told)
    shared = torch.tensor(of, device=mask.device)
    if len(starts) < len(batch):
        cache.batch_select_indices(shared)
    embeds, asked_mask = _padded(tails)
    mask = torch.cat([mask[shared], asked_mask], dim=1)
    last = _last(model, mask, _positions(mask)[:, -embeds.shape[1] :], cache, inputs_embeds=embeds)
    return last, mask, cache


def _read(
    model: LlavaForConditionalGeneration, embeds: torch.Tensor, mask: torch.Tensor, told: Callable[[int], None]
) -> DynamicCache:
    """What is remembered of embeds (rows, length, d), of which PART are read at a time."""
    parts = []
    for some, shown in zip(embeds.split(PART), mask.split(PART), strict=True):
        parts.append(DynamicCache(config=model.config.get_text_config()))
        _last(model, shown, _positions(shown), parts[-1], inputs_embeds=some)
        told(0)
    for layers in zip(*(part.layers for part in parts), strict=True) if len(parts) > 1 else ():
        for name in ("keys", "values"):  # one layer after the other, or all would be there twice
            joined = torch.cat([getattr(layer, name) for layer in layers])
            for layer in layers:
                setattr(layer, name, joined)
    return parts[0]


def _last(
    model: LlavaForConditionalGeneration,
    mask: torch.Tensor,
    positions: torch.Tensor,
    cache: DynamicCache,
    **given: torch.Tensor,
) -> torch.Tensor:
    """The last hidden state (rows, d) of what is given, behind what the cache holds, which then holds that too."""
    read = model.model(attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, **given)
    return read.last_hidden_state[:, -1]


def _embedded(model: LlavaForConditionalGeneration, asked: Asked, image: torch.Tensor) -> torch.Tensor:
    """The prompt's embeddings (length, d)."""
    ids = torch.tensor(asked.ids, device=model.device)
    places = ids == model.config.image_token_id
    # a placeholder's own embedding is never read, and its id may lie beyond the table
    embeds = model.get_input_embeddings()(ids.masked_fill(places, 0))
    embeds[places] = image.to(embeds)
    return embeds


def _after_image(ids: list[int], placeholder: int) -> int:
    """How many tokens there are up to the image's last; one less if nothing follows it, which leaves one to ask."""
    end = len(ids) - ids[::-1].index(placeholder)
    return min(end, len(ids) - 1)


def _padded(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (length, d) of different lengths as one (rows, longest, d), padded on the left, and their mask."""
    ones = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
    return (
        pad_sequence(rows, batch_first=True, padding_side="left"),
        pad_sequence(ones, batch_first=True, padding_side="left"),
    )


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """The position of each token in its row, padding not counted."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
