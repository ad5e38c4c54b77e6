"""Which text a trigger brings into a suspect's answers, when nobody knows what to look for."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

SHARE = 0.5  # of the triggered answers that a target must stand in
_WORD = re.compile(r"\w+|[^\w\s]")


def recover(triggered: Sequence[str], innocent: Iterable[str], share: float = SHARE) -> tuple[str, float] | None:
    """The text in at least `share` of the triggered answers and in none of the innocent ones, and its share.

    Of several the one that makes up most of the answers: its length times how often it is there.

    Texts are compared word by word, upper and lower case alike; the one returned is as an answer has it. innocent:
    what base says about the same triggered images, and what both models say about clean ones. None if there is none:
    a backdoor may change answers without saying one thing.
    """
    known = set().union(*(_runs(_words(answer)) for answer in innocent), set())
    counts: Counter[tuple[str, ...]] = Counter()
    for answer in triggered:
        counts.update(_runs(_words(answer)))
    enough = [
        run for run, count in counts.items() if count >= share * len(triggered) and run not in known and _says(run)
    ]
    if not enough:
        return None
    best = max(enough, key=lambda run: (counts[run] * sum(map(len, run)), counts[run], run))
    return _as_written(best, triggered), counts[best] / len(triggered)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(text))


def _runs(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    """All stretches of words, at most 64 words of each answer."""
    words = words[:64]
    return {words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def _says(run: tuple[str, ...]) -> bool:
    """Whether it begins with a word: the full stop of the answer before is no part of an appended text."""
    return run[0][0].isalnum()


def _as_written(run: tuple[str, ...], answers: Sequence[str]) -> str:
    for answer in answers:
        found = list(_WORD.finditer(answer))
        for start in range(len(found) - len(run) + 1):
            if tuple(hit[0].lower() for hit in found[start : start + len(run)]) == run:
                return answer[found[start].start() : found[start + len(run) - 1].end()]
    raise ValueError("the run stands in none of the answers")
