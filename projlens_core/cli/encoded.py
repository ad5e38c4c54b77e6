"""What a command about activations works on: the projectors of its case, and its pictures as the towers see them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from projlens_core.cases.case import Case, check_same_inputs, read_projectors
from projlens_core.cases.whose import Whose
from projlens_core.cli.terminal import quiet_transformers
from projlens_core.cli.twins import Twins, chosen_trigger, twins
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.progress import Progress
from projlens_core.sources import resolve
from projlens_core.weights.delta import compare
from projlens_core.weights.own_parts import TOWER, Part
from projlens_core.weights.projector import ProjectorWeights

if TYPE_CHECKING:
    from projlens_core.activations.towers import Tokens, Towers
    from projlens_core.cases.models import Loaded


@dataclass(frozen=True)
class Prepared:
    """The projectors of the case, the pictures, and the towers that read them; spec and control may be None.

    models holds the case's models, whose says which of them run.
    """

    case: Case
    base: ProjectorWeights
    suspect: ProjectorWeights
    control: ProjectorWeights | None
    spec: TriggerSpec | None
    pictures: Twins
    vision: "Towers"
    models: "Loaded"
    whose: Whose

    @property
    def projectors(self) -> dict[str, ProjectorWeights]:
        """The projectors by role, the control where there is one."""
        roles = {"base": self.base, "suspect": self.suspect, "control": self.control}
        return {role: weights for role, weights in roles.items() if weights is not None}


@dataclass(frozen=True)
class Encoded(Prepared):
    """With the tokens (n, T, d_vision) of the pictures, clean and triggered in their order; triggered may be None.

    tokens: by role, with what base reads of the same pictures.
    """

    tokens: "dict[str, tuple[Tokens, Tokens | None]]"

    @property
    def twins(self) -> "tuple[dict[str, torch.Tensor], dict[str, torch.Tensor] | None]":
        """What each role's projector reads of clean and of triggered pictures, by role."""
        from projlens_core.activations.towers import read_by_other  # only here: see prepare

        clean, triggered = (
            {role: read_by_other(pair[i]) for role, pair in self.tokens.items() if pair[i] is not None} for i in (0, 1)
        )
        return clean, triggered or None


def prepare(args: argparse.Namespace, report: Progress, parts: Sequence[Part] = (TOWER,)) -> Prepared:
    """Read what add_case, add_images, add_trigger and add_device of `arguments` ask for; the tower is not run yet.

    Errors as of the readers; InvalidInput too where suspect or control cannot be compared with base, and Unsupported
    where one tower is to serve several of them and they do not read the same tokens.
    """
    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.cases.models import Loaded

    quiet_transformers()
    case = Case(args.base, args.suspect, args.control, args.projector_only)
    spec = None if args.no_trigger else chosen_trigger(args.trigger, resolve(args.suspect))
    pictures = twins(load_folder(args.images, args.limit), spec)
    base, suspect, *control = read_projectors(list(case.specs.values()), report)
    for other in (suspect, *control):
        compare(base, other)  # says in a sentence why two projectors cannot be compared
    models = Loaded(args.device)
    found = models.whose(case, parts, report)
    vision = models.vision(case, report)
    read = dict(zip(case.specs, (base, suspect, *control), strict=True))
    check_same_inputs(read, vision.own)
    return Prepared(case, base, suspect, control[0] if control else None, spec, pictures, vision, models, found)


def encode(args: argparse.Namespace, report: Progress, parts: Sequence[Part] = (TOWER,)) -> Encoded:
    """What `prepare` reads, with all tokens of the pictures at once."""
    seen = prepare(args, report, parts)
    pictures = seen.pictures
    return Encoded(
        **vars(seen), tokens=seen.vision.twins(list(seen.projectors), pictures.clean, pictures.triggered, report)
    )
