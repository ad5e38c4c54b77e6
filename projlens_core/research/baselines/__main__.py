"""Baselines on the members that are searched: `python -m projlens_core.research.baselines [--members DIR] FILE.json`.

What takes seconds a member is measured on the sealed part alone, where rankings are compared; masks, the dearest, last.
--minutes ends a run, and the next goes on where it was.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.demo_model.tiny import checkpoint_folder
from projlens_core.inputs.images import load_folder
from projlens_core.nursery.members import MEMBERS, read_members, write_suspect
from projlens_core.research.baselines import entropy, mask_inversion, spectral, target_scan
from projlens_core.research.evaluation import SEALED
from projlens_core.research.population import to_search
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.progress import silent

IMAGES, PROMPTS = 8, ("Describe the picture.", "What is in the picture?")  # the nursery's wordings
SCANNED = 4  # of the images, whose answers are continued
ENTROPY, SCAN = "attention entropy", "target scan"
INDEX, SMALLEST = "mask inversion, anomaly index", "mask inversion, smallest mask"


class Baselines:
    """The detectors on one member after the other; what base does is measured once."""

    def __init__(self, members: Path = MEMBERS):
        self.members, self.models = members, Loaded()
        self.images = [each.pixels for each in load_folder(ZOO / "samples", IMAGES).images]
        self._entropies: torch.Tensor | None = None
        self._continued: torch.Tensor | None = None

    def measured(self, name: str, scan: bool, masks: bool) -> dict:
        """The scores of a member, and the features that a linear model is fitted to; scan, masks: those, too."""
        asked = self.images[:SCANNED], [PROMPTS[i % len(PROMPTS)] for i in range(SCANNED)]
        with tempfile.TemporaryDirectory() as folder:
            write_suspect(name, Path(folder), self.members)
            case = Case(str(checkpoint_folder()), folder)
            opened = self.models.opened(case, silent)
            base, suspect = opened.base, opened.suspect
            change = {each.name: each.delta for each in opened.delta.matrices}
            with self.models.responder(Case(case.base, case.base), silent) as responder:
                if self._entropies is None or self._continued is None:
                    self._entropies = entropy.entropies(responder, base, self.images, PROMPTS)
                    self._continued = target_scan.continued(responder, base, *asked)
                own = entropy.entropies(responder, suspect, self.images, PROMPTS)
                found = {"features": spectral.features(change).tolist(), ENTROPY: entropy.score(own, self._entropies)}
                if scan:
                    scanned = target_scan.continued(responder, suspect, *asked)
                    found[SCAN] = target_scan.score(scanned, self._continued)
                if masks:
                    sizes = mask_inversion.sizes(responder, suspect, self.images, PROMPTS[0])
                    found |= {INDEX: mask_inversion.anomaly(sizes), SMALLEST: -min(sizes)}
        return found


def main() -> None:
    """Measure every member that is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--members", type=Path, default=MEMBERS, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no other member after these")
    args = parser.parse_args()
    found = json.loads(args.file.read_text(encoding="utf-8")) if args.file.exists() else {}
    baselines, members, began = Baselines(args.members), read_members(args.members), time.monotonic()
    names = list(dict.fromkeys(to_search(members, ["*"])))
    sealed = [name for name in names if members[name].recipe.split == SEALED]
    todo = [*((name, ENTROPY) for name in names), *((name, part) for part in (SCAN, SMALLEST) for name in sealed)]
    for name, part in todo:
        if part in found.get(name, {}):
            continue
        if time.monotonic() - began > 60 * args.minutes:
            return
        found[name] = found.get(name, {}) | baselines.measured(name, part == SCAN, part == SMALLEST)
        write_atomically(args.file, json.dumps(found).encode())
        sys.stdout.write(f"{name}: {part}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
