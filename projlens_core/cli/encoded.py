"""What a command about activations works on: the projectors of its case, and its pictures as the tower sees them."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from projlens_core.cli.terminal import quiet_transformers
from projlens_core.cli.twins import Twins, chosen_trigger, twins
from projlens_core.evidence.case import Case, read_projectors
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.progress import Progress
from projlens_core.sources import resolve
from projlens_core.weights.delta import check_same_input, compare
from projlens_core.weights.projector import ProjectorWeights

if TYPE_CHECKING:
    from projlens_core.activations.model import VisionModel


@dataclass(frozen=True)
class Prepared:
    """The projectors of the case, the pictures, and the tower that reads them; spec and control may be None."""

    case: Case
    base: ProjectorWeights
    suspect: ProjectorWeights
    control: ProjectorWeights | None
    spec: TriggerSpec | None
    pictures: Twins
    vision: "VisionModel"

    @property
    def projectors(self) -> dict[str, ProjectorWeights]:
        """The projectors by role, the control where there is one."""
        roles = {"base": self.base, "suspect": self.suspect, "control": self.control}
        return {role: weights for role, weights in roles.items() if weights is not None}


@dataclass(frozen=True)
class Encoded(Prepared):
    """With the tokens (n, T, d_vision) of the pictures, clean and triggered in their order; triggered may be None."""

    clean: torch.Tensor
    triggered: torch.Tensor | None


def prepare(args: argparse.Namespace, report: Progress) -> Prepared:
    """Read what add_case, add_images, add_trigger and add_device of `arguments` ask for; the tower is not run yet.

    Errors as of the readers; InvalidInput too where suspect or control cannot be compared with base, and Unsupported
    where they do not read the same tokens.
    """
    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.activations.around import described
    from projlens_core.activations.model import load_vision

    quiet_transformers()
    base_source, suspect_source = resolve(args.base), resolve(args.suspect)
    spec = None if args.no_trigger else chosen_trigger(args.trigger, suspect_source)
    pictures = twins(load_folder(args.images, args.limit), spec)
    specs = [args.base, args.suspect, *([args.control] if args.control else [])]
    base, suspect, *control = read_projectors(specs, report)
    for other in (suspect, *control):
        compare(base, other)  # says in a sentence why two projectors cannot be compared
        check_same_input(base, other)
    # A lone projector file has no tower; the other model's serves, since projector-only tuning leaves the tower be.
    vision = load_vision(described([base_source, suspect_source]) or base_source, args.device)
    return Prepared(Case(*specs), base, suspect, control[0] if control else None, spec, pictures, vision)


def encode(args: argparse.Namespace, report: Progress) -> Encoded:
    """What `prepare` reads, with all tokens of the pictures at once."""
    from projlens_core.activations.tokens import twin_tokens  # only here: see prepare

    seen = prepare(args, report)
    clean, triggered = twin_tokens(seen.vision, seen.pictures.clean, seen.pictures.triggered, report)
    return Encoded(**vars(seen), clean=clean, triggered=triggered)
