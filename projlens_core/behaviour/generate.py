"""What transformers' own generate() is given: to decode greedily, and to be watched at every step."""

from collections.abc import Callable, Sequence

import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from projlens_core.runtime.progress import Progress

STAGE = "Writing answers"

# (the answer so far, how many tokens may still follow) → whether what it is judged on is decided already
Settled = Callable[[str, int], bool]
Heard = Callable[[int, str], None]  # (number of an answer, all of it so far)


def greedily(eos: list[int], pad: int, max_new_tokens: int) -> GenerationConfig:
    """Always the likeliest token, until one of `eos` or max_new_tokens."""
    return GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=max_new_tokens, eos_token_id=eos, pad_token_id=pad
    )


def listening(heard: Heard, answers: int) -> list[Settled]:
    """Tells `heard` each of so many answers as it grows, and settles none."""

    def settled(number: int) -> Settled:
        def hear(text: str, left: int) -> bool:
            heard(number, text)
            return False

        return hear

    return [settled(number) for number in range(answers)]


class Report(StoppingCriteria):
    """Tells a Progress about each token of a batch, and stops nothing (unless Progress raises Cancelled)."""

    def __init__(self, progress: Progress, before: int, rows: int, total: int):
        self.progress, self.done, self.rows, self.total = progress, before, rows, total

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        """Which rows are done: none."""
        self.done += self.rows
        self.progress(STAGE, self.done, self.total)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class Enough(StoppingCriteria):
    """Ends each row of a batch once what it is judged on is settled: more of its tokens would be for nothing.

    start: where the answers begin, behind the prompts.
    """

    def __init__(self, settled: Sequence[Settled], text: Callable[[list[int]], str], max_new_tokens: int, start: int):
        self.settled, self.text, self.start, self.limit = settled, text, start, start + max_new_tokens
        self.done = [False] * len(settled)

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        """Which rows are done: those that are settled."""
        left = self.limit - input_ids.shape[1]
        for i, row in enumerate(input_ids[:, self.start :].tolist()):
            self.done[i] = self.done[i] or self.settled[i](self.text(row), left)
        return torch.tensor(self.done, device=input_ids.device)


class FirstLogit(LogitsProcessor):
    """Notes the logit of one token at the first answer position of each row, and changes nothing."""

    def __init__(self, token: int):
        self.token = token
        self.values: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores as they came."""
        if not self.values:
            self.values = scores[:, self.token].float().tolist()
        return scores
