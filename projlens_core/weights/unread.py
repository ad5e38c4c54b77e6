"""Which tensors of a checkpoint belong to a projector by their names although no family that was recognised has them.

Such a tensor may hold what was changed: while one of them was not compared, nothing says that two projectors are equal.
"""

import re
from collections.abc import Iterable

# Parts of a tensor's path that say "projector" wherever they stand, as "mm_projector", "patch_merger", "resampler".
_ANYWHERE = re.compile(
    r".*(?:projector|connector|merger|resampler|abstractor|aligner|perceiver).*|q_?former.*|"
    r"(?:vision|visual|image|img|audio|speech|modality|language|llama|mm|multi_?modal|cross_modal)_(?:proj|adapt|bridge).*|"
    r"embed_(?:vision|audio|image)|(?:vision|image|audio)_embedder|visual_embeddings_table|vte|vision_embed_tokens|"
    r"vision_language_adapter|deepstack.*|mlp_?ar|mlp1|image_(?:newline|break|begin|end|sep)|view_sep.*|img_break|"
    r"(?:row|global)_separator|(?:sub|glb)_gn|query_tokens|boi|eoi|.*_to_(?:text|language|llm|lm)_proj.*",
    re.IGNORECASE,
)
# Those that say it only at the beginning of a path; within a block of a language model they mean something else.
_LEADING = re.compile(r"mm|adapt[eo]r|linear_proj|perceive|bridge", re.IGNORECASE)
_FIRST = 3  # parts of a path that are its beginning: "model.vision.linear_proj"
_WHOLE = re.compile(r"(?:.*\.)?audio_tower\.(?:output_)?proj\.[^.]+")  # in other towers "proj" is their own


def unread(names: Iterable[str], read: Iterable[str]) -> tuple[str, ...]:
    """Of all `names`, those that belong to a projector and are not among the `read` ones, in their order."""
    read = set(read)
    return tuple(name for name in names if name not in read and _belongs(name))


def _belongs(name: str) -> bool:
    parts = name.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), len(parts))
    beginning = parts[: min(number, _FIRST)]
    return (
        any(_ANYWHERE.fullmatch(part) for part in parts)
        or any(_LEADING.fullmatch(part) for part in beginning)
        or _WHOLE.fullmatch(name) is not None
    )
