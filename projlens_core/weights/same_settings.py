"""Whether two models say the same about how their parts run: in config, preprocessing, tokenizer and chat template."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from projlens_core.runtime.text import listed
from projlens_core.weights.bytesource import ByteSource, LocalFile
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.folder import Folder
from projlens_core.weights.tensorfile import MAX_JSON, read_json

_TABLE = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
IMAGE_FILES, TOKEN_FILES = tuple(_TABLE["image files"]), tuple(_TABLE["token files"])
TEXT_FILES = (*TOKEN_FILES, *_TABLE["other text files"])
# Keys that say who wrote a file, or name what is never used here, and not how the model runs.
_INERT = frozenset(_TABLE["inert keys"])
TEXT_KEYS = frozenset(_TABLE["text keys"])
_BLOCK = 2**23  # bytes of each file in memory at a time


def configs_differ(ours: Checkpoint, theirs: Checkpoint, skipped: Iterable[str]) -> str | None:
    """In which keys the configs differ, in words; those that are skipped do not count. None if in none."""
    if ours.config is None or theirs.config is None:
        return None
    keys = _different(ours.config, theirs.config, skipped)
    return f"its config differs in {listed(keys)}" if keys else None


def files_differ(
    ours: Folder | None, theirs: Folder | None, kinds: Iterable[str], decisive: Iterable[str]
) -> str | None:
    """Which of the decisive files differs, in words; None if none does, or if `theirs` has none of these kinds."""
    if ours is None or theirs is None or not holds(theirs, kinds):
        return None
    present = [set(side.names()) for side in (ours, theirs)]
    for name in decisive:
        held = [name in names for names in present]
        if any(held) and not (all(held) and _one_content(ours.file(name), theirs.file(name))):
            return f"its {name} differs" if held[1] else f"it has no {name}"
    return None


def holds(folder: Folder, names: Iterable[str]) -> bool:
    """Whether one of these files lies in the folder."""
    return not set(names).isdisjoint(folder.names())


def one_file(ours: ByteSource, theirs: ByteSource) -> bool:
    """Whether both are one file, here by its place and on the Hub by its digest."""
    if isinstance(ours, LocalFile) and isinstance(theirs, LocalFile):
        return ours is theirs or os.path.samefile(ours.path, theirs.path)
    return ours.digest is not None and ours.digest == theirs.digest


def _different(ours: Mapping, theirs: Mapping, skipped: Iterable[str]) -> list[str]:
    """The keys under which two JSON objects differ, those left out that say nothing about how a model runs."""
    one, other = (_bare_object(side) for side in (ours, theirs))
    keys = (one.keys() | other.keys()) - set(skipped)
    return sorted(key for key in keys if one.get(key) != other.get(key))


def _bare_object(value: Mapping) -> dict[str, object]:
    return {key: _bare(item) for key, item in value.items() if key not in _INERT}


def _bare(value: object) -> object:
    """JSON without its inert keys, at any depth."""
    match value:
        case dict():
            return _bare_object(value)
        case list():
            return [_bare(item) for item in value]
    return value


def _one_content(ours: ByteSource, theirs: ByteSource) -> bool:
    """Whether two small files say the same."""
    if one_file(ours, theirs):
        return True
    if ours.size == theirs.size and all(_same_bytes(ours, theirs)):
        return True
    if not ours.name.endswith(".json") or max(ours.size, theirs.size) > MAX_JSON:
        return False
    one, other = read_json(ours), read_json(theirs)
    if ours.name == "generation_config.json":  # of what it says, the end of an answer alone is heeded
        return one.get("eos_token_id") == other.get("eos_token_id")
    return not _different(one, other, ())


def _same_bytes(ours: ByteSource, theirs: ByteSource) -> Iterator[bool]:
    for begin in range(0, ours.size, _BLOCK):
        length = min(_BLOCK, ours.size - begin)
        yield ours.read(begin, length) == theirs.read(begin, length)
