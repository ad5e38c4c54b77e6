"""Which part of a multimodal model a tensor belongs to, by its name."""

import re
from collections.abc import Iterable

from projlens_core.weights.names import plain

# By the beginning of the plain name; the first that fits.
_PARTS = {
    "vision tower": r"vision|visual|image_encoder|vpm|siglip|clip|v\.|model\.vision",
    "audio tower": r"audio|whisper",
    "embeddings": r"(?:decoder\.)?(?:embed_tokens|wte|tok_embeddings|embed_in|embed_positions)|shared\.",
    "head": r"lm_head|output\.|embed_out",
    "language model": r"layers|norm|decoder|text_model|transformer|final_layernorm|h\.|encoder",
}


def part_of(name: str) -> str:
    """ "vision tower", "language model", …, or "other tensors"."""
    bare = plain(name)
    return next((part for part, start in _PARTS.items() if re.match(start, bare)), "other tensors")


def by_part(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The names by the part they belong to, in order of appearance."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(part_of(name), []).append(name)
    return {part: tuple(members) for part, members in found.items()}
