"""Models and images that a worker keeps loaded for the next suspect of the same base."""

from projlens_core.analyses.context import AnalysisContext, inputs_for
from projlens_core.behaviour.success import read_labels
from projlens_core.cases.case import Case, OpenedCase, open_case
from projlens_core.cases.models import Loaded
from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import ImageSet, load_folder
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.screen.work import Job


class Kept(Loaded):
    """As Loaded, base's projector from what the job has at hand."""

    def __init__(self, job: Job):
        super().__init__()
        self.job = job

    def opened(self, case: Case, progress: Progress) -> OpenedCase:
        """See Models."""
        if self._opened is None or self._opened.case != case:
            self._whose.clear()  # of former suspects, of whom there may be millions
            for loaded in (self._towers, self._responders):
                for model in [each for each in loaded if each.source.spec != case.base]:
                    del loaded[model]
            self._opened = open_case(case, progress, self.job.read)
        return self._opened


def models_of(job: Job) -> Kept:
    """Those for the job's base, loaded as they are asked for."""
    models: Kept = job.kept.setdefault(("models", job.base), Kept(job))
    models.job = job
    return models


def images_of(job: Job) -> ImageSet:
    """The job's images; InvalidInput without a folder of them."""
    if job.images is None:
        raise InvalidInput("This stage looks at images; give a folder of them.")
    key = "images", job.images
    if key not in job.kept:
        job.kept[key] = load_folder(job.images)
    return job.kept[key]


def context_of(job: Job) -> AnalysisContext:
    """The job's suspect as an analysis takes it, with the job's images and their labels.csv; without a control."""
    images = images_of(job)
    known = read_labels(required(job.images, "a folder of images"))
    return AnalysisContext(inputs_for(Case(job.base, job.suspect), images, known), models_of(job), silent)
