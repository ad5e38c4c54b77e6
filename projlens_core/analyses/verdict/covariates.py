"""What a case is like, beside what was found in it: error rates hold only for cases like those they were taken from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from projlens_core.cases.case import OpenedCase
from projlens_core.inputs.probes import Probe
from projlens_core.runtime.cache import content_key

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext

MARGIN = 1.25  # by which a size may exceed the calibrated ones, or fall short of them
CONTROL, BANK, QUESTIONS, FRESH, UPDATE, RANK = (
    "with a control", "probe bank", "questions", "fresh images", "relative size of the change",
    "effective rank of the change",
)  # fmt: skip


@dataclass(frozen=True)
class Covariates:
    """kinds: what is the same as in the calibration or is not. sizes: what lies in its range or does not."""

    kinds: dict[str, str | int | bool]
    sizes: dict[str, float]


def covariates(context: "AnalysisContext", probes: Sequence[Probe], prompts: Sequence[str], fresh: int) -> Covariates:
    """Those of a case that is searched with these probes and questions; the model that answers is loaded."""
    opened = context.opened
    with context.responder("suspect") as responder:
        language = responder.model.config.get_text_config()
        layers = int(getattr(language, "num_hidden_layers", 0))
    kinds: dict[str, str | int | bool] = {
        "family of the projector": opened.family.name,
        "width of an image token": opened.base.d_in,
        "width of the language model": opened.base.d_out,
        "layers of the language model": layers,
        BANK: content_key(*(probe.key for probe in probes))[:12],
        CONTROL: opened.control is not None,
    }
    return Covariates(
        kinds,
        {
            UPDATE: relative_update(opened),
            RANK: max((each.effective_rank for each in opened.spectra.values()), default=0.0),
            QUESTIONS: len(prompts),
            FRESH: fresh,
        },
    )


def relative_update(opened: OpenedCase) -> float:
    """‖ΔW‖ / ‖W‖ over all tensors of the projector that were compared."""
    change = math.hypot(*(each.frobenius for each in opened.delta.tensors))
    base = math.hypot(*(float(each.base.float().norm()) for each in opened.delta.tensors))
    return change / base if base else 0.0
