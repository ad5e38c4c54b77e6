"""Whether a module's name matches an expression of a PEFT config, in a time that does not depend on who wrote it.

Python's own matcher tries one way after the other, of which a hostile expression has more than there is time for. Here
all ways are followed at once (Thompson 1968): one step for each character of the name and each state. That covers
names, groups, alternatives, classes, repeats and anchors, and gives what `re` gives; what looks around or back is
refused.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed

MAX_LENGTH = 1_000  # characters of an expression, and of a name
MAX_STATES = 4_000  # of an expression, its counted repeats written out
MAX_STEPS = 3_000_000  # states times characters, over all expressions that one name is compared with
_PLAIN = re.compile(r"[\w.-]*")  # a module's name; its dots stand for any character
_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}")
_GROUP = re.compile(r"\((?:\?:|\?P<\w+>)?")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_BEYOND = re.compile(r"(?<!\\)\(\?(?!:|P<)")
_ESCAPE = re.compile(r"\\[^a-zA-Z0-9]|\\[dDsSwW]", re.DOTALL)
_ANCHORS = {"^": "begin", r"\A": "begin", "$": "line end", r"\Z": "end"}


def first_match(expressions: Iterable[str], name: str, where: str) -> str | None:
    """The first of `expressions` that PEFT takes for the module `name`: re.match(rf"(.*\\.)?({expression})$", name).

    None if there is no such. where: what holds the expressions, for messages. InvalidInput for what is no expression,
    Unsupported for one that looks around or back, or is too large for its time to be bounded.
    """
    steps = 0
    for expression in expressions:
        if _PLAIN.fullmatch(expression) and _PLAIN.fullmatch(name):
            if _is_tail(expression, name):
                return expression
            continue
        machine = _compiled(rf"(.*\.)?({expression})$", expression, where)
        steps += machine.size * len(name)
        if steps > MAX_STEPS or len(name) > MAX_LENGTH:
            raise Unsupported(f"{where} has more expressions than are compared with one name; have the adapter merged.")
        if machine.matches(name):
            return expression
    return None


def full_match(expression: str, name: str, where: str) -> bool:
    """re.fullmatch(expression, name), which PEFT asks for a target_modules that is one text; errors as first_match."""
    machine = _compiled(rf"(?:{expression})\Z", expression, where)
    if machine.size * len(name) > MAX_STEPS or len(name) > MAX_LENGTH:
        raise Unsupported(f"{where} has an expression too large for its time to be bounded; have the adapter merged.")
    return machine.matches(name)


def _is_tail(expression: str, name: str) -> bool:
    """Whether a plain expression matches the whole name, or what follows one of its dots."""
    start = len(name) - len(expression)
    if start < 0 or (start and name[start - 1] != "."):
        return False
    return name.endswith(expression) or all(e in (".", c) for e, c in zip(expression, name[start:], strict=True))


@dataclass(eq=False)
class _State:
    """Reads one character that `reads` matches and goes to `next`; or, reading none, goes to all of `ways`, through an
    anchor only where it holds."""

    reads: re.Pattern[str] | None = None
    anchor: str | None = None
    next: "_State | None" = None
    ways: list["_State"] = field(default_factory=list)


@dataclass(frozen=True)
class _Machine:
    start: _State
    final: _State
    size: int

    def matches(self, name: str) -> bool:
        """Whether some way from the first character on reaches the end of the expression."""
        active = self._spread([self.start], name, 0)
        for at, character in enumerate(name):
            if self.final in active or not active:
                break
            active = self._spread(
                [s.next for s in active if s.next and s.reads and s.reads.fullmatch(character)], name, at + 1
            )
        return self.final in active

    def _spread(self, states: list[_State], name: str, at: int) -> set[_State]:
        """All states that are reached from `states` without reading a character."""
        reached: set[_State] = set()
        todo = list(states)
        while todo:
            state = todo.pop()
            if state in reached or not _holds(state.anchor, name, at):
                continue
            reached.add(state)
            todo += state.ways
        return reached


def _holds(anchor: str | None, name: str, at: int) -> bool:
    rest = len(name) - at
    return {
        None: True,
        "begin": at == 0,
        "end": rest == 0,
        "line end": rest == 0 or (rest == 1 and name[at] == "\n"),
    }[anchor]


@lru_cache(maxsize=512)
def _compiled(whole: str, expression: str, where: str) -> _Machine:
    if len(expression) > MAX_LENGTH:
        length = f"{len(expression):,} characters, expected {MAX_LENGTH:,} at most"
        raise Unsupported(f"{where} has an expression of {length}; have the adapter merged.")
    if _BEYOND.search(expression):  # not even compiled: ranges without case alone take seconds
        raise _unbounded(expression, where)
    try:
        re.compile(whole)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidInput(
            f"{where} has {listed([expression])}, which is no regular expression ({str(error)[:60]}); fix its config."
        ) from error
    try:
        return _Builder(whole).machine()
    except (_Beyond, RecursionError) as error:
        raise _unbounded(expression, where) from error


def _unbounded(expression: str, where: str) -> Unsupported:
    return Unsupported(
        f"{where} has the expression {listed([expression])}, whose time cannot be bounded: it looks around or back, "
        "has flags or too many repeats; have the adapter merged."
    )


class _Beyond(Exception):
    """The expression has something that no machine of states can do, or needs too many of them."""


class _Builder:
    """Turns an expression that `re` accepts into states, reading it from left to right."""

    def __init__(self, text: str):
        self.text, self.at, self.size = text, 0, 0

    def machine(self) -> _Machine:
        start, end = self._alternatives()
        if self.at < len(self.text):
            raise _Beyond
        return _Machine(start, end, self.size)

    def _state(self, **what: Any) -> _State:
        self.size += 1
        if self.size > MAX_STATES:
            raise _Beyond
        return _State(**what)

    def _alternatives(self) -> tuple[_State, _State]:
        start, end = self._state(), self._state()
        while True:
            first, last = self._sequence()
            start.ways.append(first)
            last.ways.append(end)
            if not self._take("|"):
                return start, end

    def _sequence(self) -> tuple[_State, _State]:
        start = end = self._state()
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            first, last = self._repeated()
            end.ways.append(first)
            end = last
        return start, end

    def _repeated(self) -> tuple[_State, _State]:
        """One piece, as often as what follows it says; a copy of its states for each time."""
        begin = self.at
        first, last = self._piece()
        after = self.at
        least, most = self._times()
        if (least, most) == (1, 1):
            return first, last
        resume = self.at
        start = end = self._state()
        for _ in range(least):
            end = self._again(begin, after, end)
        if most is None:
            loop, out = self._state(), self._state()
            end.ways.append(loop)
            loop.ways.append(out)
            self._again(begin, after, loop).ways.append(loop)
            end = out
        else:
            out = self._state()
            end.ways.append(out)
            for _ in range(most - least):
                end = self._again(begin, after, end)
                end.ways.append(out)
            end = out
        self.at = resume
        return start, end

    def _again(self, begin: int, after: int, end: _State) -> _State:
        """Read the piece at `begin` once more and put it behind `end`; the new end."""
        self.at = begin
        first, last = self._piece()
        if self.at != after:
            raise _Beyond
        end.ways.append(first)
        return last

    def _times(self) -> tuple[int, int | None]:
        least: int = 1
        most: int | None = 1
        if self._take("*"):
            least, most = 0, None
        elif self._take("+"):
            most = None
        elif self._take("?"):
            least = 0
        elif (hit := _COUNT.match(self.text, self.at)) and hit[0] != "{}":
            self.at = hit.end()
            least = int(hit[1] or 0)
            most = (int(hit[3]) if hit[3] else None) if hit[2] else least
        else:
            return least, most
        self._take("?")  # lazy: another order of the same ways
        if self.text.startswith("+", self.at):  # possessive: forbids ways
            raise _Beyond
        return least, most

    def _piece(self) -> tuple[_State, _State]:
        rest = self.text[self.at :]
        if group := _GROUP.match(rest):
            self.at += group.end()
            if self.text.startswith("?", self.at):
                raise _Beyond
            states = self._alternatives()
            if not self._take(")"):
                raise _Beyond
            return states
        for sign, anchor in _ANCHORS.items():
            if self._take(sign):
                state = self._state(anchor=anchor)
                return state, state
        hit = _CLASS.match(rest) or _ESCAPE.match(rest) or re.match(r"[^\\]", rest, re.DOTALL)
        if hit is None:
            raise _Beyond
        self.at += hit.end()
        one = hit[0] if len(hit[0]) > 1 or hit[0] == "." else re.escape(hit[0])
        end = self._state()
        return self._state(reads=_one_character(one), next=end), end

    def _take(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True


@lru_cache(maxsize=4096)
def _one_character(text: str) -> re.Pattern[str]:
    return re.compile(text)
