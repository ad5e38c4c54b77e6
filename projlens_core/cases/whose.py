"""Whose vision tower and language model each projector of a case runs with: a model's own wherever it brings one.

One model is the host, base unless it is a lone projector. Of the others, a part that equals the host's is not loaded
again, so that models which differ in the projector alone share one in memory; a part that differs, or cannot be shown
to be equal, is the model's own, and is loaded. What cannot be loaded is refused, unless the projector-only experiment
was asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from projlens_core.activations.around import around, check_fetched, whole_folder
from projlens_core.cases.case import Case, model_source
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import listed
from projlens_core.sources import Source, resolve
from projlens_core.weights.adapter import AdaptedCheckpoint
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.own_parts import (
    ABSENT,
    HEAD,
    LANGUAGE,
    OWN,
    SAME,
    TITLES,
    TOWER,
    Part,
    Standing,
    brings,
    standing,
    unapplied,
)
from projlens_core.weights.own_parts import tensors as tensors_of
from projlens_core.weights.same_settings import IMAGE_FILES, TOKEN_FILES, holds

if TYPE_CHECKING:
    from projlens_core.activations.towers import Towers
    from projlens_core.activations.vision import VisionTower
    from projlens_core.analyses.exhibit import Exhibit

BOTH: tuple[Part, ...] = (TOWER, LANGUAGE)
NOT_RUN = "not run"
_ADVICE = "or run base's under its projector instead, as an experiment (“projector only”)"
_EXPERIMENT = (
    "Projector-only experiment: the {host}'s {parts} run under every projector, whatever else the other models bring; "
    "this shows what a projector does to the {host}, not what its own model does."
)
_WEIGHTS = "Of each model its projector alone was read; no vision tower and no language model was run."


@dataclass(frozen=True)
class Model:
    """What is loaded for a role. base: the whole model that it is an adapter on. images and texts: whose image
    processor and tokenizer it runs with, where it brings none."""

    source: Source
    base: Source | None = None
    images: Source | None = None
    texts: Source | None = None


@dataclass(frozen=True)
class Whose:
    """The parts that run under each projector.

    host: whose parts serve where a model has none that differ. standings: {role: {part: how it stands to the host's}},
    of the parts that were looked at, for all roles but the host. models: what is loaded for the host and for each role
    with a part of its own.
    """

    host: str
    standings: Mapping[str, Mapping[Part, Standing]]
    models: Mapping[str, Model]
    projector_only: bool
    looked_at: tuple[Part, ...]

    def owner(self, role: str, *parts: Part) -> str:
        """The role whose model runs under the projector of `role`: its own if it differs in one of the parts (of those
        that were looked at)."""
        found = self.standings.get(role, {})
        own = any(found[part].status == OWN for part in parts or self.looked_at if part in found)
        return role if own else self.host

    def in_turn(self, roles: Iterable[str]) -> list[str]:
        """Roles in an order in which no model is needed again once another was: those of the host first."""
        return sorted(roles, key=lambda role: self.owner(role) != self.host)

    def parts(self, roles: Sequence[str] | None = None) -> dict[str, dict[str, str]]:
        """{role: {part: whose}} as every door says it: a role's name, "same" for a model's own that equals the host's
        in all that counts, so that the host's was run, "not run" for what had no part."""
        found = {}
        for role in roles or (self.host, *self.standings):
            found[role] = {TOWER: self._whose(role, TOWER), "projector": role, LANGUAGE: self._whose(role, LANGUAGE)}
            found[role] |= {HEAD: self._whose(role, HEAD)} if HEAD in self.looked_at else {}
        return dict(sorted(found.items(), key=lambda item: ("base", "suspect", "control").index(item[0])))

    def _whose(self, role: str, part: Part) -> str:
        if part not in self.looked_at:
            return NOT_RUN
        if role == self.host:
            return role
        return {OWN: role, SAME: "same", ABSENT: self.host}[self.standings[role][part].status]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The same in words, one sentence for each model but the host."""
        names = [TITLES[part] for part in self.looked_at]
        if not names:
            return (_WEIGHTS,)
        if self.projector_only:
            return (_EXPERIMENT.format(host=self.host, parts=" and ".join(names)),)
        return tuple(self._sentence(role) for role in self.standings)

    def _sentence(self, role: str) -> str:
        said: dict[str, list[str]] = {OWN: [], SAME: [], ABSENT: []}
        for part, found in self.standings[role].items():
            said[found.status].append(f"{TITLES[part]} ({found.reason})" if found.status == OWN else TITLES[part])
        own = " and ".join(["projector", *said[OWN]])
        same = f"the {' and '.join(said[SAME])} that it shares with the {self.host}" if said[SAME] else ""
        lent = f"the {self.host}'s {' and '.join(said[ABSENT])}, as it brings none" if said[ABSENT] else ""
        model = self.models.get(role)
        kit = f"the {self.host}'s tokenizer and image processor, as it brings none" if model and model.texts else ""
        rest = ", ".join(part for part in (same, lent, kit) if part)
        return f"The {role} runs with its own {own}" + (f", and with {rest}." if rest else ".")


def whose(case: Case, parts: Sequence[Part] = BOTH, progress: Progress = silent) -> Whose:
    """Compare the parts of each model with the host's; of projector-only cases nothing is compared.

    Errors as of readers; Unsupported where a model brings a part that differs and cannot be loaded, or that lies on
    the Hub and is too large to be compared.
    """
    source = model_source(case)
    host = "base" if source.spec == case.base else "suspect"
    standings: dict[str, dict[Part, Standing]] = {}
    models = {host: Model(source)}
    for role, spec in case.specs.items():
        if role == host:
            continue
        if case.projector_only:
            standings[role] = {part: Standing(ABSENT, "it is not asked for") for part in parts}
            continue
        other = resolve(spec)
        base = resolve(case.base) if role != "base" else None
        standings[role] = {part: _standing(source, other, base, part, role, progress) for part in parts}
        if any(found.status == OWN for found in standings[role].values()):
            models[role] = _model(source, other, base, standings[role])
    return Whose(host, standings, models, case.projector_only, tuple(parts))


def unread(case: Case) -> Whose:
    """Of an analysis of weights, for which no model is run."""
    return Whose("base", {role: {} for role in case.specs if role != "base"}, {}, case.projector_only, ())


def signed(exhibit: "Exhibit", owners: Whose) -> "Exhibit":
    """The exhibit with which parts are whose, in its data and after its own notes; once is enough."""
    if "parts" in exhibit.data:
        return exhibit
    return replace(exhibit, data=exhibit.data | {"parts": owners.parts()}, notes=(*exhibit.notes, *owners.sentences))


def towers_of(owners: Whose, tower: "Callable[[str], VisionTower]") -> "Towers":
    """The towers of a case, each loaded by `tower` for a role when it is first needed."""
    from projlens_core.activations.towers import Towers  # only here: analyses of weights need not wait for it

    own = [role for role in owners.standings if owners.owner(role, TOWER) == role]
    return Towers(tower(owners.host), own, tower)


def load_tower(owners: Whose, role: str, device: str | None = None) -> "VisionTower":
    """The tower that the projector of `role` reads from."""
    from projlens_core.activations.model import load_vision  # only here: see towers_of

    owner = owners.owner(role, TOWER)
    model = owners.models[owner]
    with advised(owner, owners.host):
        return load_vision(model.source, device, model.base, model.images)


@contextmanager
def advised(role: str, host: str) -> Iterator[None]:
    """Errors of loading a model's own parts, with what can be done instead."""
    try:
        yield
    except (InvalidInput, Unsupported) as error:
        if role == host or _ADVICE in str(error):
            raise
        raise type(error)(f"{str(error).rstrip('.')}; {_ADVICE}.") from error


def _standing(host: Source, other: Source, base: Source | None, part: Part, role: str, progress: Progress) -> Standing:
    if host.zoo is not None and other.zoo is not None and host.zoo.tiny == other.zoo.tiny:
        return Standing(SAME, "the demo models have one")
    theirs = _opened(other, base, part, progress)
    brought = brings(theirs, part, other.family)
    if not brought:
        return Standing(ABSENT, "it brings none")
    distant = next((each for each in (other, host) if each.hub is not None), None)
    if part == LANGUAGE and distant is not None and not isinstance(theirs, AdaptedCheckpoint):
        raise Unsupported(
            f"Whether {other.label} runs with the language model of {host.label} is not known, since {distant.label} "
            f"lies on the Hub, of which only parts are read; download it and give its path, {_ADVICE}."
        )
    ours = _opened(host, None, part, progress)
    if distant is not None:
        for side in (ours, theirs):
            check_fetched(side, tensors_of(side)[part], TITLES[part])
    found = standing(ours, theirs, part, other.family, progress)
    if found.status == OWN:
        _check_loadable(theirs, other, part, found.reason, role)
    return found


def _opened(source: Source, base: Source | None, part: Part, progress: Progress) -> Checkpoint:
    """The checkpoint that holds a model's part: of a lone file that is one of a folder's, all of the folder."""
    lying = _folder(base, part, progress) if base is not None else None
    if lying is not None and lying.model is not None:
        lying = replace(lying, weights=lying.model)
    checkpoint = open_checkpoint(_folder(source, part, progress), lying)
    if source.hub is not None or source.model is None or source.weights.is_dir() or source.zoo is not None:
        return checkpoint
    if isinstance(checkpoint, AdaptedCheckpoint) or not any(brings(checkpoint, each, source.family) for each in BOTH):
        return checkpoint
    return open_checkpoint(replace(source, weights=source.model))


def _folder(source: Source, part: Part, progress: Progress) -> Source:
    """The source with all of its model as what it names, of the zoo no more than the part needs."""
    if source.zoo is None:
        return source
    if part != TOWER:
        return whole_folder(source, progress)
    return replace(source, weights=source.folder, zoo=None)


def _check_loadable(checkpoint: Checkpoint, source: Source, part: Part, reason: str, role: str) -> None:
    """Unsupported for a part that no config says how to run, or that an adapter cannot be laid on."""
    if left := unapplied(checkpoint, part):
        raise Unsupported(
            f"{source.label} changes {listed(left)}, which its base does not hold under such a name, so that its own "
            f"{TITLES[part]} cannot be put together; give the base it was trained on, {_ADVICE}."
        )
    if isinstance(checkpoint, AdaptedCheckpoint):
        return
    if around(source).model is None:
        raise Unsupported(
            f"{source.label} brings its own {TITLES[part]} ({reason}) but no config.json that says how to run it; give "
            f"the folder of the whole {role}, {_ADVICE}."
        )


def _model(host: Source, other: Source, base: Source | None, standings: Mapping[Part, Standing]) -> Model:
    """What to load of a model with parts of its own."""
    theirs = _opened(other, base, next(iter(standings)), silent)
    if isinstance(theirs, AdaptedCheckpoint):
        return Model(other, base)
    if theirs.folder is None or other.zoo is not None:
        return Model(other)
    images, texts = (None if holds(theirs.folder, names) else host for names in (IMAGE_FILES, TOKEN_FILES))
    if LANGUAGE in standings and (images is None) != (texts is None):
        missing = "image processor" if texts is None else "tokenizer"
        raise InvalidInput(
            f"{other.label} brings a model of its own, but of tokenizer and image processor no {missing}; copy the "
            f"files of its base into its folder, {_ADVICE}."
        )
    return Model(other, None, images, texts)
