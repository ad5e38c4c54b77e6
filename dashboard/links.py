"""What the address of a page holds beside the case and the image: every parameter that is not as it is at first.

A widget whose value belongs there takes its key from here: `key=links.option("sign", SIGNS, "plus")`. What the address
says is put into the session before the widget is drawn, and what the widgets say is written to the address in one go
at the end of a run (`write`): the browser side replaces the page's address then, so that Back leaves it in one press.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

SHARED = (
    "trigger",
    "target",
    "question",
    "set",
)  # and all whose names begin like these: links to other pages take them
LONGEST = 500  # characters of a text that the address holds
# Keys of session_state.
DRAWN, SEEN, WRITTEN, WAITING = "links_drawn", "links_seen", "links_written", "links_waiting"
PUT = "links_put"  # what others had put into the address, by `put`
FORMER = "links_former"  # {name: widget key} of the run before
LEFT_OUT = "links_left_out"


@dataclass(frozen=True)
class _Param:
    """A widget's key, what it shows at first, and how its value is written; write gives None for what is too long."""

    key: str
    default: object
    write: Callable[[Any], str | None]


def begin() -> None:
    """First thing in a run: notice what the browser's address says that it did not say before, as after Back.

    What stood there before, or was written there, is no news, and the widgets know better by now.
    """
    said, kept = st.query_params.to_dict(), st.session_state
    seen, written = kept.get(SEEN, {}), kept.get(WRITTEN, {})
    waiting = kept.get(WAITING, {})  # a run may end before it draws what takes it
    kept[WAITING] = {
        name: raw
        for name, raw in said.items()
        if raw == waiting.get(name) or raw not in (written.get(name), seen.get(name), kept.get(PUT, {}).get(name))
    }
    kept[FORMER] = {name: param.key for name, param in kept.get(DRAWN, {}).items()}
    kept[SEEN], kept[DRAWN] = said, {}


def option(name: str, options: Mapping[Any, str] | Iterable[Any], default: object, key: str | None = None) -> str:
    """Of a widget that has one of `options`, whose labels an address may give as well."""
    labels = options if isinstance(options, Mapping) else {each: str(each) for each in options}
    by_text = {label: value for value, label in labels.items()} | {str(value): value for value in labels}
    return _key(name, by_text.get, default, str, key)


def named(name: str, options: Mapping[Any, str], key: str | None = None, default: Any = None) -> str:
    """Of a widget that has one of `options`, by default the first; the address has its label, as of images, whose keys
    are hashes."""
    by_text = {label: value for value, label in reversed(list(options.items()))}
    return _key(name, by_text.get, next(iter(options)) if default is None else default, options.get, key)


def several(
    name: str,
    options: Iterable[Any],
    default: Iterable[Any],
    key: str | None = None,
    most: int | None = None,
    between: str = ",",
) -> str:
    """Of a widget that has any number of `options`, or `most` of them, whose names do not hold what stands between."""
    by_text = {str(value): value for value in options}

    def read(raw: str) -> list[Any] | None:
        parts = list(dict.fromkeys(part for part in raw.split(between) if part))
        if not by_text.keys() >= set(parts) or (most is not None and len(parts) > most):
            return None
        return [by_text[part] for part in parts]

    return _key(name, read, list(default), lambda values: between.join(map(str, values)), key)


def number(name: str, low: float, high: float, default: float, key: str | None = None) -> str:
    """Of a widget that has a number from low to high, of the type of `default`."""
    kind = type(default)

    def read(raw: str) -> float | None:
        try:
            value = kind(raw)
        except ValueError:
            return None
        return value if low <= value <= high else None

    return _key(name, read, default, str, key)


def span(name: str, low: int, high: int, key: str | None = None) -> str:
    """Of a slider with two ends, whole numbers from low to high; at first it is all of that."""

    def read(raw: str) -> tuple[int, int] | None:
        ends = re.fullmatch(r"(\d{1,9})-(\d{1,9})", raw)
        first, last = (int(ends[1]), int(ends[2])) if ends else (high, low)
        return (first, last) if low <= first <= last <= high else None

    return _key(name, read, (low, high), lambda ends: f"{ends[0]}-{ends[1]}", key)


def flag(name: str, default: bool = False, key: str | None = None) -> str:
    """Of a toggle."""
    return _key(name, {"1": True, "0": False}.get, default, lambda on: "1" if on else "0", key)


def text(name: str, default: str = "", key: str | None = None, allowed: str = ".*") -> str:
    """Of a text, which must match `allowed` as a whole; a long one is left out of the address."""

    def read(raw: str) -> str | None:
        return raw if len(raw) <= LONGEST and re.fullmatch(allowed, raw, re.DOTALL) else None

    return _key(name, read, default, lambda value: value if len(value) <= LONGEST else None, key)


def _key(
    name: str, read: Callable[[str], Any], default: object, write: Callable[[Any], str | None], key: str | None
) -> str:
    key = key or name
    raw = news(name)
    of_another = st.session_state.get(FORMER, {}).get(name, key) != key  # as another trigger's own parameter
    if raw is None and key not in st.session_state and not of_another:
        raw = st.query_params.get(name)  # a run that was interrupted has taken it and left nothing
    if raw is not None and (value := read(raw)) is not None:
        st.session_state[key] = value
    st.session_state.setdefault(DRAWN, {})[name] = _Param(key, default, write)
    return key


def said() -> dict[str, str | None]:
    """What the widgets drawn so far say that is not as at first, by name, as an address has it; None: too long."""
    drawn = [(name, each, st.session_state.get(each.key)) for name, each in st.session_state.get(DRAWN, {}).items()]
    return {name: each.write(value) for name, each, value in drawn if value is not None and value != each.default}


def left_out() -> list[str]:
    """The names of what is too long for the address, as of the last run."""
    return list(st.session_state.get(LEFT_OUT, ()))


def shared() -> dict[str, str]:
    """What links to other pages take along, as it was on the page that was drawn last."""
    return {name: raw for name, raw in st.session_state.get(WRITTEN, {}).items() if name.startswith(SHARED)}


def news(name: str) -> str | None:
    """What the browser's address says under `name` since this run, and did not say before; told once."""
    return st.session_state.get(WAITING, {}).pop(name, None)


def put(name: str, raw: str) -> None:
    """Put into the address what is no widget's, so that it is no news when the browser says it next."""
    st.query_params[name] = raw
    st.session_state.setdefault(PUT, {})[name] = raw


def forget() -> None:
    """Take out of the address what pages share, because it was said of another suspect."""
    for name in [name for name in st.query_params if name.startswith(SHARED)]:
        st.query_params.pop(name)
    written = st.session_state.get(WRITTEN, {})
    st.session_state[WRITTEN] = {name: raw for name, raw in written.items() if not name.startswith(SHARED)}


def write(case: Iterable[str]) -> None:
    """Last thing in a run: the address says what the page does. case: names that are not this module's to write."""
    now, drawn = st.query_params.to_dict(), said()
    page = {name: raw for name, raw in drawn.items() if raw is not None}
    waiting = st.session_state.get(WAITING, {})  # of what the page has not drawn, as it stopped before
    held = {name: now[name] for name in now if name in case or name in waiting}
    wanted = held | page
    st.session_state[WRITTEN] = page
    st.session_state[LEFT_OUT] = [name for name in drawn if name not in page]
    if wanted != now:
        st.query_params.from_dict(wanted)
