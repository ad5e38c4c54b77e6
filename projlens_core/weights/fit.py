"""Whether the tensors of a projector fit each other, layer by layer."""

import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.families import Family
from projlens_core.weights.layer import ATTENTION, GATED, RESAMPLERS, Layer


def check_fit(family: Family, tensors: dict[str, torch.Tensor], label: str) -> None:
    """InvalidInput unless each layer's tensors fit each other and, in a projector that is run, the layer before."""
    width = 0  # of a token after the layers so far, 0 while unknown
    wrong = []
    joins = fills = False  # whether the next layer may read several tokens at once, or more than it is given
    for layer in family.layers:
        if layer.kind in ("merge", "softmax"):
            joins, fills = layer.kind == "merge", layer.kind == "softmax"
            continue
        if layer.kind == "swiglu":
            width //= 2
        if not layer.tensors()[0]:
            continue
        before = 0 if family.not_run or layer.part else width
        matrices, width_after = _matrices(layer, tensors)
        sound = all(len(shape) == (1 if "norm" in layer.kind else 2) and 0 not in shape for shape in matrices)
        if sound:
            given = matrices[0][-1]
            sound = not before or given == before or (joins and given % before == 0) or (fills and given >= before)
            if sound and layer.kind == "gated_mlp":
                gate, up, down = matrices
                sound = gate == up and down[1] == gate[0]
            sound = sound and (layer.kind != "pooling" or _pooled(layer, tensors))
        bias = tensors.get(f"{layer.name}.bias")
        if not sound or (bias is not None and tuple(bias.shape) != matrices[0][:1]):
            shown = f" with bias {tuple(bias.shape)}" if bias is not None else ""
            shapes = " and ".join(map(str, matrices))
            wrong.append(f"{layer.name} {shapes}{shown}" + (f" after width {before}" if before else ""))
        if layer.part and sound:  # the rest of the token stays beside what the layer makes of its part
            shared = [tensors[name] for name in family.entrances]
            width_after += (width or sum(tensor.shape[-1] for tensor in shared if tensor.dim())) - matrices[0][-1]
        width, joins, fills = width_after, False, False
    if wrong:
        raise InvalidInput(f"The projector tensors of {label} do not fit each other: {'; '.join(wrong)}.")


def _matrices(layer: Layer, tensors: dict[str, torch.Tensor]) -> tuple[list[tuple[int, ...]], int]:
    """The shapes of a layer's weights, and how wide a token is after it (0 if that makes no sense)."""
    if layer.kind in RESAMPLERS:
        entrance, queries = (tensors[f"{layer.name}.{part}"].shape for part in RESAMPLERS[layer.kind])
        return [tuple(entrance)], queries[-1] if queries else 0
    parts = [f".{part}" for part in {"gated_mlp": GATED, "pooling": ATTENTION}.get(layer.kind, ())] or [""]
    shapes = [tuple(tensors[f"{layer.name}{part}.weight"].shape) for part in parts]
    return shapes, (shapes[-1][0] if shapes[-1] else 0)


def _pooled(layer: Layer, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether the matrices of a pooling read and write what the others do, all or none of them with a bias."""
    k, q, v, o = (tuple(tensors[f"{layer.name}.{part}.weight"].shape) for part in ATTENTION)
    biases = [tensors.get(f"{layer.name}.{part}.bias") for part in ATTENTION]
    written = [None if bias is None else tuple(bias.shape) for bias in biases]
    return k == v and q[1] == k[1] and o[1] == q[0] and written in ([None] * 4, [each[:1] for each in (k, q, v, o)])
