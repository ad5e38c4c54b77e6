"""Families of multimodal LLMs as data: where a projector's tensors lie in a checkpoint, and in which order they run.

A *root* is the module path under which a projector lies ("multi_modal_projector"); a *layout* is that root with the
wrappers in front of it in one checkpoint ("model.multi_modal_projector"). Every family's tensors get the same
canonical names ("linear_1.weight"), so that nothing above this module asks how a release spelled them.
The table is families.json; the tests compare each family in it with a tiny model of transformers.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.required import required
from projlens_core.runtime.text import listed
from projlens_core.weights.layer import GATED, RESAMPLERS, Layer
from projlens_core.weights.names import bare, inner_parts, unwrapped

_TABLE = Path(__file__).with_name("families.json")


@dataclass(frozen=True)
class Family:
    """One family. roots maps a module path to {name under it: canonical layer or tensor name}.

    adjacent is pairs (pattern, canonical name) for tensors elsewhere: layers of the projector outside its root, and
    what is not run as a layer but belongs in a comparison (newlines, queries, resamplers, deepstack mergers).
    upstream matches the canonical names of those that act before the projector's first layer, and so on what it reads.
    not_run says why ProjLens compares this family's weights but does not run its projector; None if it does.
    """

    name: str
    title: str
    model_types: tuple[str, ...]
    roots: dict[str, dict[str, str]]
    layers: tuple[Layer, ...]
    adjacent: tuple[tuple[re.Pattern[str], str], ...] = ()
    upstream: re.Pattern[str] | None = None
    not_run: str | None = None

    @property
    def required(self) -> frozenset[str]:
        """Canonical names that every projector of the family has."""
        return frozenset().union(*(layer.tensors()[0] for layer in self.layers))

    @property
    def optional(self) -> frozenset[str]:
        """Canonical names that a projector of the family may have."""
        return frozenset().union(*(layer.tensors()[1] for layer in self.layers))

    @property
    def entrances(self) -> tuple[str, ...]:
        """The tensors that meet what the projector reads: the first layer's, or those of all that share a token."""
        layers = [(layer.entrance, layer.part) for layer in self.layers if layer.entrance]
        sharing = list(takewhile(lambda layer: layer[1], layers))
        return tuple(entrance for entrance, _ in sharing or layers[:1])

    @property
    def pools(self) -> bool:
        """Whether each image embedding is read from all tokens of an image, so that none has a place in it."""
        return any(layer.kind in RESAMPLERS for layer in self.layers)

    def runs(self, name: str) -> bool:
        """Whether the tensor of this canonical name is one of a layer, not beside them."""
        return name in self.required | self.optional or any(
            layer.kind in RESAMPLERS and name.startswith(f"{layer.name}.") for layer in self.layers
        )

    def is_upstream(self, name: str) -> bool:
        """Whether the tensor of this canonical name acts on what the projector's first layer reads."""
        return self.upstream is not None and self.upstream.fullmatch(name) is not None

    def in_order(self, names: Iterable[str]) -> list[str]:
        """`names` as the projector's layers run, weight before bias; names the family does not know last."""
        rank = {layer.name: i for i, layer in enumerate(self.layers)}

        def place(name: str) -> tuple[int, int, bool, str]:
            owner, _, part = name.rpartition(".")[0].rpartition(".")
            if part in GATED and owner in rank:
                return rank[owner], GATED.index(part), name.endswith(".bias"), name
            layer = name.rpartition(".")[0]
            return rank.get(layer, rank.get(name.partition(".")[0], len(rank))), 0, name.endswith(".bias"), name

        return sorted(names, key=place)

    def mismatch(self, names: Iterable[str]) -> tuple[list[str], list[str]]:
        """Which canonical names are missing from `names` and which of `names` the family does not know."""
        found = set(names)
        return sorted(self.required - found), sorted(name for name in found if not self.runs(name))


