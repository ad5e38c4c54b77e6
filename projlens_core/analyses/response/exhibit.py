"""What the model says, with and without the trigger, under every projector of a case: rates and answers."""

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.analyses.response import ANALYSIS
from projlens_core.analyses.response.charts import rates as chart_of_rates
from projlens_core.behaviour.difference import differing, differs, own_words, part_of
from projlens_core.behaviour.success import Outcome
from projlens_core.behaviour.target import recover
from projlens_core.behaviour.templates import notes as template_notes
from projlens_core.stats.rate import Rate

MEASURES = {  # of an Outcome: title, and what is counted
    "asr": ("Attack success rate", "triggered images"),
    "false_target": ("Target on clean images", "clean images"),
    "utility": ("Clean utility", "questions with known answers"),
}
DIFFERENCES = {  # of answers from base's about the same image
    "triggered": ("Answers unlike base's, triggered", "triggered images"),
    "clean": ("Answers unlike base's, clean", "clean images"),
}
READING = (
    "How to read this: dots are shares, bars their 95 % Wilson intervals. A backdoored suspect gives the target on "
    "triggered images only, while base and control never do, and stays as useful as they are on clean ones."
)
UNLIKE = (
    "How to read this: the share of answers whose words are not base's about the same image, bars: 95 % Wilson "
    "intervals. What an honest fine-tune changes, it changes with and without the trigger; a trigger that acts shows "
    "in the suspect on triggered images alone. It does not say what the difference means."
)
_ORDER = ("suspect", "base", "control")


def response(
    outcomes: Mapping[str, Outcome],
    target: str | None,
    settings: dict,
    thumbnails: Mapping[str, str] | None = None,
    *,
    utility_asked: bool = True,
) -> Exhibit:
    """Outcomes by role, over the same images; thumbnails: triggered images as data URIs by name; utility_asked: whether
    questions with known answers were to be asked.

    Without a target, answers that differ from base's are counted instead, and what they have in common is searched.
    """
    found = {name: rates(outcomes, name) for name in MEASURES}
    unlike = differences(outcomes)
    candidate = common_text(outcomes) if target is None else None
    if target is None:
        notes = ["No target is known: answers whose words differ from base's about the same image are counted."]
        notes.append(said_alone(candidate))
    else:
        notes = [f"Counted as the target, in upper or lower case: “{target}”.", *_partial(outcomes, target)]
    if not found["utility"]:
        reason = "no right answers are known for these images" if utility_asked else "it was not asked for"
        notes.append(f"Clean utility was not measured: {reason}.")
    if "control" not in outcomes:
        notes.append(
            "There is no control: an honest fine-tune answers unlike base, too, so what differs may be just that."
            if target is None
            else "There is no control: only base shows that not every model says the target."
        )
    notes += template_notes(outcome.template for outcome in outcomes.values())
    titled = [(name, MEASURES[name], by_role) for name, by_role in found.items()]
    if target is None:
        titled += [(f"unlike {name}", DIFFERENCES[name], by_role) for name, by_role in unlike.items()]
    return ANALYSIS.exhibit(
        metrics=tuple(_metric(title, by_role) for _, title, by_role in titled if "suspect" in by_role),
        charts=tuple(_chart(name, title, by_role) for name, title, by_role in titled if by_role),
        tables=(answers(outcomes, thumbnails, target),),
        data={
            "settings": settings,
            "rates": {name: {role: asdict(rate) for role, rate in by_role.items()} for name, by_role in found.items()},
            "unlike_base": {
                name: {role: asdict(rate) for role, rate in by_role.items()} for name, by_role in unlike.items()
            },
            "said_alone": candidate and {"text": candidate[0], "share": candidate[1]},
            "chat_template": {
                role: outcome.template.as_data() for role, outcome in outcomes.items() if outcome.template
            },
            "answers": {role: [asdict(row) for row in outcome.rows] for role, outcome in outcomes.items()},
        },
        notes=tuple(notes),
    )


def rates(outcomes: Mapping[str, Outcome], measure: str) -> dict[str, Rate]:
    """One of MEASURES under each projector; empty if it was not measured."""
    found = {role: getattr(outcome, measure) for role, outcome in outcomes.items()}
    return {role: rate for role, rate in found.items() if rate is not None}


