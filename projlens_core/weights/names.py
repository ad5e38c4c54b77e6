"""One tensor under the names that different ways of saving give it."""

import re
from collections import Counter
from collections.abc import Iterable

# Module paths in front of a model's own: training wrappers, and where transformers put the parts over its versions
# ("language_model.model.layers" then, "model.language_model.layers" now, "model.layers" in the original LLaVA).
_LEADING = re.compile(r"(?:(?:module|_orig_mod|_fsdp_wrapped_module|base_model|model|language_model|thinker)\.)+")
_COPIED = re.compile(r"\.modules_to_save\.(?:default\.)?")


def plain(name: str) -> str:
    """The name without wrappers, so that one tensor has one name in every layout: "layers.0.mlp.up_proj.weight"."""
    name = _COPIED.sub(".", name).replace(".base_layer.", ".")
    hit = _LEADING.match(name)
    return (name[hit.end() :] if hit else name).replace("vision_tower.vision_tower.", "vision_tower.", 1)


def by_plain_name(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """{plain name: name}, and the names left out because several share a plain one."""
    names = list(names)
    count = Counter(map(plain, names))
    return (
        {plain(name): name for name in names if count[plain(name)] == 1},
        tuple(name for name in names if count[plain(name)] > 1),
    )
