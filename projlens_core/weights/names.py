"""One tensor under the names that different ways of saving give it.

Training and saving put modules of their own around a model's: in front of all its names (`module.`, `ema.`), or around
any of its layers (torch.compile, FSDP, activation checkpointing, PEFT). Libraries differ in what they call the parts
themselves. All of that is taken off here, on both sides of a comparison, so that one tensor has one name.
"""

import re
from collections import Counter
from collections.abc import Iterable

# Wrapped around any module, so that their names may stand anywhere in a path.
_ANYWHERE = frozenset(
    (
        "module",  # DataParallel, DistributedDataParallel, DeepSpeed
        "_forward_module",  # Lightning Fabric
        "_orig_mod",  # torch.compile
        "_fsdp_wrapped_module",
        "_fpw_module",  # fairscale's FSDP
        "_checkpoint_wrapped_module",  # activation checkpointing
        "_module",  # Opacus
        "_ddp_module",
        "base_layer",  # PEFT
    )
)
_COPIED = "modules_to_save"  # PEFT's copy of a whole module, and then the adapter's name
# In front of a model's own names, where one of them or several may stand.
_AHEAD = (
    "module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_ddp_module", "base_model.model", "base_model",
    "model", "thinker", "ema", "ema_model", "model_ema", "averaged_model", "student", "teacher", "net", "network",
    "actor", "policy", "vlm", "mllm", "llava",
)  # fmt: skip
# What libraries call the parts: transformers over its versions, the original releases, MLX.
_TEXT = re.compile(r"(?:(?:text_model|language|llm|transformer|model|language_model)\.)+")
_VISION = re.compile(r"(?:(?:vision_tower|vision_model|visual|vision_encoder|image_encoder|vision|vpm)\.)+")
# One before a number is none: "model.0.weight" is the first layer of a projector saved alone.
_LEADING = re.compile(rf"(?:(?:{'|'.join(map(re.escape, _AHEAD))})\.(?!\d))*")
_NESTED = "language_model."  # transformers 5.5 saved Qwen3.5's vision tower within the language model
# Which part of a model a tensor belongs to, by the beginning of its plain name; the first that fits.
_PARTS = {
    "vision tower": r"vision|visual|image_encoder|vpm|siglip|clip|v\.|model\.vision",
    "audio tower": r"audio|whisper",
    "embeddings": r"(?:decoder\.)?(?:embed_tokens|wte|tok_embeddings|embed_in|embed_positions)|shared\.",
    "head": r"lm_head|output\.|embed_out",
    "language model": r"layers|norm|decoder|text_model|transformer|final_layernorm|h\.|encoder",
}


def unwrapped(name: str) -> str:
    """The name without the modules that may stand anywhere in a path; where one leads it, it stays (see bare)."""
    return ".".join(part for _, part in inner_parts(name))


def shed(name: str) -> str:
    """The name without wrappers wherever they stand, but with the parts that a model's own class may name."""
    first, _, rest = unwrapped(name).partition(".")
    return shed(rest) if first in _ANYWHERE and rest and not rest[0].isdigit() else unwrapped(name)


def inner_parts(name: str) -> list[tuple[int, str]]:
    """The parts of the name that are no wrapper's, each with its place among all, from 0 on."""
    parts = name.split(".")
    kept: list[tuple[int, str]] = []
    after_copy = False
    for place, part in enumerate(parts):
        copied = part == _COPIED and 0 < place < len(parts) - 1
        wrapper = part in _ANYWHERE and 0 < place < len(parts) - 1
        if not (copied or wrapper or (after_copy and part == "default")):
            kept.append((place, part))
        after_copy = copied
    return kept


def bare(name: str, *, nested: bool = False) -> str:
    """The name without wrappers. nested: also without a language model around it, as if nothing else lay in one."""
    name = unwrapped(name)
    if leading := _LEADING.match(name):
        name = name[leading.end() :]
    return bare(name.removeprefix(_NESTED), nested=True) if nested and name.startswith(_NESTED) else name


def plain(name: str) -> str:
    """The name without wrappers and under one name for each part: "layers.0.mlp.up_proj.weight"."""
    name = bare(name, nested=True)
    if hit := _VISION.match(name):
        return f"vision_tower.{name[hit.end() :]}"
    return name[hit.end() :] if (hit := _TEXT.match(name)) else name


def in_counted_order(path: str) -> list[tuple[bool, int, str]]:
    """What to sort names by that hold numbers: fc2 before fc10, checkpoint-500 before checkpoint-1000."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d{1,18})", path)]


def by_plain_name(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """{plain name: name}, and the names left out because several share a plain one."""
    plains = {name: plain(name) for name in names}
    count = Counter(plains.values())
    return (
        {short: name for name, short in plains.items() if count[short] == 1},
        tuple(name for name, short in plains.items() if count[short] > 1),
    )


def part_of(name: str) -> str:
    """ "vision tower", "language model", …, or "other tensors"."""
    own = plain(name)
    return next((part for part, start in _PARTS.items() if re.match(start, own)), "other tensors")


def by_part(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The names by the part they belong to, in order of appearance."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(part_of(name), []).append(name)
    return {part: tuple(members) for part, members in found.items()}
