"""What was computed about the weights of a case and of further projectors compared with it, kept by content."""

from collections.abc import Sequence

from dashboard import resources
from projlens_core.analyses.spectrum import exhibit as exhibits
from projlens_core.analyses.spectrum.tables import Overlaps, SpectraByName, labels
from projlens_core.cases.case import OpenedCase, read_projectors
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress
from projlens_core.weights.delta import compare
from projlens_core.weights.delta_spectra import DeltaSpectra, decompose_delta

KEPT = 6  # of projectors beside the case; 240 MB each for a 7B model


def of(opened: OpenedCase, specs: Sequence[str], progress: Progress) -> dict[str, DeltaSpectra]:
    """Other projectors against the case's base, by their names on screen; errors as read_projectors and compare."""
    base = opened.case.base
    found = []
    for spec in specs:

        def make(spec: str = spec) -> DeltaSpectra:
            ours, theirs = read_projectors([base, spec], progress)
            return decompose_delta(compare(ours, theirs), progress)

        key = content_key(*(resources.fingerprint(s) for s in (base, spec)), base, spec)
        found.append(resources.shelf("anatomies", KEPT).get(key, make, progress))
    roles = [role for role, one in (("suspect", opened.delta), ("control", opened.control_delta)) if one is not None]
    names = labels(roles, [one.delta.suspect.source for one in found])[len(roles) :]
    return dict(zip(names, found, strict=True))


def overlaps(by_name: SpectraByName, k: int) -> Overlaps:
    """The k leading directions of every two changes, compared with each other."""
    weights = ((name, one.delta.base.sha256, one.delta.suspect.sha256) for name, one in by_name.items())
    key = content_key(k, *weights)
    return resources.shelf("overlaps", 32).get(key, lambda: exhibits.overlaps(by_name, k))
