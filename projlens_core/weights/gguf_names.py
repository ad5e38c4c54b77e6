"""What llama.cpp calls the tensors of a projector, and what transformers calls them.

The same short name means different layers in different kinds of projector ("mm.1" is the first layer of Pixtral's and
the activation of LLaVA's), so the kind decides, which an mmproj file names itself (clip.projector_type).
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from projlens_core.errors import InvalidInput
from projlens_core.weights.stored import TensorInfo

_LLAVA = {"mm.0": "multi_modal_projector.linear_1", "mm.2": "multi_modal_projector.linear_2"}
_QWEN = {"mm.0": "visual.merger.mlp.0", "mm.2": "visual.merger.mlp.2", "v.post_ln": "visual.merger.ln_q"}
# {kind: {name there without .weight or .bias: name here}}
_NAMES: dict[str, dict[str, str]] = {
    "mlp": _LLAVA,
    "qwen2vl_merger": _QWEN,
    "qwen2.5vl_merger": _QWEN,
    "qwen3vl_merger": {
        "mm.0": "visual.merger.linear_fc1",
        "mm.2": "visual.merger.linear_fc2",
        "v.post_ln": "visual.merger.norm",
    },
    "internvl": {"mm.model.mlp.0": "mlp1.0", "mm.model.mlp.1": "mlp1.1", "mm.model.mlp.3": "mlp1.3"},
    "idefics3": {"mm.model.fc": "connector.modality_projection.proj"},
    "gemma3": {
        "mm.input_projection": "multi_modal_projector.mm_input_projection_weight",
        "mm.soft_emb_norm": "multi_modal_projector.mm_soft_emb_norm",
    },
    "pixtral": {
        "mm.1": "multi_modal_projector.linear_1",
        "mm.2": "multi_modal_projector.linear_2",
        "mm.input_norm": "multi_modal_projector.norm",
        "mm.patch_merger": "multi_modal_projector.patch_merger.merging_layer",
    },
}
_NEWLINE = {"model.image_newline": "image_newline", "v.image_newline": "image_newline"}
_BARE = ("multi_modal_projector.mm_input_projection_weight",)  # a parameter, not a layer's: without .weight
_MOVED = {("gemma3", "mm.soft_emb_norm.weight"): -1.0}  # stored as 1 + w, which is what the layer multiplies by
_DEEPSTACK = re.compile(r"v\.deepstack\.(\d+)\.(norm|fc1|fc2)\.(weight|bias)")


def as_in_transformers(tensors: Mapping[str, TensorInfo], kind: str | None) -> dict[str, TensorInfo]:
    """The tensors by transformers' names; those that no projector of that kind has keep their own.

    InvalidInput if two would get one name. For a kind that is not known, all names stay.
    """
    names = _NAMES.get(kind or "", {})
    deep = sorted({int(hit[1]) for name in tensors if (hit := _DEEPSTACK.fullmatch(name))})
    found: dict[str, TensorInfo] = {}
    for name, info in tensors.items():
        layer, _, leaf = name.rpartition(".")
        new = _NEWLINE.get(name, name)
        if layer in names and leaf in ("weight", "bias"):
            new = names[layer] if names[layer] in _BARE else f"{names[layer]}.{leaf}"
        elif kind == "qwen3vl_merger" and (hit := _DEEPSTACK.fullmatch(name)):
            # There counted by the layer of the vision tower it reads, here one after the other.
            part = "norm" if hit[2] == "norm" else f"linear_{hit[2]}"
            new = f"visual.deepstack_merger_list.{deep.index(int(hit[1]))}.{part}.{hit[3]}"
        if new in found:
            raise InvalidInput(f"{info.file.name} holds {name[:80]!r} and another tensor for {new[:80]!r}; keep one.")
        found[new] = replace(info, name=new, offset=_MOVED.get((kind, name), 0.0))
    return found
