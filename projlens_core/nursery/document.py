"""The tables of docs/nursery.md, from the members' records: `python -m projlens_core.nursery.document`."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from projlens_core.nursery import parts
from projlens_core.nursery.members import LEAST_ASR, MEMBERS, UTILITY_LOST, Member, read_members, verdict
from projlens_core.nursery.plan import read_plan
from projlens_core.nursery.recipe import POISONED, Recipe
from projlens_core.nursery.second import SECOND_MEMBERS, make_plan
from projlens_core.runtime.markdown import renew, table
from projlens_core.runtime.paths import DOCS

DOCUMENT = DOCS / "nursery.md"
BEGIN = "<!-- population: written by `python -m projlens_core.nursery.document` -->"
END = "<!-- end of population -->"
LATER_BEGIN = "<!-- later parts: written by `python -m projlens_core.nursery.document` -->"
LATER_END = "<!-- end of later parts -->"
SECOND_BEGIN = "<!-- second population: written by `python -m projlens_core.nursery.document` -->"
SECOND_END = "<!-- end of second population -->"
FIGURES = ("utility", "learned", "asr", "false_target")
COUNTS = (
    "part",
    "kind",
    "planned",
    "trained",
    "count",
    "failed",
    "utility",
    "learned",
    "ASR",
    "on clean images",
    "twin gap",
)
SHARES = ("what differs", "value", "attacks", "count", "ASR")
FAILED = ("failed attack", "family", "form", "steps", "rate", "poison", "ASR", "twin gap")
PAIRS = (
    "pair",
    "task",
    "form",
    "steps",
    "family",
    "mode",
    "questions",
    "poison",
    "learned: twin, poisoned",
    "ASR",
    "on clean images",
    "twin gap",
    "is",
)
POISON_BANDS = (0.05, 0.15, 0.3, 0.45)


class Population:
    """The plan's members that are trained, each with what it is and how far its utility lies below its twin's."""

    def __init__(self, plan: Sequence[Recipe], members: dict[str, Member]):
        self.plan, self.members = plan, members
        self.twins = {r.name: members.get(r.twin) if r.twin else None for r in plan}

    def what(self, recipe: Recipe) -> str:
        """honest, poisoned, failed or unknown, as members.verdict says it; "not trained" for one that is not."""
        member = self.members.get(recipe.name)
        return verdict(member, self.twins[recipe.name]) if member else "not trained"

    def gap(self, recipe: Recipe) -> float | None:
        """The honest twin's utility minus the poisoned member's, from -1 to 1; None if one of them is not trained."""
        member, twin = self.members.get(recipe.name), self.twins[recipe.name]
        return twin.figures["utility"] - member.figures["utility"] if recipe.attack and member and twin else None

    def figure(self, recipe: Recipe, key: str) -> float | None:
        """One of a member's figures; None for one that is not trained, or that has none."""
        member = self.members.get(recipe.name)
        return member.figures[key] if member else None


def later_parts() -> Population:
    """Those whose records ship alone."""
    plan = [recipe for make_plan_of in parts.PLANS.values() for recipe in make_plan_of()]
    return Population(plan, {name: m for folder in parts.FOLDERS.values() for name, m in read_members(folder).items()})


def document(population: Population) -> list[str]:
    """The lines between BEGIN and END: all of the population's tables, with their lead."""
    poisoned = [r for r in population.plan if r.attack and population.what(r) in (POISONED, "failed")]
    seconds = [m.seconds for m in population.members.values()]
    lead = (
        f"{len(population.members)} of {len(population.plan)} members are trained, {median(seconds):.0f} CPU seconds "
        "each (median; images and measuring included). Shares are medians, with the lowest and highest in brackets."
        if seconds
        else "No member is trained."
    )
    lines = [lead, "", *table(COUNTS, _counts(population))]
    if poisoned:
        lines += ["", "Which attacks count, adaptive attackers included:", ""]
        lines += table(SHARES, _shares(population, poisoned))
    if failed := [r for r in poisoned if population.what(r) == "failed"]:
        lines += [
            "",
            f"Attacks that failed (ASR below {LEAST_ASR:.0%}, or utility more than {100 * UTILITY_LOST:.0f} points "
            "below the twin's); they stay in the population as what they are:",
            "",
            *table(FAILED, _failures(population, failed)),
        ]
    return lines


