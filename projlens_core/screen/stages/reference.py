"""Stage reference: how far a suspect is from its matched reference on stamped images; no language model is run.

The figures of the stage of that name in `projlens verdict`, on the same images. The vision tower sees every image once
a worker, whatever the number of suspects.
"""

from dataclasses import dataclass
from typing import Any

import torch

from projlens_core.activations.reference import matched_reference
from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.search import Residual
from projlens_core.behaviour.search_state import FRAME
from projlens_core.behaviour.token_search import CLEAN, residual
from projlens_core.behaviour.trial import SEARCHED
from projlens_core.cases.case import Case
from projlens_core.errors import Unsupported
from projlens_core.inputs.probes import Probe, read_bank
from projlens_core.inputs.triggers import frame
from projlens_core.runtime.progress import silent
from projlens_core.screen.models import Kept, images_of, models_of
from projlens_core.screen.work import Job, Measured


@dataclass(frozen=True)
class ReferenceTokens:
    """What base's projector reads: of clean images to fit to, and of others under each probe, the first none."""

    fitted: torch.Tensor
    shown: tuple[tuple[Probe, torch.Tensor], ...]


def measure(job: Job) -> Measured:
    """The residuals of one suspect; Unsupported for one that reads images with a tower of its own."""
    models = models_of(job)
    case = Case(job.base, job.suspect)
    opened = models.opened(case, silent)
    if models.vision(case, silent).own:
        raise Unsupported("It reads images with a vision tower of its own, so base's projector cannot be fitted to it.")
    opened.check_same_input()
    tokens = _tokens(job, models, case)
    matched = matched_reference(opened.base, opened.suspect, tokens.fitted, models.device, keep=False)
    found = [residual(probe, shown.to(models.device), {"suspect": matched}) for probe, shown in tokens.shown]
    return Measured(scores(found), {"residuals": [_as_data(each) for each in found], "sha256": opened.suspect.sha256})


def scores(found: list[Residual]) -> dict[str, Any]:
    """The probe that stands out most from clean images that were not fitted to; the first of `found` is of these."""
    clean, *probes = found

    def ratio(each: Residual) -> float:
        null = clean.largest if each.probe.local else clean.mean
        return each.beyond / null["suspect"] if null["suspect"] else 0.0

    best = max(probes, key=ratio)
    return {"ratio": ratio(best), "residual": best.beyond, "probe": best.probe.name}


def _tokens(job: Job, models: Kept, case: Case) -> ReferenceTokens:
    """Those of the job's images, read once."""
    key = "tokens", job.base, job.images
    if key not in job.kept:
        vision = models.vision(case, silent).shared
        side = getattr(vision, "image_size", None) or FRAME
        framed = [frame(each.pixels, side) for each in images_of(job).images]
        clean = framed[SEARCHED:] if len(framed) > 2 * SEARCHED else framed
        bank = (CLEAN, *read_bank(side))
        shown = [[probe.on(image) if probe.stamps else image for image in framed[:SEARCHED]] for probe in bank]
        job.kept[key] = ReferenceTokens(
            image_tokens(vision, clean),
            tuple((probe, image_tokens(vision, each)) for probe, each in zip(bank, shown, strict=True)),
        )
    return job.kept[key]


def _as_data(each: Residual) -> dict[str, Any]:
    return {"probe": each.probe.name, "largest": each.largest["suspect"], "mean": each.mean["suspect"]}
