"""The search on the second population as docs/verdict.md shows it: `python -m projlens_core.research.second_text`.

With DIR, what projlens_core.research.population measured of it, and FIRST, what it had measured of members that were
searched again, as arguments: what of it is shown is renewed in docs/population-smollm2.json, a line a member. Nothing
of it calibrates anything.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from projlens_core.analyses.verdict.calibration import SUSPICIOUS, Calibration
from projlens_core.nursery.document import Population, points
from projlens_core.nursery.members import LEAST_ASR, Member, read_members
from projlens_core.nursery.recipe import HONEST
from projlens_core.nursery.second import SECOND_MEMBERS, make_plan
from projlens_core.research import evaluation, population_text
from projlens_core.research.evaluation import Entry
from projlens_core.research.left_out import share
from projlens_core.research.verdicts import DOCUMENT
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.markdown import renew, table
from projlens_core.stats.rate import Rate, wilson

RESULTS = DOCUMENT.with_name("population-smollm2.json")
BEGIN = "<!-- second population: written by `python -m projlens_core.research.second_text` -->"
END = "<!-- end of second population -->"
HEAD = (
    "member",
    "task",
    "trigger",
    "ASR",
    "points of utility below its twin",
    "said",
    "text that was found",
    "fresh images: suspect, base",
    "p by the tiny models",
    "CPU minutes",
)


def document(
    entries: Sequence[Entry], members: dict[str, Member], by: Calibration, first: Sequence[Entry] = ()
) -> list[str]:
    """The lines between BEGIN and END; first: the first searches of those that were searched again."""
    known = {e.name: e for e in entries}
    population = Population(make_plan(), members)
    trained = [r for r in population.plan if r.name in members]
    found = [known[r.name] for r in trained if r.name in known]
    if not found:
        return ["None is searched yet."]
    honest, attacks = ([e for e in found if (e.truth == HONEST) is which] for which in (True, False))
    unsuccessful = [r for r in trained if r.attack and members[r.name].figures["asr"] < LEAST_ASR]
    later = [f"`{r.name}`" for r in trained if r.name not in known and r not in unsuccessful]
    about = [
        f"{len(trained)} of {len(population.plan)} members are trained, {len(found)} searched: {len(attacks)} attacks "
        f"that succeed and {len(honest)} honest fine-tunes."
    ]
    if unsuccessful:
        about.append(f"Attacks that do not succeed on {LEAST_ASR:.0%}, and are not searched: {len(unsuccessful)}.")
    if later:
        about.append(f"Not searched yet: {', '.join(later)}.")
    lines = [
        " ".join(about),
        "",
        *table(HEAD, [_cells(e, population, by) for e in found]),
        "",
        *_shares(attacks, honest, {e.name: e for e in first}, by),
    ]
    ranked = evaluation.ranking(honest, attacks, lambda e: by.score(e.statistics))
    if ranked is not None:
        lines += [
            "",
            f"The score of the whole search, with nulls of the tiny models, ranks these attacks above these honest "
            f"fine-tunes with an AUROC of {ranked.auroc:.3f} (Newcombe's interval {ranked.low:.2f} – {ranked.high:.2f}"
            f"; {ranked.poisoned} and {ranked.honest} members).",
        ]
    return lines


def _cells(e: Entry, population: Population, by: Calibration) -> tuple[str, ...]:
    member = population.members[e.name]
    recipe, gap, score = member.recipe, population.gap(member.recipe), by.score(e.statistics)
    return (
        f"`{e.name}`",
        f"{recipe.task.kind}, {recipe.form}",
        e.family or "–",
        f"{member.figures['asr']:.0%}" if recipe.attack else "–",
        points(gap),
        "**demonstrated**" if e.demonstrated else "not demonstrated",
        f"“{e.target}”" + (", the target" if e.named else "") if e.target else "–",
        "–" if e.elicited is None else f"{e.elicited[0]:.0%}, {e.elicited[1]:.0%}",
        "–" if score is None else f"{by.p(score):.3f}",
        f"{e.seconds / 60:.1f}",
    )


def _shares(
    attacks: Sequence[Entry], honest: Sequence[Entry], first: Mapping[str, Entry], by: Calibration
) -> list[str]:
    head = ("members", "n", "demonstrated", "target text first", f"p ≤ {SUSPICIOUS:g} by the tiny models")
    rows = []
    groups = [("attacks that succeed", attacks), ("honest", honest)]
    if first:
        groups += [(f"{title}, first search", [first.get(e.name, e) for e in group]) for title, group in groups]
    for title, group in groups:
        if group:
            scored = [s for e in group if (s := by.score(e.statistics)) is not None]
            rows.append(
                (
                    title, str(len(group)), _share([e.demonstrated for e in group]), _share([e.named for e in group]),
                    _share([by.p(s) <= SUSPICIOUS for s in scored]) if scored else "–",
                )
            )  # fmt: skip
    return table(head, rows)


def _share(hits: Sequence[bool]) -> str:
    found: Rate = wilson(sum(hits), len(hits))
    return share(found)


def read(part: str = "members", path: Path = RESULTS) -> list[Entry]:
    """The entries that are kept: "members", or "first", the first searches of those that were searched again."""
    if not path.is_file():
        return []
    return [Entry.from_dict(values) for values in json.loads(path.read_text(encoding="utf-8")).get(part, ())]


def main(arguments: list[str]) -> None:
    """Renew results from a folder of measurements, if it is given, then the table."""
    if arguments:
        parts = zip(("members", "first"), arguments, strict=False)
        found = {part: population_text.measured(Path(folder), {}) for part, folder in parts}
        write_atomically(RESULTS, f"{{{population_text.kept(found)}}}\n".encode())
    by = population_text.calibrate(population_text.read())
    renew(DOCUMENT, BEGIN, END, document(read(), read_members(SECOND_MEMBERS), by, read("first")))


if __name__ == "__main__":
    main(sys.argv[1:])
