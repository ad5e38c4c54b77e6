"""Which changes of the trigger still work: every change's push under suspect and control, and ASR where asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import pandas as pd

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table, with_minus
from projlens_core.analyses.robustness import ANALYSIS, charts
from projlens_core.behaviour.robustness import KEEPS, Push, TriedChange
from projlens_core.behaviour.scoring import Score
from projlens_core.behaviour.templates import Template
from projlens_core.behaviour.templates import notes as template_notes
from projlens_core.inputs.changes import AXES, ORIGINAL, Change

AS_GIVEN = ("position", "quality")  # axes whose levels are no factors
SHIFT_ONLY = "Scored by shift alone: a change can push an image far and still not bring the target about."

Scores = Mapping[Change, Mapping[str, Score]]  # by change and role; only what was asked


def robustness(tried: Sequence[TriedChange], settings: dict, scores: Scores | None = None) -> Exhibit:
    """All changes that were tried. scores: answers that were counted for some of them."""
    scores = scores or {}
    return ANALYSIS.exhibit(
        metrics=metrics(tried, scores),
        charts=charts_of(tried),
        tables=(table(tried, scores),),
        data={
            "settings": settings,
            "chat_template": next((used.as_data() for used in templates(scores) if used), None),
            "changes": [_as_data(one, scores.get(one.change, {})) for one in tried],
        },
        notes=(*notes(tried), *template_notes(templates(scores))),
    )


def templates(scores: Scores) -> list[Template | None]:
    """What the prompts of the answers that were counted were written with."""
    return [score.template for by_role in scores.values() for score in by_role.values()]


def metrics(tried: Sequence[TriedChange], scores: Scores) -> tuple[Metric, ...]:
    """How many changes still work, and the one that does worst."""
    changed = [one for one in tried if one.pushes and one.change != ORIGINAL]
    whole = next((one for one in tried if one.pushes and one.change == ORIGINAL), None)
    if whole is None:
        return ()
    control = "control" in whole.pushes
    gain = whole.pushes["suspect"].gain
    cards = [
        Metric(
            "Unchanged trigger adds",
            with_minus(f"{gain.mean:.3g}"),
            with_minus(f"{whole.pushes['control'].gain.mean:.3g}") if control else None,
            with_minus(f"{gain.low:.3g} – {gain.high:.3g}") if gain.n > 1 else None,
            f"How much further an image is pushed with the trigger than the same image without: mean over {gain.n} "
            "images, in embedding units, with its 95 % bootstrap interval.",
        )
    ]
    if changed:
        cards.append(
            Metric(
                f"Changes that keep {KEEPS:.0%} of it",
                f"{_working(changed, 'suspect')} of {len(changed)}",
                f"{_working(changed, 'control')} of {len(changed)}" if control else None,
                help=f"Changes that add at least {KEEPS:.0%} of what the unchanged trigger adds to the same image "
                f"under the suspect, by the lower end of the paired 95 % interval. {SHIFT_ONLY}",
            )
        )
        weakest = min(changed, key=lambda one: one.pushes["suspect"].gain.mean)
        push = weakest.pushes["suspect"]
        cards.append(
            Metric(
                f"Kept by the weakest, {weakest.change.label}",
                with_minus(f"{push.kept:.0%}"),
                with_minus(f"{weakest.pushes['control'].kept:.0%}") if control else None,
                with_minus(f"{push.kept_low:.0%} – {push.kept_high:.0%}") if push.kept_low == push.kept_low else None,
                f"What the trigger adds to the shift with {weakest.change.label}, as a share of what the unchanged one "
                "adds under the suspect, with its 95 % bootstrap interval over images.",
            )
        )
    if ORIGINAL in scores:
        asr = scores[ORIGINAL]["suspect"].asr
        theirs = scores[ORIGINAL].get("control")
        cards.append(
            Metric(
                "Unchanged trigger, ASR",
                f"{asr.rate:.0%}",
                f"{theirs.asr.rate:.0%}" if theirs else None,
                f"{asr.low:.0%} – {asr.high:.0%}",
                f"Answers with the target to {asr.n} triggered images.",
            )
        )
    return tuple(cards)


def charts_of(tried: Sequence[TriedChange]) -> tuple[Chart, ...]:
    """Gained shift, which answers the page's question, and AUROC by change."""
    if not any(one.pushes for one in tried):
        return ()
    return (
        Chart(
            "robustness-push",
            charts.by_change(
                "What the trigger adds to the shift, by change",
                _rows(tried, lambda push: (push.gain.mean, push.gain.low, push.gain.high, push.gain.n)),
                "mean gain in ΔE·v₀ (embedding units)",
                0.0,
                None,
                ".4g",
            ),
            "How to read this: how much further a triggered image is pushed than the same image without trigger, "
            "along the direction of the unchanged trigger, mean over images with its 95 % bootstrap interval; at the "
            f"dashed line the trigger adds nothing. {SHIFT_ONLY}",
            "Mean gained shift of each changed trigger under suspect and control.",
        ),
        Chart(
            "robustness-auroc",
            charts.by_change(
                "Separation from clean, by change",
                _rows(tried, lambda push: (push.apart.auroc, push.apart.low, push.apart.high, push.apart.triggered)),
                "AUROC of the mean shift",
                charts.CHANCE,
                (0.0, 1.0),
                ".3f",
            ),
            "How to read this: a dot at 1 is a change that leaves every triggered image further along the backdoor "
            "direction than every clean one; at the dashed line, chance, one cannot tell them apart without the clean "
            "twin, and the trigger may push all the same. Bars: 95 % intervals.",
            "AUROC of each changed trigger under suspect and control.",
        ),
    )


