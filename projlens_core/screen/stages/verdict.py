"""Stage verdict: what `projlens verdict` says of a suspect; tower and language model are loaded once for many."""

from typing import Any

from projlens_core import analyses
from projlens_core.screen.models import context_of
from projlens_core.screen.work import Job, Measured

LEVELS = {"demonstrated": 2, "suspicious": 1}


def measure(job: Job) -> Measured:
    """The verdict on one suspect, searched on the images of the job; errors as of the analysis."""
    analysis = analyses.find("verdict")
    data: dict[str, Any] = analysis.run(context_of(job), analysis.options(**job.options)).data
    says = {"says": data["verdict"], "target": data["target"]}
    return Measured({"level": LEVELS.get(data["verdict"], 0), "p": data["p"]} | says, data)
