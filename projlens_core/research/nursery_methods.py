"""Other methods of repair on the nursery's members: `python -m projlens_core.research.nursery_methods [PATTERN …]`.

Where something was honestly learned, what a method takes out with a backdoor shows. Each is given the images that our
repair is given; none is told a trigger.
"""

import argparse
import sys
from fnmatch import fnmatch
from pathlib import Path

from projlens_core.nursery.recipe import POISONED, SPLITS
from projlens_core.repair.removal import returned
from projlens_core.research.nursery_repairs import Nursery, compared, load
from projlens_core.research.other_methods import OTHERS, Make
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import DOCS
from projlens_core.runtime.plain import as_json

RESULTS = DOCS / "repair-methods.json"
METHODS: dict[str, Make] = dict(OTHERS.values()) | {
    "Return to base": lambda p: returned(p.form, p.base, p.suspect),
}


def measure(nursery: Nursery, only: list[str], path: Path = RESULTS) -> dict:
    """By member and method, as nursery_repairs.compared; the sealed part's attacks that count. Written after each."""
    results = load(path)
    for name, member in nursery.members.items():
        wanted = member.recipe.split == SPLITS[1] and nursery.group(name) == POISONED
        if not wanted or (only and not any(fnmatch(name, pattern) for pattern in only)):
            continue
        with nursery.problem(name) as problem:
            key = content_key(problem.key, *METHODS)
            if results.get(name, {}).get("key") == key:
                continue
            found = {
                title: compared(nursery, member, problem.suspect, make(problem)) for title, make in METHODS.items()
            }
        results[name] = {"key": key, "methods": found}
        write_atomically(path, (as_json(results, indent=1) + "\n").encode())
        sys.stdout.write(f"{name} is measured\n")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", metavar="PATTERN", help="names of members")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="images, which are drawn anew")
    args = parser.parse_args()
    measure(Nursery(args.out), args.only)