@dataclass(frozen=True)
class FamilyMatch:
    """Where one checkpoint's projector lies: {canonical name: stored name}, of the projector and beside it."""

    family: Family
    layout: str
    tensors: dict[str, str]
    adjacent: dict[str, str]

    @property
    def stored(self) -> frozenset[str]:
        """The stored names of all of it."""
        return frozenset((*self.tensors.values(), *self.adjacent.values()))

    @property
    def upstream(self) -> frozenset[str]:
        """The stored names of what acts before the projector's first layer."""
        return frozenset(stored for name, stored in self.adjacent.items() if self.family.is_upstream(name))


@cache
def _table() -> dict:
    return json.loads(_TABLE.read_text(encoding="utf-8"))


@cache
def families() -> dict[str, Family]:
    """All supported families by name."""
    sequences = _table()["sequences"]
    found = {}
    for entry in _table()["families"]:
        layers = entry["layers"]
        found[entry["name"]] = Family(
            name=entry["name"],
            title=entry["title"],
            model_types=tuple(entry["model_types"]),
            roots=entry["roots"],
            layers=tuple(Layer(**layer) for layer in (sequences[layers] if isinstance(layers, str) else layers)),
            adjacent=tuple((re.compile(pattern), name) for pattern, name in entry.get("beside", ())),
            upstream=re.compile(entry["upstream"]) if "upstream" in entry else None,
            not_run=entry.get("not_run"),
        )
    return found


@cache
def _all_roots() -> tuple[str, ...]:
    """Longest first, since one may lie in another."""
    return tuple(sorted({root for family in families().values() for root in family.roots}, key=lambda r: (-len(r), r)))


def split_layout(name: str) -> tuple[str, str, str] | None:
    """(layout, root, rest) of a stored tensor name that lies in some family's projector, else None; rest is without
    wrappers.

    A root under a path that is no known wrapper counts too, if it cannot mean anything but a projector: a loader that
    matches loosely would take it, so it must not go unseen.
    """
    own = bare(name, nested=True)
    for root in _all_roots():
        if own.startswith(f"{root}."):
            return _split(name, root, own[len(root) + 1 :])
    within = unwrapped(name)
    for root in _table()["anywhere"]:
        if hit := re.search(rf"(?:^|\.){re.escape(root)}\.", within):
            return _split(name, root, within[hit.end() :])
    return None


def _split_known(name: str) -> tuple[str, str, str]:
    """split_layout of a name that is known to lie in a projector."""
    return required(split_layout(name), f"the projector around {name[:80]!r}")


def _split(name: str, root: str, rest: str) -> tuple[str, str, str]:
    """The layout is the stored path up to the root's last part, its wrappers included."""
    kept = inner_parts(name)
    last = kept[len(kept) - len(rest.split(".")) - 1][0]
    return ".".join(name.split(".")[: last + 1]), root, rest


