"""Stage probes: the verdict's search up to its probe bank.

What the language model was asked here, the stage verdict finds on disk, as does whoever gives that command later.
"""

from typing import Any

from projlens_core.analyses.verdict import VerdictOptions
from projlens_core.analyses.verdict.searching import bank_of, searcher_of
from projlens_core.behaviour.search import Search, TriedProbe
from projlens_core.errors import InvalidInput
from projlens_core.screen.models import context_of
from projlens_core.screen.work import Job, Measured


def measure(job: Job) -> Measured:
    """What the suspect's answers lose under each probe, beyond base's; errors as of the verdict."""
    options = VerdictOptions(**job.options)
    searcher = searcher_of(context_of(job), options)
    found = next((each for each in searcher.stages(bank_of(searcher, options)) if each.tried), searcher.found)
    if not found.tried:
        raise InvalidInput(f"No probe could be tried on it: {' '.join(found.skipped)}")
    return Measured(scores(found), {"tried": [_as_data(each) for each in found.tried], "skipped": list(found.skipped)})


def scores(found: Search) -> dict[str, Any]:
    """The best of what was tried, as the verdict ranks it."""
    best = found.tried[0]
    return {
        "nats": best.score,
        "notable": len(found.candidates),
        "probe": best.probe.name,
    }


def _as_data(each: TriedProbe) -> dict[str, Any]:
    return {"probe": each.probe.name, "nats": each.score, "base": each.base, "suspect": each.excess["suspect"]}
