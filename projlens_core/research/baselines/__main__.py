"""Baselines on all trained members: `python -m projlens_core.research.baselines [--members DIR] FILE.json`."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.demo_model.tiny import checkpoint_folder
from projlens_core.inputs.images import load_folder
from projlens_core.nursery.members import MEMBERS, read_members, write_suspect
from projlens_core.research.baselines import entropy, spectral
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.progress import silent

IMAGES, PROMPTS = 8, ("Describe the picture.", "What is in the picture?")  # the nursery's wordings


def main() -> None:
    """Measure every member that is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--members", type=Path, default=MEMBERS, metavar="DIR")
    args = parser.parse_args()
    found = json.loads(args.file.read_text(encoding="utf-8")) if args.file.exists() else {}
    models, images = Loaded(), [each.pixels for each in load_folder(ZOO / "samples", IMAGES).images]
    base = None
    for name in read_members(args.members):
        if name in found:
            continue
        with tempfile.TemporaryDirectory() as folder:
            write_suspect(name, Path(folder), args.members)
            case = Case(str(checkpoint_folder()), folder)
            opened = models.opened(case, silent)
            with models.responder(Case(case.base, case.base), silent) as responder:
                if base is None:
                    base = entropy.entropies(responder, opened.base, images, PROMPTS)
                own = entropy.entropies(responder, opened.suspect, images, PROMPTS)
            change = {each.name: each.delta for each in opened.delta.matrices}
            found[name] = {
                "features": spectral.features(change).tolist(),
                "attention entropy": entropy.score(own, base),
            }
        write_atomically(args.file, json.dumps(found).encode())
        sys.stdout.write(f"{name}: {found[name]['attention entropy']:.2f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