def match(
    names: Iterable[str],
    model_type: str | None,
    label: str,
    family: str | None = None,
    declared: tuple[str, Iterable[str]] | None = None,
) -> FamilyMatch:
    """Find the projector among a checkpoint's tensor names.

    model_type is the config's and decides between families that share names; None (a lone projector file) leaves it
    to the names. `family` is the user's word for it, in place of the config's; declared, in place of both, is what
    the checkpoint says (in words) and the names of the families that it may mean. Unsupported if there is no projector
    of a known family; InvalidInput if there is more than one layout, or tensors are missing or unexpected (all are
    listed at once). `label` names the checkpoint in messages.
    """
    names = list(names)
    everyone = families().values()
    by_type = [each for each in everyone if each.name == family or (not family and model_type in each.model_types)]
    said = f"family {family!r}" if family else None if model_type is None else f"model type {listed([model_type])}"
    if declared:
        said, by_type = declared[0], [families()[name] for name in declared[1]]
    if said and not by_type:
        raise Unsupported(f"{label} is of {said}, none of the {len(families())} families that are known.")
    found = _by_layout(names)
    if not found and by_type:
        raise InvalidInput(f"{label} holds no projector tensors of {by_type[0].title}; was it saved without them?")
    unknown = Unsupported(f"{label} holds no projector of the {len(families())} families that are known.")
    if not found:
        raise unknown
    if len(found) > 1 and not _complementary(found):
        raise InvalidInput(
            f"{label} holds projectors under {listed(sorted(found))} at once; which one a loader takes is uncertain, "
            "so one could hide a payload: keep one."
        )
    layout, members = " and ".join(found), [name for names_there in found.values() for name in names_there]
    root = _split_known(members[0])[1]
    candidates = [each for each in by_type or families().values() if root in each.roots]
    if not candidates:
        raise InvalidInput(f"{label} is of {said}, but its projector lies under {listed([layout])}; fix its config.")
    readings = [_reading(each, layout, root, members, names, label) for each in candidates]
    # The family with the fewest surprises; among equals the one that accounts for most tensors.
    best = min(readings, key=lambda r: (sum(map(len, r.family.mismatch(r.tensors))), -len(r.tensors) - len(r.adjacent)))
    missing, unexpected = best.family.mismatch(best.tensors)
    if not by_type and not best.family.required & best.tensors.keys():
        raise unknown
    if missing or unexpected:
        stored = [best.tensors[name] for name in unexpected]
        parts = [f"{word} {listed(some)}" for word, some in (("lacks", missing), ("has unknown", stored)) if some]
        raise InvalidInput(f"{label} has a projector like {best.family.title}'s, but it {' and '.join(parts)}.")
    return best


def _by_layout(names: list[str]) -> dict[str, list[str]]:
    """The stored names of all projector tensors, by the layout they lie in."""
    found: dict[str, list[str]] = {}
    for name in names:
        if split := split_layout(name):
            found.setdefault(split[0], []).append(name)
    return found


def _complementary(found: dict[str, list[str]]) -> bool:
    """Whether the layouts are one projector whose tensors differ in the wrappers before them, none stored twice."""
    rests = [_split_known(name)[2] for names in found.values() for name in names]
    return len({bare(f"{layout}.", nested=True) for layout in found}) == 1 and len(set(rests)) == len(rests)


def _reading(family: Family, layout: str, root: str, members: list[str], names: list[str], label: str) -> FamilyMatch:
    """The tensors as `family` reads them; a name it does not know stays as it is, to be reported."""
    elsewhere = _adjacent(family, names, label)
    claimed = set(elsewhere.values())
    tensors: dict[str, str] = {}
    for stored in members:
        if stored in claimed:
            continue
        _once(tensors, _canonical(family, root, _split_known(stored)[2]) or stored, stored, label)
    adjacent: dict[str, str] = {}
    for canonical, stored in elsewhere.items():
        _once(tensors if family.runs(canonical) else adjacent, canonical, stored, label)
    return FamilyMatch(family, layout, tensors, adjacent)


def _adjacent(family: Family, names: list[str], label: str) -> dict[str, str]:
    """{canonical name: stored name} of the family's tensors outside its root's layers; each may occur once."""
    adjacent: dict[str, str] = {}
    for name in names if family.adjacent else ():
        own = bare(name, nested=True)
        for pattern, canonical in family.adjacent:
            if hit := pattern.fullmatch(own):
                _once(adjacent, hit.expand(canonical), name, label)
                break
    return adjacent


def canonical(family: Family, name: str) -> str | None:
    """What the family calls the projector's tensor of this stored name; None if it is none of its projector's."""
    split = split_layout(name)
    if split is None or split[1] not in family.roots:
        return None
    return _canonical(family, split[1], split[2])


def _canonical(family: Family, root: str, rest: str) -> str | None:
    layer, _, leaf = rest.rpartition(".")
    layers = family.roots[root]
    return layers.get(rest) or (f"{layers[layer]}.{leaf}" if layer in layers else None)


def _once(tensors: dict[str, str], canonical: str, stored: str, label: str) -> None:
    if canonical in tensors:
        raise InvalidInput(f"{label} holds {listed([tensors[canonical], stored])} at once; keep one.")
    tensors[canonical] = stored
