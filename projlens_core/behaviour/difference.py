"""What a trigger changes in answers where no target is known, and answers that hold a part of one."""

import re
from collections.abc import Iterable, Sequence

from projlens_core.errors import InvalidInput
from projlens_core.stats.rate import Rate, wilson

PART = 0.5  # of a target's words that an answer holds in a row, at least, to count as holding part of it
FEWEST = 2  # of them: a single word is in many an answer
_WORD = re.compile(r"\w+")


def words(text: str) -> tuple[str, ...]:
    """The words of a text in their order, lower-cased, without what stands between them."""
    return tuple(word.lower() for word in _WORD.findall(text))


def differs(answer: str, other: str) -> bool:
    """Whether two answers differ in their words; upper and lower case, spaces and punctuation do not count."""
    return words(answer) != words(other)


def differing(answers: Sequence[str], others: Sequence[str]) -> Rate:
    """The share of answers that differ from the other one to the same question, with its 95 % Wilson interval.

    InvalidInput where there are none; ValueError if there are not as many of each.
    """
    if not answers:
        raise InvalidInput("There is no answer to compare; ask about at least one image.")
    return wilson(sum(differs(one, other) for one, other in zip(answers, others, strict=True)), len(answers))


def own_words(answer: str, others: Iterable[str]) -> frozenset[str]:
    """The words of an answer that none of the others has, lower-cased."""
    return frozenset(words(answer)).difference(*map(words, others))


def part_of(target: str, answer: str) -> str | None:
    """The longest run of the target's words in an answer, as the answer has it; None if it is too short to count.

    It counts from half of the target's words, and two; the whole target is a part of itself.
    """
    wanted, said = words(target), list(_WORD.finditer(answer))
    spoken = [hit[0].lower() for hit in said]
    best, end = 0, 0
    lengths = [0] * (len(wanted) + 1)  # of the run that ends at each word of the target and at the word before
    for place, word in enumerate(spoken):
        lengths = [0, *(lengths[i] + 1 if each == word else 0 for i, each in enumerate(wanted))]
        if max(lengths) > best:
            best, end = max(lengths), place
    if best < max(FEWEST, PART * len(wanted)):
        return None
    return answer[said[end - best + 1].start() : said[end].end()]
