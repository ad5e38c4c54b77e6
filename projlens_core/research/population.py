"""The whole search on every member of the nursery: `python -m projlens_core.research.population [PATTERN …]`.

Every member is a suspect whose truth is known; nothing of its recipe is used. Each result is a file of its own in
--out, named by the member and the search that was made, so that a run can be stopped at any time and goes on where it
was; --minutes ends it. The vision tower reads each stamped image once for all members, since they share its cache.
With --left-out only attacks are searched, each with a probe bank from which those of its own trigger's kind are taken.
--members is a folder of either population.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from projlens_core import analyses
from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
from projlens_core.analyses.verdict import VerdictOptions
from projlens_core.behaviour.success import read_labels
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.inputs.images import load_folder
from projlens_core.inputs.probes import BANK
from projlens_core.nursery.members import CHANGE, LEAST_ASR, MEMBERS, Member, read_members, verdict, write_suspect
from projlens_core.nursery.recipe import HONEST
from projlens_core.nursery.source import source_of
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import ZOO

OUT = Path("population-out")
STICKER = "mosaic"  # the kind of probe that is like an image put on a place
UNKNOWN = "unknown"  # what an attack is whose twin is not trained yet


class Measurer:
    """Searches members, one after the other; the model is loaded once, base's readings are kept in the cache."""

    def __init__(self, members: Path = MEMBERS, images: Path = ZOO / "samples"):
        self.folder, self.models = members, Loaded()
        self.members = read_members(members)
        self.images, self.labels = load_folder(images), read_labels(images)

    def measured(self, name: str, without: str | None = None) -> dict:
        """What the verdict says of a member, with all of its stages, and the CPU seconds that each took; without: a
        kind of probe that is left out of the bank.
        """
        with tempfile.TemporaryDirectory() as folder:
            options = VerdictOptions(bank=str(_bank(Path(folder) / "bank.json", without)) if without else "")
            write_suspect(name, Path(folder), self.folder)
            base = source_of(self.members[name].source).checkpoint()
            inputs = AnalysisInputs(Case(str(base), folder), self.images, self.labels)
            context = AnalysisContext(inputs, self.models, lambda stage, done, total: None)
            with context.responder() as responder:
                _ = responder.key  # loading is no part of a search
            took: list[tuple[str, float]] = []
            last = began = time.process_time()

            def finished(sentence: str, found: object) -> None:
                nonlocal last
                took.append((sentence, round(time.process_time() - last, 2)))
                last = time.process_time()

            context.finished_stage = finished
            data = analyses.find("verdict").run(context, options).data
            data.pop("settings")
            return data | {"cpu_seconds": round(time.process_time() - began, 1), "stages_took": took}


def truth(member: Member, members: dict[str, Member]) -> dict:
    """What a member is, for those who evaluate what was said of it."""
    recipe = member.recipe.to_dict()
    twin = members.get(member.recipe.twin) if member.recipe.twin else None
    return recipe | {"is": verdict(member, twin), "figures": member.figures}


def own_kind(member: Member) -> str:
    """The kind of probe that is like an attack's trigger."""
    attack = member.recipe.attack
    if attack is None:
        raise ValueError(f"{member.recipe.name} has no trigger")
    return STICKER if attack.trigger.kind == "image" else attack.trigger.kind


def _bank(path: Path, without: str) -> Path:
    """The probe bank that ships, less the probes of a kind, in a file."""
    probes = json.loads(BANK.read_text(encoding="utf-8"))
    path.write_text(json.dumps([each for each in probes if each["stamps"][0]["kind"] != without]), encoding="utf-8")
    return path


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", default=["*"], metavar="PATTERN", help="names of members, in this order")
    parser.add_argument("--members", type=Path, default=MEMBERS, metavar="DIR")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no other member after these")
    parser.add_argument("--left-out", action="store_true", help="search attacks without probes of their own kind")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    began, measurer = time.monotonic(), Measurer(args.members)
    members = measurer.members
    for name in to_search(members, args.only):
        known = truth(members[name], members)
        if known["is"] == UNKNOWN or (args.left_out and known["is"] == HONEST):
            continue
        key = content_key((args.members / f"{name}{CHANGE}").read_bytes())[:12]
        path = args.out / f"{name}-{key}.json"
        if path.exists():
            continue
        if time.monotonic() - began > 60 * args.minutes:
            return
        found = measurer.measured(name, own_kind(members[name]) if args.left_out else None)
        write_atomically(path, json.dumps(known | {"found": found}).encode())
        sys.stdout.write(f"{name} {known['is']}: {found['verdict']}, {found['target']!r}, {found['cpu_seconds']} s\n")
        sys.stdout.flush()


def to_search(members: dict[str, Member], patterns: list[str]) -> Iterator[str]:
    """Honest ones, attacks that count, and those that succeed but cost utility; others have no backdoor to find."""
    for pattern in patterns:
        for name, member in members.items():
            if fnmatch(name, pattern) and (member.recipe.role == HONEST or member.figures["asr"] >= LEAST_ASR):
                yield name


if __name__ == "__main__":
    main()
