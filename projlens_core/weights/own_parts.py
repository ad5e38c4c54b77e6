"""Whether a model brings a vision tower and a language model of its own, compared with another model's by content.

Tensors count, however they are named and stored, and so does what decides how they run: the config, preprocessing,
tokenizer and chat template. "The same" is said only where all of it was compared and equal; whatever cannot be matched
counts as the model's own, so that it is loaded and never replaced.
"""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final, Literal

import torch

from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import listed
from projlens_core.weights.adapter import AdaptedCheckpoint, MergedCheckpoint
from projlens_core.weights.base_names import known_projector
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.families import split_layout
from projlens_core.weights.names import bare, by_plain_name, plain
from projlens_core.weights.proof import blocks_equal, codes_equal, values
from projlens_core.weights.quantised.tensor import Quantised, Stored
from projlens_core.weights.same_settings import (
    IMAGE_FILES,
    TEXT_FILES,
    TEXT_KEYS,
    TOKEN_FILES,
    configs_differ,
    files_differ,
    one_file,
)
from projlens_core.weights.stored import FLOATS

Part = Literal["vision_tower", "language_model", "output_head"]
TOWER: Final = "vision_tower"
LANGUAGE: Final = "language_model"
HEAD: Final = "output_head"
TITLES: dict[str, str] = {TOWER: "vision tower", LANGUAGE: "language model", HEAD: "output head"}
ABSENT, SAME, OWN = "absent", "same", "own"

# where models keep what runs before the projector
TOWERS = (
    "vision_tower.",
    "vision_model.",
    "visual.",
    "high_res_vision_",
    "embed_tokens_extend.image_embed.img_processor.",
    "vision_backbone.image_vit.",
)
_GGUF_TOWER = "v."  # llama.cpp's name for it
_NOT_HEARD = ("audio_tower.", "audio_model.", "embed_audio.", "embed_tokens_extend.audio_embed.")  # no image passes it
_COMPUTED = (".rotary_emb.inv_freq", ".position_ids")  # no weights, though old releases store them
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.\d+\.")
_INNER = "vision_tower.vision_model."  # of older releases; newer ones lack the second word
_EMBEDDING, _HEAD = "embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True)
class Standing:
    """One part of a model beside another model's. status: ABSENT (it brings none), SAME or OWN; reason: in words, what
    was found."""

    status: str
    reason: str


