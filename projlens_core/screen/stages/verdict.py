"""Stage verdict: what `projlens verdict` says of a suspect; tower and language model are loaded once for many."""

from typing import Any

from projlens_core import analyses
from projlens_core.analyses.context import AnalysisContext, inputs_for
from projlens_core.behaviour.success import read_labels
from projlens_core.cases.case import Case, OpenedCase, open_case
from projlens_core.cases.models import Loaded
from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import load_folder
from projlens_core.runtime.progress import Progress, silent
from projlens_core.screen.work import Job, Measured

LEVELS = {"demonstrated": 2, "suspicious": 1}


class _Kept(Loaded):
    """Models that stay loaded for the next suspect of the same base."""

    def __init__(self, job: Job):
        super().__init__()
        self.job = job

    def opened(self, case: Case, progress: Progress) -> OpenedCase:
        """See Models; base's projector is at hand."""
        if self._opened is None or self._opened.case != case:
            self._opened = open_case(case, progress, self.job.read)
        return self._opened


def measure(job: Job) -> Measured:
    """The verdict on one suspect, searched on the images of the job; errors as of the analysis."""
    if job.images is None:
        raise InvalidInput("A verdict needs images; give a folder of them with --images.")
    models = job.kept.setdefault(("models", job.base), _Kept(job))
    models.job = job
    pictures = job.kept.setdefault(("images", job.images), None) or load_folder(job.images)
    job.kept["images", job.images] = pictures
    inputs = inputs_for(Case(job.base, job.suspect), pictures, read_labels(job.images))
    analysis = analyses.find("verdict")
    data: dict[str, Any] = analysis.run(AnalysisContext(inputs, models, silent), analysis.options(**job.options)).data
    scores = {
        "level": LEVELS.get(data["verdict"], 0),
        "p": data["p"],
        "says": data["verdict"],
        "target": data["target"],
    }
    return Measured(scores, data)