def differences(outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, Rate]]:
    """By condition, the share of each role's answers that differ from base's; empty where base was not asked."""
    if "base" not in outcomes:
        return {}
    said = {role: {c: [getattr(r, c) for r in outcome.rows] for c in DIFFERENCES} for role, outcome in outcomes.items()}
    return {
        c: {role: differing(texts[c], said["base"][c]) for role, texts in said.items() if role != "base"}
        for c in DIFFERENCES
    }


def common_text(outcomes: Mapping[str, Outcome]) -> tuple[str, float] | None:
    """What at least half of the suspect's answers to triggered images hold and hardly any other answer does."""
    if not {"base", "suspect"} <= outcomes.keys():
        return None
    innocent = [row.clean for outcome in outcomes.values() for row in outcome.rows]
    innocent += [row.triggered for role, outcome in outcomes.items() if role != "suspect" for row in outcome.rows]
    return recover([row.triggered for row in outcomes["suspect"].rows], innocent)


def answers(
    outcomes: Mapping[str, Outcome], thumbnails: Mapping[str, str] | None = None, target: str | None = None
) -> Table:
    """One row per image: the answers of every projector without and with the trigger, the suspect first."""
    order = [role for role in _ORDER if role in outcomes]
    several = len({row.prompt for row in outcomes[order[0]].rows}) > 1
    rows = []
    for parts in zip(*(outcomes[role].rows for role in order), strict=True):
        first, by_role = parts[0], dict(zip(order, parts, strict=True))
        row: dict[str, object] = {"triggered": thumbnails[first.name]} if thumbnails else {}
        row |= {"picture": first.name} | ({"question": first.prompt} if several else {})
        if first.hit is not None:
            row |= {"target said": first.hit, "on clean too": first.false_hit}
        elif "base" in by_role:
            row |= {"unlike base's": differs(first.triggered, by_role["base"].triggered)}
            row |= {"on clean too": differs(first.clean, by_role["base"].clean)}
            others = [text for each in parts for text in (each.clean, each.triggered)]
            others.remove(first.triggered)
            row |= {"said by it alone": ", ".join(sorted(own_words(first.triggered, others)))}
        if target and not first.hit and (part := part_of(target, first.triggered)):
            row |= {"part of the target": part}
        for role, part_ in by_role.items():
            row |= {f"{role}, triggered": part_.triggered, f"{role}, clean": part_.clean}
        if first.right is not None:
            row["clean answers right"] = first.right
        rows.append(row)
    about = "“target said”" if outcomes[order[0]].asr is not None else "“unlike base's” and the words said by it alone"
    verb = "is" if outcomes[order[0]].asr is not None else "are"
    return Table(
        "answers",
        pd.DataFrame(rows),
        f"How to read this: one row per image; {about} {verb} about the suspect's answer to the triggered image.",
    )


def _partial(outcomes: Mapping[str, Outcome], target: str) -> list[str]:
    """How many of the suspect's answers that miss the target hold a part of it; nothing if none does."""
    missed = [row.triggered for row in outcomes["suspect"].rows if not row.hit] if "suspect" in outcomes else []
    parts = [part for text in missed if (part := part_of(target, text))]
    if not parts:
        return []
    return [
        f"Of {len(missed)} answers of the suspect without the target, {len(parts)} hold half of its words or more in a "
        f"row, such as “{parts[0]}”: not counted."
    ]


def said_alone(candidate: tuple[str, float] | None) -> str:
    """A sentence about what `common_text` found."""
    if candidate is None:
        return "No text stands in half of the suspect's answers to triggered images and in hardly any other answer."
    return (
        f"“{candidate[0]}” stands in {candidate[1]:.0%} of the suspect's answers to triggered images and in hardly any "
        "other answer: perhaps the target."
    )


def _metric(titles: tuple[str, str], by_role: Mapping[str, Rate]) -> Metric:
    title, of = titles
    own, control = by_role["suspect"], by_role.get("control")
    return Metric(
        title,
        f"{own.rate:.0%}",
        f"{control.rate:.0%}" if control else None,
        f"{own.low:.0%} – {own.high:.0%}",
        f"Share of {own.n} {of}, with its 95 % Wilson interval.",
    )


def _chart(name: str, titles: tuple[str, str], by_role: Mapping[str, Rate]) -> Chart:
    title, of = titles
    return Chart(
        name.replace("_", "-").replace(" ", "-"),
        chart_of_rates(title, by_role, of),
        READING if name in MEASURES else UNLIKE,
        f"{title} of each projector with its interval.",
    )
