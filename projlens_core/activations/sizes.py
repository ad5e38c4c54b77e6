"""A config's numbers compared with what its weights hold, before anything is made of either.

A loader makes lists, tables of names and modules as many as a config says, long before a weight could contradict it. So
no whole number, at any depth, may be larger than a checkpoint of these weights has use for.
"""

import re
from collections.abc import Iterator, Mapping

from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import printable
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.quantised.tensor import Quantised

MAX_DEPTH = 20  # of tables and lists in each other
MAX_ENTRIES = 20_000  # of all lists and tables in a config together, or as many as its weights have rows
ANY_SIZE = 4_096  # that a config may name, whatever its weights hold: sides of images, heads, patches
ANY_COUNT = 1_000  # of modules, likewise
# Of what there are as many modules, names or entries as a key says; each has a tensor at least.
_COUNTS = re.compile(r"(?:^|_)(?:n_layer|layers?|blocks?|depths?|experts?|stages?|levels?|groups|labels|classes)$")
# What counts tokens, pixels or places, or names one, is no size of anything that is made. Vocabularies have a bound of
# their own (config.LIMITS), as a config may name more words than its weights have rows.
_NO_SIZE = re.compile(
    r"position|theta|period|window|_ids?$|index(es)?$|length$|pixels|seed|_value$|interval|mask|version|duration"
    r"|rate$|tokens|max_\w*size$|floor_scale$|attention_chunk_size$|vocab"
)
_TOKENS_MADE = re.compile(r"num_\w*tokens$")  # but of these there are learned ones


def check_config(config: Mapping, checkpoint: Checkpoint, *, counts_alone: bool = False) -> None:
    """InvalidInput if a whole number in the config, or its lists, are larger than what the weights could fill.

    counts_alone: of a part that is not built as the config says, only how many modules it has is looked at.
    """
    infos = [checkpoint.info(name) for name in checkpoint.names]
    sides = ((info.nbytes,) if isinstance(info, Quantised) else info.shape for info in infos)
    largest = max((max(shape, default=1) for shape in sides), default=1)
    most = max(MAX_ENTRIES, 2 * largest)
    check_depth(config, checkpoint.label)
    for number, (_, key, value) in enumerate(values(config)):
        if number > most:
            raise InvalidInput(
                f"The config of {checkpoint.label} has more than {most:,} entries, as none of such weights has."
            )
        limit = None if counts_alone and not _COUNTS.search(key) else _limit(key, largest, len(infos))
        if type(value) is int and limit is not None and abs(value) > limit:
            raise InvalidInput(
                f"The config of {checkpoint.label} says {printable(key)[:80]} {_written(value)}, and its weights have "
                f"use for {limit:,} at most: {len(infos):,} tensors, the longest side of which is {largest:,}."
            )


def check_depth(config: Mapping, label: str) -> None:
    """InvalidInput if it is nested deeper than any config is, before something walks through it by recursion."""
    if any(depth > MAX_DEPTH for depth, _, _ in values(config)):
        raise InvalidInput(f"The config of {label} is nested more than {MAX_DEPTH} deep.")


def _limit(key: str, largest: int, tensors: int) -> int | None:
    """The most that a number under this key may be; None for what has no bound here."""
    if _TOKENS_MADE.search(key):
        return max(ANY_SIZE**2, largest)
    if _NO_SIZE.search(key):
        return None
    if _COUNTS.search(key):
        return max(ANY_COUNT, tensors)
    return max(ANY_SIZE, 4 * largest)


def values(config: Mapping) -> Iterator[tuple[int, str, object]]:
    """(depth, key, value) of everything in it; what lies in a list has the list's key."""
    left: list[tuple[int, str, object]] = [(0, "", config)]
    while left:
        depth, key, value = left.pop()
        yield depth, key, value
        if isinstance(value, Mapping):
            left += [(depth + 1, str(name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            left += [(depth + 1, key, inner) for inner in value]


def _written(value: int) -> str:
    return f"{value:,}" if abs(value) < 10**30 else "a number of more than thirty digits"
