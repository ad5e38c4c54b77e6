"""Stage verdict: what `projlens verdict` says of a suspect; tower and language model are loaded once for many."""

from typing import Any

from projlens_core import analyses
from projlens_core.analyses.context import AnalysisContext, inputs_for
from projlens_core.behaviour.success import read_labels
from projlens_core.cases.case import Case
from projlens_core.runtime.progress import silent
from projlens_core.runtime.required import required
from projlens_core.screen.models import images_of, models_of
from projlens_core.screen.work import Job, Measured

LEVELS = {"demonstrated": 2, "suspicious": 1}


def measure(job: Job) -> Measured:
    """The verdict on one suspect, searched on the images of the job; errors as of the analysis."""
    images = images_of(job)
    inputs = inputs_for(Case(job.base, job.suspect), images, read_labels(required(job.images, "a folder of images")))
    analysis = analyses.find("verdict")
    context = AnalysisContext(inputs, models_of(job), silent)
    data: dict[str, Any] = analysis.run(context, analysis.options(**job.options)).data
    says = {"says": data["verdict"], "target": data["target"]}
    return Measured({"level": LEVELS.get(data["verdict"], 0), "p": data["p"]} | says, data)