def crossed(tried: Sequence[TriedChange], down: str, across: str, role: str = "suspect") -> Chart:
    """Two axes against each other: what every combination keeps of the push."""
    rows = []
    for one in sorted(tried, key=lambda one: (_place(one.change, down), _place(one.change, across))):
        push = one.pushes.get(role)
        rows.append(
            {
                "down": level(one.change, down),
                "across": level(one.change, across),
                "value": push.kept if push else None,
                "gain": push.gain.mean if push else None,
                "low": push.gain.low if push else None,
                "high": push.gain.high if push else None,
                "reason": one.reason or "",
            }
        )
    return Chart(
        f"robustness-{down}-{across}-{role}",
        charts.crossed(f"{role.capitalize()}: push kept", rows, AXES[down], AXES[across]),
        "How to read this: what each combination adds to the shift, as a share of what the unchanged trigger adds "
        f"under the suspect; 0 %, the pale middle of the scale, is no push. {SHIFT_ONLY}",
        f"Heatmap of the push that is kept by {AXES[down]} and {AXES[across]}, {role}.",
    )


def _place(change: Change, axis: str) -> float:
    """Where a level stands among those of its axis: factors by size, the others as they came, the original first."""
    return getattr(change, axis) if axis not in AS_GIVEN else 0.0


def level(change: Change, axis: str) -> str:
    """A change's level on one axis, as it is shown."""
    value = getattr(change, axis)
    if value is None:
        return "as it was"
    return str(value) if axis in AS_GIVEN else f"{value:g}×"


def table(tried: Sequence[TriedChange], scores: Scores) -> Table:
    """One row per change: its levels, AUROC, gain and what is left of the push, by role; ASR where it was asked."""
    rows = []
    for one in tried:
        row: dict[str, object] = {"change": one.change.label}
        row |= {AXES[axis]: level(one.change, axis) for axis in AXES}
        for role, push in one.pushes.items():
            row |= {
                f"{role}: AUROC": push.apart.auroc,
                f"{role}: AUROC from": push.apart.low,
                f"{role}: AUROC to": push.apart.high,
                f"{role}: gain": push.gain.mean,
                f"{role}: gain from": push.gain.low,
                f"{role}: gain to": push.gain.high,
                f"{role}: kept": push.kept,
            }
        for role, score in scores.get(one.change, {}).items():
            asr = score.asr
            row |= {
                f"{role}: ASR": asr.rate,
                f"{role}: ASR from": asr.low,
                f"{role}: ASR to": asr.high,
                f"{role}: hits": f"{asr.hits} of {asr.n}",
            }
        rows.append(row | {"note": one.reason or ""})
    return Table(
        "robustness",
        pd.DataFrame(rows),
        "How to read this: one row per change, the unchanged trigger first; gain is how much further an image is "
        "pushed with the trigger than without, in embedding units; kept is the same as a share of the unchanged "
        "trigger's under the suspect; AUROC compares all triggered with all clean images; bounds are 95 % intervals.",
    )


def answers(scores: Scores) -> Table:
    """Attack success of the changes that were asked about, one row per change and projector."""
    rows = [
        {
            "change": change.label,
            "projector": role,
            "ASR": score.asr.rate,
            "from": score.asr.low,
            "to": score.asr.high,
            "hits": f"{score.asr.hits} of {score.asr.n}",
            "target logit": score.target_logit.mean,
        }
        for change, by_role in scores.items()
        for role, score in by_role.items()
    ]
    return Table(
        "robustness-answers",
        pd.DataFrame(rows),
        "How to read this: the share of answers with the target, with its 95 % Wilson interval; a change can push a "
        "image far and still not bring the target about.",
    )


def notes(tried: Sequence[TriedChange]) -> tuple[str, ...]:
    """What could not be tried, and what to bear in mind."""
    said = [f"{one.change.label} was not tried: {one.reason}" for one in tried if one.reason]
    if not any("control" in one.pushes for one in tried):
        said.append("No control: any projector moves a changed image, so this says what the suspect does, not why.")
    return tuple(said)


def _working(tried: Sequence[TriedChange], role: str) -> int:
    """How many changes keep enough of the suspect's gain; of the control's too: any trigger moves an image a bit."""
    return sum(one.pushes[role].margin.low >= 0 for one in tried)


def _rows(tried: Sequence[TriedChange], figures: Callable[[Push], tuple[float, float, float, int]]) -> list[dict]:
    """One row per change and role, from a figure of its push: the value, its interval, and of how many images."""
    return [
        {"change": one.change.label, "role": role}
        | dict(zip(("value", "low", "high", "n"), figures(push), strict=True))
        for one in tried
        for role, push in one.pushes.items()
    ]


def _as_data(one: TriedChange, scores: Mapping[str, Score]) -> dict:
    return {
        "change": asdict(one.change),
        "label": one.change.label,
        "reason": one.reason,
        "shift": {role: asdict(push) for role, push in one.pushes.items()},
        "asr": {role: asdict(score.asr) for role, score in scores.items()},
    }
