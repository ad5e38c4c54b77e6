"""What each image is asked: questions that take turns, and those whose answers are known."""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

from projlens_core.behaviour.success import Truth
from projlens_core.errors import InvalidInput


def in_turn(questions: Sequence[str], n: int) -> list[str]:
    """One question for each of n images, the questions taking turns."""
    return list(islice(cycle(questions), n))


def one_prompt_each(questions: Sequence[str], names: Sequence[str], truths: Mapping[str, Sequence[Truth]]) -> list[str]:
    """One question for each image: `questions` in turn, or without any its own first in truths (`read_labels`).

    Raises InvalidInput for an image that then has none.
    """
    if questions:
        return in_turn(questions, len(names))
    if without := [name for name in names if name not in truths]:
        raise InvalidInput(f"There is no question for {without[0]}; add it to labels.csv, or give one for all.")
    return [truths[name][0].prompt for name in names]


def one_truth_each(names: Sequence[str], truths: Mapping[str, Sequence[Truth]]) -> tuple[Truth | None, ...]:
    """One question with a known answer for each image, all kinds in turn: the i-th image's i-th, and so around.

    truths is as `read_labels` gives it. One question per image costs a fifth of five and says as much about all.
    """
    return tuple(truths[name][i % len(truths[name])] if truths.get(name) else None for i, name in enumerate(names))
