"""What the page Repair computes: a repair with its exhibit, and the repaired suspect as an archive. No layout."""

import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from dashboard import resources
from dashboard.models import Shelved
from dashboard.page import Request
from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
from projlens_core.analyses.exhibit import Exhibit
from projlens_core.analyses.repair import RepairOptions, sidecar_of
from projlens_core.inputs.images import ImageSet
from projlens_core.repair.form import form_of
from projlens_core.repair.writer import write_repaired
from projlens_core.report.private import abbreviated
from projlens_core.runtime.cache import content_key
from projlens_core.sources import resolve

KEPT = 6
LARGEST = 64 * 2**20  # bytes of weight files that are offered as a download


@dataclass(frozen=True)
class Made:
    """A repair as the page shows it; archive: the repaired suspect as a ZIP, None where it is too large for that."""

    exhibit: Exhibit
    archive: bytes | None


def repaired(request: Request, settings: tuple[RepairOptions, bool]) -> Made | None:
    """The repair of these images with these options, kept by all that decides it; None if it is not there.

    settings: the options, and whether the trigger on the page is known to be the suspect's.
    """
    (options, known), case, choice, progress = settings, request.case, request.choice, request.progress
    form_of(resolve(case.suspect), resolve(case.base))  # a form that cannot be written is said at once
    trigger = choice.spec if known else None
    hashes = [weights.sha256 for weights in resources.opened(case, progress).projectors.values()]
    about = (hashes, resources.model_key(case), trigger.key if trigger else None, repr(options))
    key = content_key(case, *about, *resources.named_keys(choice.images))
    kept = resources.shelf("repairs", KEPT)
    if not request.ask and key not in kept:
        return None

    def make() -> Made:
        # only here: a page that repairs nothing need not wait for it
        from projlens_core.analyses.repair import repair_case
        from projlens_core.analyses.repair.exhibit import repair

        inputs = AnalysisInputs(case, ImageSet(choice.images, ()), resources.truths(choice.images))
        context = AnalysisContext(inputs, Shelved(), progress)
        done = repair_case(context, trigger, options)
        exhibit = repair(done, context.decided(seed=options.seed, trigger=trigger.to_dict() if trigger else None))
        form = done.problem.form
        if sum((form.folder / name).stat().st_size for name in form.files) > LARGEST:
            return Made(exhibit, None)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "repaired"
            write_repaired(form, done.problem.suspect, done.result.weights, out, abbreviated(sidecar_of(done, exhibit)))
            return Made(exhibit, _zipped(out))

    return kept.get(key, make, progress)


def _zipped(folder: Path) -> bytes:
    """The folder's files, stored as they are: weights hardly become smaller."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return buffer.getvalue()
