"""Families of multimodal LLMs as data: where a projector's tensors lie in a checkpoint, and in which order they run.

A *root* is the module path under which a projector lies ("multi_modal_projector"); a *layout* is that root with the
wrappers in front of it in one checkpoint ("model.multi_modal_projector"). Every family's tensors get the same
canonical names ("linear_1.weight"), so that nothing above this module asks how a release spelled them.
The table is families.json; each family in it is held against a tiny model of transformers in the tests.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from projlens_core.errors import InvalidInput, Unsupported

_TABLE = Path(__file__).with_name("families.json")
_SHOWN = 6  # names listed in an error before "and N more"


@dataclass(frozen=True)
class Layer:
    """One step of a projector, in running order.

    kind is "linear", "layer_norm", "rms_norm", "activation" or "merge" (joins neighbouring tokens into one wide token).
    bias is "required", "optional" or "none" (linear only). A norm's epsilon and an activation's name are read from
    `config_key` of the model's config and are `default` where the config or the key is absent.
    """

    kind: str
    name: str
    bias: str = "none"
    config_key: str | None = None
    default: str | float | None = None

    def tensors(self) -> tuple[frozenset[str], frozenset[str]]:
        """Canonical tensor names this layer must have, and those it may have."""
        weight, bias = f"{self.name}.weight", f"{self.name}.bias"
        if self.kind == "linear":
            required = {weight, bias} if self.bias == "required" else {weight}
            return frozenset(required), frozenset({bias} if self.bias == "optional" else ())
        if self.kind == "layer_norm":
            return frozenset({weight, bias}), frozenset()
        return frozenset({weight} if self.kind == "rms_norm" else ()), frozenset()


@dataclass(frozen=True)
class Family:
    """One family. roots maps a module path to {name under it: canonical layer name}; beside names tensors that are
    fed to the language model next to the projector's output and belong in a comparison, but are not run by it."""

    name: str
    title: str
    model_types: tuple[str, ...]
    roots: dict[str, dict[str, str]]
    layers: tuple[Layer, ...]
    beside: tuple[str, ...] = ()

    @property
    def required(self) -> frozenset[str]:
        """Canonical names that every projector of the family has."""
        return frozenset().union(*(layer.tensors()[0] for layer in self.layers))

    @property
    def optional(self) -> frozenset[str]:
        """Canonical names that a projector of the family may have."""
        return frozenset().union(*(layer.tensors()[1] for layer in self.layers))

    def in_order(self, names: Iterable[str]) -> list[str]:
        """`names` as the projector's layers run, weight before bias; names the family does not know last."""
        rank = {layer.name: i for i, layer in enumerate(self.layers)}
        return sorted(names, key=lambda n: (rank.get(n.rpartition(".")[0], len(rank)), n.endswith(".bias"), n))

    def mismatch(self, names: Iterable[str]) -> tuple[list[str], list[str]]:
        """Which canonical names are missing from `names` and which of `names` the family does not know."""
        found = set(names)
        return sorted(self.required - found), sorted(found - self.required - self.optional)


@dataclass(frozen=True)
class Match:
    """Where one checkpoint's projector lies: {canonical name: stored name}, of the projector and beside it."""

    family: Family
    layout: str
    tensors: dict[str, str]
    beside: dict[str, str]


@cache
def families() -> dict[str, Family]:
    """All supported families by name."""
    table = json.loads(_TABLE.read_text(encoding="utf-8"))
    return {
        entry["name"]: Family(
            name=entry["name"],
            title=entry["title"],
            model_types=tuple(entry["model_types"]),
            roots=entry["roots"],
            layers=tuple(Layer(**layer) for layer in entry["layers"]),
            beside=tuple(entry.get("beside", ())),
        )
        for entry in table["families"]
    }


def supported() -> str:
    """The supported families' titles, as the end of a sentence."""
    return ", ".join(family.title for family in families().values())


def listed(names: Iterable[str]) -> str:
    """Tensor names for an error message: quoted, shortened, and no more than a reader can use."""
    shown = [repr(name if len(name) <= 80 else name[:77] + "…") for name in names]
    rest = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


@cache
def _wrappers() -> re.Pattern[str]:
    """Module paths that training and saving put before a model's own names, any number of them."""
    wrappers = json.loads(_TABLE.read_text(encoding="utf-8"))["wrappers"]
    return re.compile(rf"(?:(?:{'|'.join(map(re.escape, wrappers))})\.)*")


