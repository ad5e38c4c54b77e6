"""The search on the population as docs/verdict.md shows it: `python -m projlens_core.research.population_text`.

What projlens_core.research.population measured is taken from folders: --members; --left-out, what it measured with that
option; --first, what it had measured of members that were searched again since by other rules. --baselines is a file of
projlens_core.research.baselines. All of it replaces what docs/population.json holds of the same members, a line a
member; the others stay. From that alone follow the calibration that ships and the tables between BEGIN and END.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from projlens_core.analyses.verdict.calibration import NO_EVIDENCE, SHIPPED, SUSPICIOUS, Calibration
from projlens_core.nursery.plan import PLAN
from projlens_core.nursery.recipe import FRESH, NOVEL, TEST
from projlens_core.research import asked_for, evaluation, left_out, rankings
from projlens_core.research.evaluation import CALIBRATED, COSTLY, COUNTS, DEVELOPMENT, HONEST, SEALED, Entry, GroupRow
from projlens_core.research.left_out import share
from projlens_core.research.verdicts import DOCUMENT, strongest
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.markdown import renew, table

RESULTS = DOCUMENT.with_name("population.json")
BEGIN = "<!-- population: written by `python -m projlens_core.research.population_text` -->"
END = "<!-- end of population -->"
PARTS = "members", "left_out", "first"  # of RESULTS
HEAD = (
    "members",
    "n",
    "demonstrated",
    "suspicious or demonstrated",
    "inconclusive",
    "no evidence found",
    "target text first",
    "elicits it",
)


def entry(values: dict[str, Any], file: str, others: Mapping[str, Any]) -> Entry:
    """What is kept of one measured member; others: what research.baselines measured of it."""
    found, attack = values["found"], values["attack"] or {}
    best = strongest(found)
    return Entry.from_dict(
        {
            "name": values["name"],
            "split": values["split"],
            "group": values["group"],
            "truth": values["is"],
            "family": attack.get("family"),
            "evasion": values["evasion"],
            "wanted": attack.get("target"),
            "statistics": found["statistics"],
            "case": found["coverage"]["calibration"]["case"],
            "unfinished": found["coverage"]["unfinished"],
            "demonstrated": found["verdict"] == "demonstrated",
            "target": found["target"],
            "probe": best and best["probe"],
            "elicited": best and [best["suspect"]["rate"], best["base"]["rate"]],
            "seconds": found["cpu_seconds"],
            "sha256": file.rpartition("-")[2],
            "baselines": {name: value for name, value in others.items() if name != "features"},
            "features": [round(float(value), 4) for value in others.get("features", ())],
        }
    )


def document(
    entries: Sequence[Entry], by: Calibration, without: Sequence[Entry] = (), first: Sequence[Entry] = ()
) -> list[str]:
    """The lines between BEGIN and END; without: searches of attacks without probes of their own kind; first: the first
    searches of members that were searched again.
    """
    before = {e.name: e for e in first}
    searched_first = [before.get(e.name, e) for e in entries]
    unseen = [e for e in searched_first if e.split == SEALED and e.later]
    seconds = sorted(e.seconds for e in entries)
    novel = [e for e in first if e.split == NOVEL]  # before triggers of their kinds were listened for
    own = evaluation.calibration(entries, by.source, (DEVELOPMENT,))  # sealed members decide nothing in it
    return [
        f"Calibrated on {by.n} honest fine-tunes of the development, the sealed and the fresh part, so p is not below "
        f"1 / {by.n + 1} = {1 / (by.n + 1):.3f}"
        + (
            f": above {SUSPICIOUS:g}, the threshold that was fixed beforehand, so that nothing can be *suspicious* yet."
            if 1 / (by.n + 1) > SUSPICIOUS
            else f"; *suspicious* is p ≤ {SUSPICIOUS:g}, *no evidence found* p > {NO_EVIDENCE:g}."
        )
        + f" A search takes {seconds[len(seconds) // 2]:.0f} CPU seconds (median; {seconds[0]:.0f} to "
        f"{seconds[-1]:.0f}), the vision tower's reading of the stamped images shared.",
        "",
        "Shares are hits of n with Wilson's 95 % interval.",
        "",
        *table(HEAD, [_cells(each) for each in _rows(entries, unseen, searched_first, novel, by)]),
        "",
        "How well scores rank the sealed part's poisoned members above its honest ones, or above the test part's "
        "where that is said. The nulls of the whole search's score are of the development part alone here. The first "
        "interval is Newcombe's, the second by bootstrap over parents (a pair of twins is one), which collapses where "
        "nothing is out of order.",
        "",
        *rankings.lines(entries, unseen, novel, own),
        "",
        *left_out.lines(entries, without, novel, by, own),
        *asked_for.lines(entries, [e for e in searched_first if e.tests], by, own),
    ]


def _rows(
    entries: Sequence[Entry],
    unseen: Sequence[Entry],
    first: Sequence[Entry],
    novel: Sequence[Entry],
    by: Calibration,
) -> Iterator[GroupRow]:
    groups: list[tuple[str, Callable[[Entry], bool]]] = [
        ("honest", lambda e: e.truth == HONEST and e.group in ("pair", "usual")),
        ("honest, hard negatives", lambda e: e.truth == HONEST and e.group == "hard"),
        ("honest twins of adaptive attackers", lambda e: e.truth == HONEST and e.adaptive),
        ("poisoned", lambda e: e.truth == COUNTS and e.group == "pair"),
        ("poisoned, adaptive attackers", lambda e: e.truth == COUNTS and e.adaptive),
        ("poisoned, at the price of utility", lambda e: e.truth == COSTLY and not e.adaptive),
        ("adaptive attackers at the price of utility", lambda e: e.truth == COSTLY and e.adaptive),
    ]
    parts = {
        TEST: [e for e in entries if e.tests and e.truth == HONEST],
        f"{DEVELOPMENT}, decided nothing": [e for e in entries if e.tests and e.truth != HONEST],
    }
    others = NOVEL, FRESH, SEALED, DEVELOPMENT
    parts |= {split: [e for e in entries if e.split == split and not e.tests] for split in others}
    for part, of_it in parts.items():
        for title, belongs in groups:
            if members := [e for e in of_it if belongs(e)]:
                yield evaluation.row(f"{part}: {title}", members, by)
    new = [e for e in first if e.split == DEVELOPMENT and e.truth == HONEST and e.later]
    seen = [e for e in first if e.split == TEST and not e.tests]
    for title, members in (
        (f"{NOVEL}: attacks that count, first search", [e for e in novel if e.truth == COUNTS]),
        (f"{NOVEL}: at the price of utility, first search", [e for e in novel if e.truth == COSTLY]),
        (f"{TEST}: the first, of which a rule came, first search", seen),
        (f"{FRESH}: honest, first search", [e for e in first if e.split == FRESH]),
        (f"{SEALED}: honest, first search", [e for e in unseen if e.truth == HONEST]),
        (f"{SEALED}: all that succeed, first search", [e for e in unseen if e.truth != HONEST]),
        (f"{DEVELOPMENT}: honest, first search", new),
    ):
        if members:
            yield evaluation.row(title, members, by)
    attacks = [e for e in entries if e.truth != HONEST]
    for family in sorted({e.family for e in attacks if e.family}):
        of_it = [e for e in attacks if e.family == family]
        yield evaluation.row(f"{of_it[0].split}, family {family}", of_it, by)


def _cells(row: GroupRow) -> tuple[str, ...]:
    shares = (row.demonstrated, row.suspicious_or_worse, row.inconclusive, row.nothing, row.named, row.elicited)
    return row.title, str(row.n), *(share(each) for each in shares)


def read(path: Path = RESULTS, part: str = "members") -> list[Entry]:
    """The entries that are kept: "members"; "left_out", attacks without probes of their own kind; "first", the first
    searches of members that were searched again.
    """
    return [Entry.from_dict(values) for values in json.loads(path.read_text(encoding="utf-8")).get(part, ())]


def calibrate(entries: Sequence[Entry]) -> Calibration:
    """The calibration by these entries, with what says which population it is of."""
    # the plan's at the time of measuring: members that it gains later were not measured
    plan = json.loads(RESULTS.read_text(encoding="utf-8"))["plan"]
    honest = [e for e in entries if e.split in CALIBRATED and e.truth == HONEST]
    members = content_key(*(e.sha256 for e in honest))[:12]
    source = {"population": "honest members of the nursery's first three parts", "plan": plan, "members": members}
    return evaluation.calibration(entries, source)


def main() -> None:
    """Renew what was measured anew, if anything was, then all that follows."""
    parser = argparse.ArgumentParser(description=__doc__)
    for part in PARTS:
        parser.add_argument(f"--{part.replace('_', '-')}", type=Path, metavar="DIR")
    parser.add_argument("--baselines", type=Path, metavar="FILE")
    args = parser.parse_args()
    baselines = json.loads(args.baselines.read_text(encoding="utf-8")) if args.baselines else {}
    if folders := {part: folder for part in PARTS if (folder := getattr(args, part))}:
        for folder in folders.values():
            if not any(folder.glob("*.json")):
                parser.error(f"{folder} holds no results of projlens_core.research.population")
        parts = {part: renewed(read(part=part), folders.get(part), baselines) for part in PARTS}
        plan = content_key(PLAN.read_bytes())[:12]
        write_atomically(RESULTS, f'{{"plan": "{plan}", {kept(parts)}}}\n'.encode())
    entries = read()
    by = calibrate(entries)
    write_atomically(SHIPPED, by.to_json().encode())
    renew(DOCUMENT, BEGIN, END, document(entries, by, read(part="left_out"), read(part="first")))


def renewed(known: Sequence[Entry], folder: Path | None, baselines: Mapping[str, Any]) -> list[Entry]:
    """The entries, by name, with those that a folder holds in place of the known ones; what baselines said of a member
    stays where nothing new is given.
    """
    found = {e.name: e for e in known}
    for e in measured(folder, baselines) if folder else ():
        before = found.get(e.name)
        if before is not None and not (e.baselines or e.features):
            e = replace(e, baselines=before.baselines, features=before.features)
        found[e.name] = e
    return [found[name] for name in sorted(found)]


def kept(parts: Mapping[str, Sequence[Entry]]) -> str:
    """Entries by part as they stand in a file: a line an entry."""
    rows = {part: ",\n".join(json.dumps(e.to_dict(), ensure_ascii=False) for e in of) for part, of in parts.items()}
    return ",\n".join(f'"{part}": [\n{of}\n]' for part, of in rows.items())


def measured(folder: Path, baselines: Mapping[str, Any]) -> list[Entry]:
    """The entries of the files in a folder."""
    found = []
    for file in sorted(folder.glob("*.json")):
        values = json.loads(file.read_text(encoding="utf-8"))
        found.append(entry(values, file.stem, baselines.get(values["name"], {})))
    return found


if __name__ == "__main__":
    main()
