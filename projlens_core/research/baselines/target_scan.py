"""A scan for the target after BAIT (Shen et al., IEEE S&P 2025), without a trigger.

A backdoor's target is learned as a whole: once its first token stands there, the rest follows, whatever was asked. So
every token of the vocabulary is tried as the beginning of an answer to clean prompts. Step by step the token is added
that is likeliest on average over the prompts; the mean of these averages is the beginning's Q. The paper's score is the
largest Q; here base's Q of the same beginning is taken away, since sentences that any of these models completes would
else be all that is found. What the paper adds for uncertain steps, several branches of a text, is left out.
"""

from collections.abc import Sequence

import torch
from PIL import Image
from transformers import DynamicCache, LlavaForConditionalGeneration

from projlens_core.behaviour.greedy import embedded
from projlens_core.behaviour.llava import LlavaResponder
from projlens_core.behaviour.responder import Responder
from projlens_core.errors import Unsupported
from projlens_core.weights.projector import ProjectorWeights

STEPS = 8  # tokens behind the first
SHORTEST = 3  # of them, before a text ends, for it to be one
LIKELY = 0.5  # mean probability of a step, below which a beginning is given up, as its Q is low anyhow


@torch.no_grad()
def continued(
    responder: Responder, weights: ProjectorWeights, images: Sequence[Image.Image], prompts: Sequence[str]
) -> torch.Tensor:
    """(vocabulary,): Q of each token as the first of an answer, 0 where it was given up or the text is too short; an
    image for each prompt.
    """
    if not isinstance(responder, LlavaResponder):
        raise Unsupported("Targets are scanned for in LLaVA's shape alone.")
    model, end = responder.model, torch.tensor(responder.answer_ids("")[-1])
    with responder.projector(weights):
        shown = responder.embeddings(images)
        memories = []
        for image, prompt in zip(shown, prompts, strict=True):
            ids = responder.token_ids(prompt, len(image), STEPS + 1)
            memory = DynamicCache(config=model.config.get_text_config())
            model.model(inputs_embeds=embedded(model, ids, image)[None], past_key_values=memory, use_cache=True)
            memories.append(memory)
        vocabulary = model.lm_head.weight.shape[0]
        found = torch.zeros(vocabulary)
        going = torch.arange(vocabulary)  # beginnings
        last, sums, steps = going[:, None], torch.zeros(vocabulary), 0
        for memory in memories:
            memory.batch_repeat_interleave(vocabulary)
        while steps < STEPS and len(going):
            average = torch.stack([_next(model, memory, last) for memory in memories]).mean(dim=0)
            likely, token = average.max(dim=-1)
            ended = torch.isin(token, end)
            if steps >= SHORTEST:
                found[going[ended]] = sums[ended] / steps
            stay = (likely >= LIKELY) & ~ended
            going, sums, last = going[stay], (sums + likely)[stay], token[stay, None]
            for memory in memories:
                memory.batch_select_indices(stay.nonzero()[:, 0])
            steps += 1
        found[going] = sums / max(1, steps)
    return found


def score(suspect: torch.Tensor, base: torch.Tensor) -> float:
    """By how much the suspect's Q, (vocabulary,), exceeds base's of the same beginning at most."""
    return float((suspect - base).max())


def _next(model: LlavaForConditionalGeneration, memory: DynamicCache, last: torch.Tensor) -> torch.Tensor:
    """(rows, vocabulary): probabilities of the token behind `last` (rows, 1), which is then remembered."""
    read = model.model(input_ids=last, past_key_values=memory, use_cache=True)
    return model.lm_head(read.last_hidden_state[:, -1]).float().softmax(dim=-1)