@cache
def _all_roots() -> tuple[str, ...]:
    return tuple(sorted({root for family in families().values() for root in family.roots}))


def split_layout(name: str) -> tuple[str, str, str] | None:
    """(layout, root, rest) of a stored tensor name that lies in some family's projector, else None.

    A root under a path that is no known wrapper counts too: a loader that matches loosely would take it, so it must
    not go unseen.
    """
    bare = name[_wrappers().match(name).end() :]
    for root in _all_roots():
        if bare.startswith(f"{root}."):
            return name[: len(name) - len(bare) + len(root)], root, bare[len(root) + 1 :]
    for root in _all_roots():
        if "projector" in root and (hit := re.search(rf"(?:^|\.){re.escape(root)}\.", name)):
            return name[: hit.end() - 1], root, name[hit.end() :]
    return None


def match(names: Iterable[str], model_type: str | None, label: str) -> Match:
    """Find the projector among a checkpoint's tensor names.

    model_type is the config's and decides between families that share names; None (a lone projector file) leaves it
    to the names. Unsupported if there is no projector of a known family; InvalidInput if there is more than one
    layout, or tensors are missing or unexpected (all are listed at once). `label` names the checkpoint in messages.
    """
    names = list(names)
    said = None if model_type is None else f"model type {listed([model_type])}"
    by_type = [family for family in families().values() if model_type in family.model_types]
    unknown = Unsupported(f"{label} holds no projector of a known family; supported families are {supported()}.")
    if said and not by_type:
        raise Unsupported(f"{label} is of {said}; supported families are {supported()}.")
    found = _by_layout(names)
    if not found and by_type:
        raise InvalidInput(f"{label} holds no projector tensors of {by_type[0].title}; was it saved without them?")
    if not found:
        raise unknown
    if len(found) > 1:
        raise InvalidInput(
            f"{label} holds projectors under {listed(sorted(found))} at once; which one a loader takes is uncertain, "
            "so one could hide a payload: keep one."
        )
    ((layout, members),) = found.items()
    root = split_layout(members[0])[1]
    candidates = [family for family in by_type or families().values() if root in family.roots]
    if not candidates:
        raise InvalidInput(f"{label} is of {said}, but its projector lies under {listed([layout])}; fix its config.")
    readings = [(family, _canonical(family, root, members), _beside(family, names, label)) for family in candidates]
    # The family with the fewest surprises; among equals the one that also accounts for tensors beside the projector.
    family, tensors, beside = min(readings, key=lambda r: (sum(map(len, r[0].mismatch(r[1]))), -len(r[2])))
    missing, unexpected = family.mismatch(tensors)
    if not by_type and not family.required & tensors.keys():
        raise unknown
    if missing or unexpected:
        stored = [tensors[name] for name in unexpected]
        parts = [f"{word} {listed(some)}" for word, some in (("lacks", missing), ("has unknown", stored)) if some]
        raise InvalidInput(f"{label} has a projector like {family.title}'s, but it {' and '.join(parts)}.")
    return Match(family, layout, tensors, beside)


def _by_layout(names: list[str]) -> dict[str, list[str]]:
    """The stored names of all projector tensors, by the layout they lie in."""
    found: dict[str, list[str]] = {}
    for name in names:
        if split := split_layout(name):
            found.setdefault(split[0], []).append(name)
    return found


def _canonical(family: Family, root: str, members: list[str]) -> dict[str, str]:
    """{canonical name: stored name}; a name the family does not know stays as it is, to be reported."""
    tensors = {}
    for stored in members:
        layer, _, leaf = split_layout(stored)[2].rpartition(".")
        known = family.roots[root].get(layer)
        tensors[f"{known}.{leaf}" if known else stored] = stored
    return tensors


def _beside(family: Family, names: list[str], label: str) -> dict[str, str]:
    """{canonical name: stored name} of the family's tensors beside the projector; each may occur once."""
    beside: dict[str, str] = {}
    for name in names:
        bare = name[_wrappers().match(name).end() :]
        if bare in family.beside:
            if bare in beside:
                raise InvalidInput(f"{label} holds {listed([beside[bare], name])} at once; keep one.")
            beside[bare] = name
    return beside
