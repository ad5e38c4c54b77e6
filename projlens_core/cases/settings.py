"""What decides the numbers of an analysis, as the `settings` of an exhibit's data: who repeats them needs no more."""

from collections.abc import Mapping

from projlens_core.cases.case import PROJECTOR_ONLY, Case
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.weights.projector import ProjectorWeights


def settings(
    case: Case,
    projectors: Mapping[str, ProjectorWeights],
    spec: TriggerSpec | None = None,
    images: int | None = None,
    **more: object,
) -> dict:
    """The case as named, each projector's content hash by role, the trigger and how many images; `more` is added."""
    return (
        {
            "base": case.base,
            "suspect": case.suspect,
            "control": case.control,
            "sha256": {role: weights.sha256 for role, weights in projectors.items()},
            "trigger": spec.to_dict() if spec else None,
            "images": images,
        }
        | ({PROJECTOR_ONLY: True} if case.projector_only else {})
        | more
    )
