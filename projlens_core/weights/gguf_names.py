"""What llama.cpp calls the tensors of a projector, and what transformers calls them.

The same short name means different layers in different kinds of projector ("mm.1" is the first layer of Pixtral's and
the second of Janus's), so the kind decides, which an mmproj file names itself (clip.projector_type). The table is
gguf_kinds.json. What a conversion adds to values, turns or cuts apart is undone when they are read.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from projlens_core.errors import InvalidInput
from projlens_core.weights.stored import TensorInfo

_TABLE = Path(__file__).with_name("gguf_kinds.json")
_MOVED = {("gemma3", "mm.soft_emb_norm.weight"): -1.0}  # stored as 1 + w, which is what the layer multiplies by
_DEEPSTACK = re.compile(r"v\.deepstack\.(\d+)\.(norm|fc1|fc2)\.(weight|bias)")
# {kind: {name here: the tensors it was cut into along its first axis}}
_CUT = {
    "resampler": {
        f"resampler.attn.in_proj_{leaf}": [f"resampler.attn.{part}.{leaf}" for part in "qkv"]
        for leaf in ("weight", "bias")
    }
}


@dataclass(frozen=True)
class MmprojKind:
    """One kind of projector as llama.cpp tells them apart. families: the names of those whose projector it may be,
    none if ProjLens knows none. names: {name there, with .weight or .bias or without: name here}."""

    name: str
    families: tuple[str, ...]
    names: dict[str, str]


@cache
def kinds() -> dict[str, MmprojKind]:
    """All kinds whose tensors are read, by name."""
    entries = json.loads(_TABLE.read_text(encoding="utf-8"))["kinds"]
    return {name: MmprojKind(name, tuple(entry["families"]), entry["names"]) for name, entry in entries.items()}


@cache
def others() -> dict[str, str]:
    """{kind: whose it is} of kinds that llama.cpp has and ProjLens knows no family for."""
    return json.loads(_TABLE.read_text(encoding="utf-8"))["others"]


def as_in_transformers(tensors: Mapping[str, TensorInfo], kind: str | None) -> dict[str, TensorInfo]:
    """The tensors by transformers' names; those that no projector of that kind has keep their own.

    InvalidInput if two would get one name. For a kind that is not known, all names stay.
    """
    known = kinds().get(kind or "")
    if known is None:
        return dict(tensors)
    deep = sorted({int(hit[1]) for name in tensors if (hit := _DEEPSTACK.fullmatch(name))})
    found: dict[str, TensorInfo] = {}
    for name, info in _whole(tensors, known.name).items():
        new = _renamed(name, known, deep)
        turned = _turned(info, known.name)
        if turned is None:
            new, turned = name, info  # not of the form that the conversion gives it, so it is none of its kind
        if new in found:
            raise InvalidInput(f"{info.file.name} holds {name[:80]!r} and another tensor for {new[:80]!r}; keep one.")
        found[new] = replace(turned, name=new, offset=_MOVED.get((known.name, name), 0.0))
    return found


def _renamed(name: str, kind: MmprojKind, deep: list[int]) -> str:
    layer, _, leaf = name.rpartition(".")
    if name in kind.names:
        return kind.names[name]
    if layer in kind.names and leaf in ("weight", "bias"):
        return f"{kind.names[layer]}.{leaf}"
    if kind.name == "qwen3vl_merger" and (hit := _DEEPSTACK.fullmatch(name)):
        # There counted by the layer of the vision tower it reads, here one after the other.
        part = "norm" if hit[2] == "norm" else f"linear_{hit[2]}"
        return f"visual.deepstack_merger_list.{deep.index(int(hit[1]))}.{part}.{hit[3]}"
    return name


def _whole(tensors: Mapping[str, TensorInfo], kind: str) -> dict[str, TensorInfo]:
    """The tensors with those joined that were cut apart; pieces that do not fit each other stay pieces."""
    found = dict(tensors)
    for name, pieces in _CUT.get(kind, {}).items():
        parts = tuple(found[piece] for piece in pieces if piece in found)
        alike = len({(part.dtype, part.shape) for part in parts}) == 1 and bool(parts[0].shape)
        if len(parts) < len(pieces) or not alike or name in found:
            continue
        for piece in pieces:
            del found[piece]
        shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
        found[name] = replace(parts[0], name=name, shape=shape, nbytes=sum(p.nbytes for p in parts), parts=parts)
    return found


def _turned(info: TensorInfo, kind: str) -> TensorInfo | None:
    """The tensor with its axes as transformers has them; None if it cannot be what a conversion writes."""
    match kind, info.name:
        case "resampler", "resampler.proj.weight":
            return _permuted(info, info.shape, (1, 0))
        case "gemma4uv", "v.position_embd.weight":
            return _permuted(info, info.shape, (1, 0, 2))
        case "gemma4uv", "v.patch_embd.weight" | "v.patch_norm.1.weight" | "v.patch_norm.1.bias":
            # A patch's numbers colour by colour there, pixel by pixel here.
            *outer, numbers = info.shape or (0,)
            side = math.isqrt(numbers // 3)
            if 3 * side**2 != numbers:
                return None
            before = range(len(outer))
            axes = (*before, *(len(outer) + axis for axis in (1, 2, 0)))
            turned = _permuted(info, (*outer, 3, side, side), axes)
            return turned and replace(turned, shape=info.shape)
    return info


def _permuted(info: TensorInfo, split: tuple[int, ...], axes: tuple[int, ...]) -> TensorInfo | None:
    if len(split) != len(axes):
        return None
    return replace(info, shape=tuple(split[axis] for axis in axes), split=split, axes=axes)