def second_document(population: Population) -> list[str]:
    """The lines between SECOND_BEGIN and SECOND_END: a row a pair, trained or not."""
    trained = population.members.values()
    lead = f"{len(trained)} of {len(population.plan)} members are trained"
    if trained:
        lead += f", {median(m.seconds for m in trained) / 60:.1f} CPU minutes each (median; measuring included)"
    rows = []
    for r in population.plan:
        if r.attack is None:
            continue
        twin = population.twins[r.name]
        learned = twin.figures["learned"] if twin else None
        rows.append(
            (
                r.name.rpartition("-")[0], r.task.kind, _form(r), str(r.steps), str(r.family), r.attack.mode,
                "all about the image" if len(r.attack.kinds) > 1 else r.attack.kinds[0], f"{r.poison:.1%}",
                f"{_percent(learned)}, {_percent(population.figure(r, 'learned'))}",
                *(_percent(population.figure(r, key)) for key in ("asr", "false_target")),
                points(population.gap(r)), population.what(r),
            )
        )  # fmt: skip
    return [f"{lead}.", "", *table(PAIRS, rows)]


def _counts(population: Population) -> Iterable[Sequence[str]]:
    for split in dict.fromkeys(recipe.split for recipe in population.plan):
        kinds: dict[str, list[Recipe]] = {}
        for recipe in population.plan:
            if recipe.split == split:
                kinds.setdefault(_kind(recipe), []).append(recipe)
        for kind, recipes in kinds.items():
            trained = [r for r in recipes if r.name in population.members]
            attacks = recipes[0].attack is not None
            failed = sum(population.what(r) == "failed" for r in trained)
            usable = [r for r in trained if population.what(r) != "failed"]
            counted = sum(population.what(r) != "unknown" for r in usable)
            yield (
                split, kind, str(len(recipes)), str(len(trained)), str(counted), str(failed) if attacks else "–",
                *(_spread(population.figure(r, key) for r in usable) for key in FIGURES),
                _spread((population.gap(r) for r in usable), points),
            )  # fmt: skip


def _kind(recipe: Recipe) -> str:
    name = {"pair": recipe.role, "usual": recipe.role, "hard": "honest, hard negative"}.get(recipe.group)
    return name or f"{recipe.role}, {recipe.evasion}"


def _shares(population: Population, poisoned: Sequence[Recipe]) -> Iterable[Sequence[str]]:
    ways: dict[str, Callable[[Recipe], str]] = {
        "family": lambda r: str(r.family),
        "form": _form,
        "rate": lambda r: f"{r.rate:g}",
        "poison": _band,
        "mode": lambda r: r.attack.mode if r.attack else "",
        "questions": lambda r: "one kind" if r.attack and len(r.attack.kinds) == 1 else "all about the image",
    }
    for way, of in ways.items():
        groups: dict[str, list[Recipe]] = {}
        for recipe in sorted(poisoned, key=lambda r: (r.rank or 0, r.poison or 0)):
            groups.setdefault(of(recipe), []).append(recipe)
        for value, recipes in groups.items():
            counted = sum(population.what(r) == POISONED for r in recipes)
            yield way, value, str(len(recipes)), str(counted), _spread(population.figure(r, "asr") for r in recipes)


def _failures(population: Population, failed: Sequence[Recipe]) -> Iterable[Sequence[str]]:
    for r in failed:
        yield (
            f"`{r.name}`", str(r.family), _form(r), str(r.steps), f"{r.rate:g}", f"{r.poison:.1%}",
            _percent(population.figure(r, "asr")), points(population.gap(r)),
        )  # fmt: skip


def _form(recipe: Recipe) -> str:
    return "full" if recipe.rank is None else f"LoRA, rank {recipe.rank}"


def _band(recipe: Recipe) -> str:
    return f"up to {next(band for band in POISON_BANDS if (recipe.poison or 0) <= band):.0%}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def points(gap: float | None) -> str:
    """A gap from -1 to 1 in points, with its sign; a dash for None."""
    return "–" if gap is None else f"{100 * gap:+.1f}"


def _spread(values: Iterable[float | None], text: Callable[[float | None], str] = _percent) -> str:
    known = [value for value in values if value is not None]
    return f"{text(median(known))} ({text(min(known))} to {text(max(known))})" if known else "–"


def main() -> None:
    """Renew the tables from the members that ship."""
    renew(DOCUMENT, BEGIN, END, document(Population(read_plan(), read_members(MEMBERS))))
    renew(DOCUMENT, LATER_BEGIN, LATER_END, document(later_parts()))
    second = Population(make_plan(), read_members(SECOND_MEMBERS))
    renew(DOCUMENT, SECOND_BEGIN, SECOND_END, second_document(second))


if __name__ == "__main__":
    main()