def standing(
    ours: Checkpoint, theirs: Checkpoint, part: Part, family: str | None = None, progress: Progress = silent
) -> Standing:
    """How a part of `theirs` stands to that of `ours`; an adapter lies on its base.

    Tensors are streamed, the small ones first, and no further than to the first that differs. Errors as
    Checkpoint.read.
    """
    brought = brings(theirs, part, family)
    if not brought:
        return Standing(ABSENT, "it brings none")
    if left := unapplied(theirs, part):
        return Standing(OWN, f"it changes {listed(left)}, which its base does not hold")
    if different := _described_otherwise(ours, theirs, part, family):
        return Standing(OWN, different)
    mine, unclear = _by_key(tensors(ours, family)[part])
    other, their_unclear = _by_key(tensors(theirs, family)[part])
    if unclear or their_unclear:
        return Standing(OWN, f"{listed([*unclear, *their_unclear])} lies there under several names that mean the same")
    _tie(mine, other)
    if lone := sorted(mine.keys() ^ other.keys()):
        names = [other.get(key) or mine[key] for key in lone]
        return Standing(OWN, f"only one of the two holds {listed(names[:1])}")
    order = sorted(other, key=lambda key: _place(theirs.info(other[key])))
    total, done = sum(theirs.info(name).nbytes for name in other.values()) // 2**20, 0
    for key in order:
        progress(f"Comparing the {TITLES[part]}, MB", done // 2**20, total)
        if not _equal(ours, mine[key], theirs, other[key]):
            return Standing(OWN, f"{listed([other[key]])} differs")
        done += theirs.info(other[key]).nbytes
    progress(f"Comparing the {TITLES[part]}, MB", total, total)
    return Standing(SAME, "equal in every value")


def brings(checkpoint: Checkpoint, part: Part, family: str | None = None) -> tuple[str, ...]:
    """The tensors of a part that the checkpoint holds; of an adapter those that it changes, brings or cannot lay."""
    names = tensors(checkpoint, family)[part]
    if isinstance(checkpoint, AdaptedCheckpoint):
        return tuple(name for name in names if name in checkpoint.touched) + unapplied(checkpoint, part)
    # what acts before the first layer comes with a projector, too, and is no tower by itself
    return names if part != TOWER or any(map(_is_tower, names)) else ()


def unapplied(checkpoint: Checkpoint, part: Part) -> tuple[str, ...]:
    """The modules of a part that an adapter changes and its base does not hold under such a name."""
    left = checkpoint.unapplied if isinstance(checkpoint, MergedCheckpoint) else ()
    return tuple(name for name in left if part in _parts(plain(f"{name}.weight"), ()))


def tensors(checkpoint: Checkpoint, family: str | None = None) -> dict[str, tuple[str, ...]]:
    """The stored names of each part. What is neither the projector's nor the tower's is the language model's."""
    projector, upstream = _projector(checkpoint, family)
    found: dict[str, list[str]] = {part: [] for part in TITLES}
    for name in checkpoint.names:
        if name not in projector and not name.endswith(_COMPUTED):
            for part in _parts(name, upstream):
                found[part].append(name)
    return {part: tuple(names) for part, names in found.items()}


def _parts(name: str, upstream: Container[str]) -> tuple[str, ...]:
    if name in upstream or _is_tower(name):
        return (TOWER,)
    if bare(name).startswith(_NOT_HEARD):
        return ()
    return (LANGUAGE,) if _LAYER.search(name) else (LANGUAGE, HEAD)


def _is_tower(name: str) -> bool:
    return bare(name).startswith((*TOWERS, _GGUF_TOWER))


def _projector(checkpoint: Checkpoint, family: str | None) -> tuple[frozenset[str], frozenset[str]]:
    """The stored names of the projector and what lies beside it, and of what acts before its first layer."""
    found = known_projector(checkpoint, family)
    if found is None:  # then what looks like one is none of the other parts
        return frozenset(name for name in checkpoint.names if split_layout(name)), frozenset()
    return found.stored - found.upstream, found.upstream


def _by_key(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """{name in every layout: stored name}, and those that share one."""
    found, unclear = by_plain_name(names)
    keyed: dict[str, str] = {}
    for key, name in found.items():
        key = key.replace(_INNER, "vision_tower.", 1)
        unclear += (name,) if key in keyed else ()
        keyed[key] = name
    return keyed, unclear


def _tie(ours: dict[str, str], theirs: dict[str, str]) -> None:
    """Where one of the two stores no output head, its token embeddings are it."""
    for side, other in ((ours, theirs), (theirs, ours)):
        if _HEAD not in side and _HEAD in other and _EMBEDDING in side:
            side[_HEAD] = side[_EMBEDDING]


def _place(info: Stored) -> tuple[int, str, int]:
    return info.nbytes, info.file.name, info.begin


def _equal(ours: Checkpoint, our_name: str, theirs: Checkpoint, name: str) -> bool:
    """Whether two tensors hold the same values, as whatever floats they are stored."""
    if isinstance(theirs, MergedCheckpoint) and name in theirs.touched and not theirs.replaces(name):
        return False  # base plus delta is not read to be compared, and what cannot be merged is never the base's
    a, b = ours.info(our_name), theirs.info(name)
    if isinstance(a, Quantised) or isinstance(b, Quantised):
        return codes_equal(a, b)
    if a.shape != b.shape:
        return False
    if (
        a.nbytes == b.nbytes
        and a.begin == b.begin
        and a.dtype == b.dtype
        and a.held is b.held
        and one_file(a.file, b.file)
    ):
        return True
    if a.dtype == b.dtype and a.row_by_row and b.row_by_row:
        return all(blocks_equal(a, b))
    if a.dtype not in FLOATS or b.dtype not in FLOATS:
        return False
    pairs = zip(values(ours, a), values(theirs, b), strict=True)
    return all(torch.equal(one.double(), other.double()) for one, other in pairs)


def _described_otherwise(ours: Checkpoint, theirs: Checkpoint, part: Part, family: str | None) -> str | None:
    """The first difference in config and files that decides how the part runs, in words; None if there is none.

    An adapter runs with its base's. Files of which the other model brings none are no difference: it is run with ours.
    """
    if isinstance(theirs, AdaptedCheckpoint):
        return None
    skipped = _projectors_keys(theirs, family) | TEXT_KEYS if part == TOWER else {"vision_config", "audio_config"}
    files = {TOWER: (IMAGE_FILES, IMAGE_FILES), LANGUAGE: (TOKEN_FILES, TEXT_FILES), HEAD: ((), ())}[part]
    return configs_differ(ours, theirs, skipped) or files_differ(ours.folder, theirs.folder, *files)


def _projectors_keys(checkpoint: Checkpoint, family: str | None) -> set[str]:
    """The config's keys that say how the projector alone runs."""
    found = known_projector(checkpoint, family)
    keys = (layer.config_key for layer in (found.family.layers if found else ()))
    return {key for key in keys if key and "." not in key}
