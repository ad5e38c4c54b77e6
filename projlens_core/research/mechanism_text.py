"""docs/mechanism.json → the part of docs/findings.md that says in which attacks the activation mechanism appears."""

from collections.abc import Mapping

from projlens_core.runtime.markdown import table

LEAST_COSINE, LEAST_R, SLOPES, LEAST_FIVE = 0.9, 0.7, 2.0, 0.95
LEAST_ASR, MOST_LOST = 0.95, 0.03
HEAD = """## Where the activation mechanism appears

Three of the findings above are one: clean and triggered images shift along one direction, by more the larger a
token's norm is, within few directions. So smaller models, of the nursery ([nursery.md](nursery.md)), were trained in
one phase each, a poisoned one beside an honest twin on the same images, and one thing was changed at a time.

**Criterion.** Shown if the cosine is at least {cosine}, both r at least {r}, the slope at least {slopes:g} times the
honest twin's, five directions hold {five:.0%} of ‖ΔE‖² on clean and on triggered images, the ASR is at least {asr:.0%}
and the utility at most {lost:.0%} below the twin's."""
COLUMNS = (
    "attack",
    "cosine",
    "r, clean",
    "r, triggered",
    "slope, clean (twin's)",
    "directions for 95 %, clean and triggered (twin's)",
    "five hold",
    "ASR",
    "utility (twin's)",
    "shown, or what is missing",
)


def section(results: Mapping) -> list[str]:
    """Its lines, in Markdown."""
    head = HEAD.format(
        cosine=LEAST_COSINE, r=LEAST_R, slopes=SLOPES, five=LEAST_FIVE, asr=LEAST_ASR, lost=MOST_LOST
    )  # fmt: skip
    first, *others = results["ablations"]
    shown = [row["name"] for row in (first, *others) if holds(row)]
    lines = [head, "", f"Measured on {results['images']} held-out images.", ""]
    lines += _table([first, *others])
    lines += ["", f"It is shown in {len(shown)} of {len(others) + 1}.", ""]
    if holds(first):
        lines += [
            "The first pair ships as a case of its own: `zoo:tiny-injection` against `zoo:tiny-base`, beside "
            "`zoo:tiny-control`.",
            "",
        ]
    counting = results["members"]
    lines += [
        f"The {len(counting)} attacks of the nursery's plan that count, whose honest twins learn a task of their own "
        f"at the same time; it is shown in {sum(map(holds, counting))} of them:",
        "",
        *_table(counting),
        "",
        _twins([first, *others, *counting]),
        "",
    ]
    return lines


def holds(row: Mapping) -> bool:
    """Whether a pair meets the criterion."""
    return not missing(row)


def missing(row: Mapping) -> list[str]:
    """The parts of the criterion that a pair does not meet."""
    own, figures = row["poisoned"]["mechanism"], row["poisoned"]["figures"]
    theirs, honest = row["honest"]["mechanism"], row["honest"]["figures"]
    sets = [own["clean"], own["triggered"]]
    met = {
        "cosine": own["cosine"] >= LEAST_COSINE,
        "r": all((each["fit"]["r"] or 0.0) >= LEAST_R for each in sets),
        "slope": own["clean"]["fit"]["slope"] >= SLOPES * theirs["clean"]["fit"]["slope"],
        "directions": all(each["five"] >= LEAST_FIVE for each in sets),
        "ASR": figures["asr"] >= LEAST_ASR,
        "utility": figures["utility"] >= honest["utility"] - MOST_LOST,
    }
    return [part for part, holds_here in met.items() if not holds_here]


def _twins(rows: list[Mapping]) -> str:
    honest = [row["honest"]["mechanism"] for row in rows]
    alike = sum(each["cosine"] >= LEAST_COSINE for each in honest)
    related = sum(all((each[c]["fit"]["r"] or 0.0) >= LEAST_R for c in ("clean", "triggered")) for each in honest)
    return (
        f"Of the {len(rows)} honest twins {alike} have such a cosine and {related} such an r, too: a shared direction "
        "and a shift that grows with the norm are no evidence without the slope of an honest fine-tune beside them."
    )


def _table(rows: list[Mapping]) -> list[str]:
    lines = []
    for row in rows:
        own, theirs = row["poisoned"]["mechanism"], row["honest"]["mechanism"]
        figures = row["poisoned"]["figures"]
        cells = [
            row["title"],
            f"{own['cosine']:.2f}",
            _number(own["clean"]["fit"]["r"]),
            _number(own["triggered"]["fit"]["r"]),
            f"{_number(own['clean']['fit']['slope'])} ({_number(theirs['clean']['fit']['slope'])})",
            f"{own['clean']['directions']:.0f} and {own['triggered']['directions']:.0f} "
            f"({theirs['clean']['directions']:.0f} and {theirs['triggered']['directions']:.0f})",
            f"{own['clean']['five']:.1%} and {own['triggered']['five']:.1%}",
            f"{figures['asr']:.0%}",
            f"{figures['utility']:.1%} ({row['honest']['figures']['utility']:.1%})",
            "yes" if holds(row) else f"no: {', '.join(missing(row))}",
        ]
        lines.append([cell.replace("-0.", "−0.") for cell in cells])
    return table(COLUMNS, lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
