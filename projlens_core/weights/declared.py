"""What a checkpoint says that it is, in its config or in a GGUF file's own keys; no guess overrules that.

A word that ProjLens knows narrows the families down; words that contradict each other, or the user's #FAMILY, are
refused. Only where nothing that is known is declared may names and shapes be guessed from.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.weights.families import families
from projlens_core.weights.gguf_names import kinds, others
from projlens_core.weights.unread import unread

if TYPE_CHECKING:
    from projlens_core.weights.checkpoint import Checkpoint

_TABLE = Path(__file__).with_name("declared.json")
_AUDIO_KEY = "clip.audio.projector_type"


@dataclass(frozen=True)
class Declared:
    """One word of a checkpoint about itself. families: the names of those that it may mean, none if ProjLens does not
    know it; final: whether an unknown one rules out every family that is known. note: what else is known of it."""

    key: str
    value: str
    families: tuple[str, ...]
    final: bool = False
    note: str = ""

    @property
    def said(self) -> str:
        """Key and value, for messages."""
        return f"{self.key} {listed([self.value])}{self.note}"


@dataclass(frozen=True)
class FamilyDecision:
    """How a checkpoint is to be read. families: the names of those it may be, and `said` why; None if names decide.
    declared: the names of those that it may be by its own word, none if that says nothing that ProjLens knows.
    unknown: what it says otherwise, None if nothing. named: the user's family, which nothing contradicts."""

    families: tuple[str, ...] | None
    said: str | None
    declared: tuple[str, ...]
    unknown: str | None
    named: str | None


def decide(checkpoint: "Checkpoint", family: str | None) -> FamilyDecision:
    """What the checkpoint and the user together say; `family` is the user's word, or None.

    Unsupported for a kind that ProjLens does not know, and for a family that there is none of; InvalidInput where one
    word contradicts another.
    """
    label, count = checkpoint.label, len(families())
    if family is not None and family not in families():
        raise Unsupported(f"{label} is of family {family[:40]!r}, none of the {count} families that are known.")
    words = declarations(checkpoint)
    known = [word for word in words if word.families]
    allowed = [name for name in families() if all(name in word.families for word in known)]
    if not allowed:
        raise InvalidInput(
            f"{label} declares {' and '.join(word.said for word in known)}, which contradict each other; correct the "
            "one that is wrong."
        )
    if final := next((word for word in words if word.final), None):
        asked = f", so it is not read as {families()[family].title}" if family else ""
        raise Unsupported(
            f"{label} declares {final.said}, none of the {count} families that are known{asked}; compare models of "
            "the families in docs/support.md, or the checkpoint it was made of if that is one of them."
        )
    said = " and ".join(word.said for word in known) or None
    if family and known and family not in allowed:
        raise InvalidInput(
            f"{label} declares {said}, which is no {families()[family].title} projector; leave #{family} out, or "
            "correct what it declares if that is wrong."
        )
    unknown = None if known else next((word.said for word in words), None)
    if unknown and family and _is_elsewhere(words):
        raise InvalidInput(
            f"{label} declares {unknown}, a model that transformers has and ProjLens does not know; it is no "
            f"{families()[family].title}, so #{family} is not followed."
        )
    own = tuple(allowed) if known else ()
    if family:
        return FamilyDecision((family,), f"family {family!r}", own, unknown, family)
    return FamilyDecision(own or None, said, own, unknown, None)


def may_guess(checkpoint: "Checkpoint") -> bool:
    """Whether names and shapes may be guessed from: nothing in it is declared that anybody knows."""
    words = declarations(checkpoint)
    return not any(word.families or word.final for word in words) and not _is_elsewhere(words)


def declarations(checkpoint: "Checkpoint") -> list[Declared]:
    """All that it says of its kind, the projector's own words first."""
    config = checkpoint.config or {}
    return [*_of_gguf(checkpoint), *_of_config(config, checkpoint.label)]


def _of_gguf(checkpoint: "Checkpoint") -> list[Declared]:
    header = checkpoint.gguf
    if header is None:
        return []
    if header.kind is None or header.key is None:
        if header.architecture is None or header.architecture in ("clip", "mmproj"):
            return []
        note = ""
        if not unread(checkpoint.names, ()):
            note = " (a language model, whose projector is in another file, its mmproj)"
        return [Declared("general.architecture", header.architecture, (), final=True, note=note)]
    if header.key == _AUDIO_KEY or header.kind not in kinds():
        title = others().get(header.kind)
        return [Declared(header.key, header.kind, (), final=True, note=f" ({title})" if title else "")]
    return [Declared(header.key, header.kind, kinds()[header.kind].families)]


def _of_config(config: Mapping, label: str) -> list[Declared]:
    model_type = config.get("model_type")
    if model_type is not None and not isinstance(model_type, str):
        raise InvalidInput(f"The config of {label} has a model_type that is not text.")
    words = []
    if model_type is not None:
        words.append(Declared("model type", model_type, _of_type(model_type)))
    named = config.get("architectures")
    named = [each for each in named if isinstance(each, str)] if isinstance(named, list) else []
    for each in named[:4]:
        of = _of_type(_table()["architectures"].get(each))
        if of or model_type is None:
            words.append(Declared("architecture", each, of))
    projector = config.get("mm_projector_type")
    if isinstance(projector, str) and all(_is_llava(word) for word in words):
        of = tuple(_table()["mm_projector_type"].get(projector, ()))
        words.append(Declared("mm_projector_type", projector, of, final=not of))
    return words


def _of_type(model_type: str | None) -> tuple[str, ...]:
    return tuple(family.name for family in families().values() if model_type in family.model_types)


def _is_llava(word: Declared) -> bool:
    """Whether the word may be that of an original LLaVA, whose configs name the projector's type."""
    return not word.families or any(name.startswith("llava") for name in word.families)


def _is_elsewhere(words: list[Declared]) -> bool:
    """Whether one of the words is a multimodal model of transformers that ProjLens does not know."""
    unknown = {word.value for word in words if not word.families}
    if not unknown:
        return False
    from transformers.models.auto import modeling_auto  # only here: it takes seconds

    for table in (
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    ):
        if unknown & {*table.keys(), *map(str, table.values())}:
            return True
    return False


@cache
def _table() -> dict:
    return json.loads(_TABLE.read_text(encoding="utf-8"))
