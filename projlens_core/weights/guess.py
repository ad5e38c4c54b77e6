"""What the projector of an unknown family looks like, from names and shapes: a guess that the user has to confirm."""

from collections.abc import Mapping

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.weights.families import Family, FamilyMatch, families, match
from projlens_core.weights.layer import Layer
from projlens_core.weights.names import in_counted_order

Shapes = Mapping[str, tuple[int, ...]]
_LEAVES = {"weight", "bias"}
_GUESSED = ("linear", "layer_norm", "rms_norm")  # layers that names under one module can be told apart as


def suggestion(shapes: Shapes) -> str:
    """A sentence that says what the tensors look like and how to have them read so, or that nothing does."""
    try:
        known = match(shapes, None, "")
        return f"Its tensors are named like {known.family.title}'s: {_how(known.family)}"
    except (Unsupported, InvalidInput):
        pass  # not named like any, or like several at once: shapes remain
    for family in families().values():
        for module, layers in _candidates(shapes).items():
            if _fits(family, layers, shapes):
                widths = [shapes[f"{layer}.weight"] for layer in layers if len(shapes[f"{layer}.weight"]) == 2]
                chain = " → ".join(map(str, (widths[0][1], *(shape[0] for shape in widths))))
                return f"Its {listed([module])} ({chain}) is shaped like a {family.title} projector: {_how(family)}"
    return "Nothing in it is shaped like one of theirs either."


def fitted(shapes: Shapes, family: Family, label: str) -> FamilyMatch:
    """The one module that is shaped like `family`'s projector, whatever its names; the user asked for this family.

    InvalidInput if there is none, or more than one.
    """
    found = {name: layers for name, layers in _candidates(shapes).items() if _fits(family, layers, shapes)}
    if len(found) != 1:
        said = f"modules {listed(found)} that are" if found else "no module that is"
        raise InvalidInput(f"{label} holds {said} shaped like a {family.title} projector, expected one.")
    ((module, layers),) = found.items()
    tensors: dict[str, str] = {}
    for layer, stored in zip(_with_tensors(family), layers, strict=True):
        tensors |= {f"{layer.name}.{leaf}": f"{stored}.{leaf}" for leaf in _LEAVES if f"{stored}.{leaf}" in shapes}
    return FamilyMatch(family, module, tensors, {})


def _how(family: Family) -> str:
    return f"if you know that it is one, add #{family.name} to its path to have it read so."


def _candidates(shapes: Shapes) -> dict[str, list[str]]:
    """{module: its layers in order}, of modules outside numbered blocks whose last matrix ends at the text's width."""
    parents: dict[str, set[str]] = {}
    for name in shapes:
        layer, _, leaf = name.rpartition(".")
        module = layer.rpartition(".")[0]
        if leaf in _LEAVES and module and not any(part.isdigit() for part in module.split(".")):
            parents.setdefault(module, set()).add(layer)
    widths = {shape[1] for name, shape in shapes.items() if name.endswith("embed_tokens.weight") and len(shape) == 2}
    found = {}
    for module, layers in parents.items():
        order = sorted(layers, key=in_counted_order)
        matrices = [shapes.get(f"{layer}.weight", ()) for layer in order]
        matrices = [shape for shape in matrices if len(shape) == 2]
        if matrices and (not widths or matrices[-1][0] in widths):
            found[module] = order
    return found


def _with_tensors(family: Family) -> list[Layer]:
    return [layer for layer in family.layers if layer.tensors()[0]]


def _fits(family: Family, stored: list[str], shapes: Shapes) -> bool:
    """Whether the stored layers are the family's, one by one, each as wide as the one before it ends."""
    layers = _with_tensors(family)
    # a lone matrix is too common to be taken for a projector
    if (
        family.not_run
        or len(family.entrances) > 1
        or len(layers) != len(stored)
        or sum(layer.kind == "linear" for layer in layers) < 2
    ):
        return False
    width = 0
    for layer, name in zip(layers, stored, strict=True):
        shape = shapes.get(f"{name}.weight", ())
        required, optional = layer.tensors()
        has_bias, bias = f"{name}.bias" in shapes, f"{layer.name}.bias"
        if layer.kind not in _GUESSED or len(shape) != (2 if layer.kind == "linear" else 1):
            return False
        if (bias in required and not has_bias) or (has_bias and bias not in required | optional):
            return False
        if width and shape[-1] % width:
            return False
        width = shape[0]
    return True
