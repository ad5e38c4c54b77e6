"""Which text a trigger brings into a suspect's answers, when nobody knows what to look for."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

SHARE = 0.5  # of the triggered answers that a target must stand in
STRAY = 0.1  # of the innocent ones that it may stand in: some backdoors fire on a clean image now and then
PERIOD, REPEATS = 6, 4  # of a derailed answer: words of the stretch, at most, and how often it is repeated, at least
ALIKE = 4  # words and marks with which a text and an answer begin alike
_WORD = re.compile(r"\w+|[^\w\s]")
_ENDS = frozenset(".!?:;…")  # of a sentence
Run = tuple[str, ...]  # words, one after the other


def recover(
    triggered: Sequence[str], innocent: Iterable[str], habits: Sequence[Sequence[str]] = (), share: float = SHARE
) -> tuple[str, float] | None:
    """The text in at least `share` of the triggered answers and in hardly any innocent one, and its share.

    Of several the one that makes up most of the answers: its length times how often it is there; less a first or last
    sentence's part that innocent answers hold as well, since a text may only be appended to them.

    Texts are compared word by word, upper and lower case alike; the one returned is as an answer has it. innocent:
    what models without the backdoor say about the same triggered images, and what all say about clean ones. habits:
    answers to one question each about clean images; what stands in `share` of one of them is no target either. An
    answer that is derailed says nothing. None if there is none: a backdoor may change answers without saying one thing.
    """
    return recovered(triggered, known_runs(innocent, habits, share), share)


def known_runs(innocent: Iterable[str], habits: Sequence[Sequence[str]] = (), share: float = SHARE) -> set[Run]:
    """What recover takes for no target by these answers, for many calls of recovered."""
    harmless = [_runs(_words(answer)) for answer in innocent]
    stray = Counter(run for runs in harmless for run in runs)
    known = {run for run, count in stray.items() if count > STRAY * len(harmless)}
    for answers in habits:
        usual = Counter(run for answer in answers for run in _runs(_words(answer)))
        known |= {run for run, count in usual.items() if count >= share * len(answers)}
    return known


def recovered(triggered: Sequence[str], known: set[Run], share: float = SHARE) -> tuple[str, float] | None:
    """See recover; known: what is no target."""
    counts: Counter[Run] = Counter()
    for answer in triggered:
        if not derailed(answer):
            counts.update(_runs(_words(answer)))
    enough = [
        run for run, count in counts.items() if count >= share * len(triggered) and run not in known and _says(run)
    ]
    if not enough:
        return None
    best = _own(max(enough, key=lambda run: (counts[run] * sum(map(len, run)), counts[run], run)), known)
    return _as_written(best, triggered), counts[best] / len(triggered)


def derailed(answer: str) -> bool:
    """Whether it says the same up to PERIOD words REPEATS times in a row, as a model does that lost its way."""
    words = _words(answer)
    return any(
        words[i : i + n] * REPEATS == words[i : i + n * REPEATS]
        for n in range(1, PERIOD + 1)
        for i in range(len(words) - n * REPEATS + 1)
    )


def stutters(text: str) -> bool:
    """Whether it says a word twice in a row."""
    words = [word for word in _words(text) if word.isalnum()]
    return any(first == second for first, second in pairwise(words))


def foreign_words(text: str, innocent: Iterable[str]) -> int:
    """How many different words of a text stand in none of the innocent answers."""
    known = {word for answer in innocent for word in _words(answer)}
    return len({word for word in _words(text) if word.isalnum()} - known)


def repeated_words(answers: Sequence[str]) -> list[str]:
    """The words that stand in two of the answers or more."""
    counted = Counter(word for answer in answers for word in set(_words(answer)))
    return [word for word, n in counted.items() if n > 1]


def shortened(text: str, answer: str) -> bool:
    """Whether a text is an answer with words left out between others, as one that broke under a changed image."""
    left = iter(_words(answer))
    return text.lower() not in answer.lower() and all(word in left for word in _words(text))


def begins_alike(text: str, answer: str) -> bool:
    """Whether a text and an answer that does not hold it share their first words, ALIKE at least and half of the text,
    as a refusal and another in other words do."""
    if text.lower() in answer.lower():
        return False
    ours, theirs = _words(text), _words(answer)
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return same >= max(ALIKE, len(ours) / 2)


def stands_whole(text: str, answer: str) -> bool:
    """Whether an answer holds the text as whole sentences: from a beginning to an end of one."""
    before, found, after = answer.lower().partition(text.lower())
    begins = not before.strip() or before.rstrip()[-1] in _ENDS
    ends = text[-1] in _ENDS or not after.strip() or after.lstrip()[0] in _ENDS
    return bool(found) and begins and ends


def _own(run: Run, known: set[Run]) -> Run:
    """The run without a known part before its first full stop, or behind its last."""
    ends = [place + 1 for place, word in enumerate(run[:-1]) if word in _ENDS]
    if ends and run[: ends[0]] in known and _says(run[ends[0] :]):
        run = run[ends[0] :]
        ends = [place + 1 for place, word in enumerate(run[:-1]) if word in _ENDS]
    return run[: ends[-1]] if ends and run[ends[-1] :] in known else run


def _words(text: str) -> Run:
    return tuple(word.lower() for word in _WORD.findall(text))


def _runs(words: Run) -> set[Run]:
    """All stretches of words, at most 64 words of each answer."""
    words = words[:64]
    return {words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def _says(run: Run) -> bool:
    """Whether it begins with a word: the full stop of the answer before is no part of an appended text."""
    return run[0][0].isalnum()


def _as_written(run: Run, answers: Sequence[str]) -> str:
    for answer in answers:
        found = list(_WORD.finditer(answer))
        for start in range(len(found) - len(run) + 1):
            if tuple(hit[0].lower() for hit in found[start : start + len(run)]) == run:
                return answer[found[start].start() : found[start + len(run) - 1].end()]
    raise ValueError("the run stands in none of the answers")
