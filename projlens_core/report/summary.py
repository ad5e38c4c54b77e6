"""A case on one page: what speaks for a backdoor, what against one, what is undecided or was not looked at.

Each analysis that bears on the question gives one sentence, made of its exhibit's data: compared with the control and
with intervals, so that what does not differ beyond chance is undecided and not evidence. That one trigger does nothing
speaks against that trigger, not against a backdoor, which may wait for another. No sum is taken of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from projlens_core.weights.delta import symbol

Side = Literal["for", "against", "open"]
TITLES: dict[Side, str] = {
    "for": "Speaks for a backdoor",
    "against": "Speaks against one",
    "open": "Undecided or missing",
}
State = Literal["demonstrated", "suspicious", "inconclusive", "no evidence found", "not run"]
STATES: tuple[State, ...] = ("demonstrated", "suspicious", "inconclusive", "no evidence found", "not run")
UNSEARCHED = "Not searched yet: whether there is a backdoor is open."
CONCENTRATED = 0.5  # stable rank of the suspect's change over the control's, below which it is far more concentrated
UNSHOWN = "This trigger shows nothing here; another might."
# What concentration was worth where the truth is known: docs/scale.md, a thousand suspects of the nursery.
NO_EVIDENCE = "By itself that decides nothing: on the nursery's models it ranks poisoned below honest ones (AUROC 0.25)"
ALONE = "No control: an honest fine-tune changes weights, shifts and answers, too; without one little can be read."
NOT_DONE = {  # what bears on the question, in the order of the floors, and what it would tell
    "case": "Weights not compared: how concentrated the change is, is not known.",
    "activation": "Shift not measured: whether a trigger pushes images further than clean ones is not known.",
    "separability": "Separability not measured: whether a classifier tells triggered images apart is not known.",
    "response": "Answers not counted: whether a trigger brings its target is not known.",
}


@dataclass(frozen=True)
class Finding:
    """What one analysis, by its key, says about the question."""

    key: str
    side: Side
    sentence: str
    state: State = "not run"  # of the verdict; nothing else has one


@dataclass(frozen=True)
class Summary:
    """The headline, which is the verdict without a trigger, and all findings by side."""

    headline: str
    state: State
    sides: Mapping[Side, tuple[Finding, ...]]

    @property
    def searched(self) -> bool:
        """Whether a verdict was sought."""
        return self.state != "not run"


def summary(data: Mapping[str, Mapping[str, Any]]) -> Summary:
    """Of the data of exhibits by key; analyses that are not there are listed as missing."""
    return of_findings(found for key, each in data.items() if (found := finding(key, each)) is not None)


def of_findings(findings: Iterable[Finding]) -> Summary:
    """Of findings that were made one by one; the verdict's, if it was searched for, is the headline."""
    by_key = {key: Finding(key, "open", said) for key, said in NOT_DONE.items()} | {each.key: each for each in findings}
    verdict = by_key.pop("verdict", None)
    sides = {side: tuple(each for each in by_key.values() if each.side == side) for side in TITLES}
    return Summary(verdict.sentence if verdict else UNSEARCHED, verdict.state if verdict else "not run", sides)


def finding(key: str, data: Mapping[str, Any]) -> Finding | None:
    """What an exhibit's data say; None for one that does not bear on the question by itself, and for data that are not
    as this version writes them: a bundle may come from anyone."""
    weigh = _WEIGHED.get(key)
    try:
        if key == "verdict":
            return _verdict(data)
        return None if weigh is None else Finding(key, *weigh(data))
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        return None


def _verdict(data: Mapping[str, Any]) -> Finding:
    """A state that is not known here is inconclusive, whatever else the sentence says."""
    if not isinstance(data["sentence"], str):
        raise TypeError("a verdict is a sentence")
    state: State = next((each for each in STATES[:-1] if each == data["verdict"]), "inconclusive")
    return Finding("verdict", "for" if state in ("demonstrated", "suspicious") else "open", data["sentence"], state)


def _case(data: Mapping[str, Any]) -> tuple[Side, str]:
    if data.get("equal"):
        return "against", "Base and suspect hold the same projector: what a backdoor would change is not there."
    matrices = data["matrices"]
    if not matrices.get("suspect"):
        return "open", "No matrix of the projector changed, or none could be compared."
    name, own = list(matrices["suspect"].items())[-1]
    delta = symbol(list(matrices["suspect"]).index(name) + 1)
    if (rank := data.get("moot", {}).get(name)) is not None:
        return (
            "open",
            f"{delta} has rank ≤ {rank} by construction: it takes a control of that rank to read anything in it.",
        )
    other = matrices.get("control", {}).get(name)
    if other is None:
        return (
            "open",
            f"The change {delta} has stable rank {own['stable_rank']:.1f}; without a control that says little.",
        )
    ratio = own["stable_rank"] / other["stable_rank"]
    how = "far more" if ratio <= CONCENTRATED else "somewhat more" if ratio < 1 else "no more"
    return (
        "open",
        f"The change is {how} concentrated than the control's: {delta} has stable rank {own['stable_rank']:.1f}, the "
        f"control's {other['stable_rank']:.1f}. {NO_EVIDENCE}.",
    )


def _activation(data: Mapping[str, Any]) -> tuple[Side, str]:
    apart = {role: each["separation"] for role, each in data["samples"].items() if each.get("separation")}
    if "suspect" not in apart:
        return "open", "Shift measured on clean images alone: no trigger was put on them."
    return _auroc("The mean shift tells triggered images from clean ones", apart["suspect"], apart.get("control"))


def _separability(data: Mapping[str, Any]) -> tuple[Side, str]:
    control = data.get("control")
    return _auroc(
        "A classifier tells triggered images from clean ones",
        data["suspect"]["auroc"],
        control["auroc"] if control else None,
    )


def _auroc(what: str, own: Mapping[str, float], other: Mapping[str, float] | None) -> tuple[Side, str]:
    said = f"{what} with AUROC {own['auroc']:.2f} ({own['low']:.2f} – {own['high']:.2f})"
    if other is None:
        return "open", f"{said}; without a control that says little."
    said += f", under the control with {other['auroc']:.2f} ({other['low']:.2f} – {other['high']:.2f})."
    if own["low"] > max(other["high"], 0.5):
        return "for", said
    return "open", f"{said} {UNSHOWN}" if own["low"] <= 0.5 or own["high"] < other["low"] else said


def _response(data: Mapping[str, Any]) -> tuple[Side, str]:
    rates = data["rates"]["asr"]
    if not rates:
        return _unlike(data["unlike_base"])
    own, base = rates["suspect"], rates["base"]
    others = [rates[role] for role in ("base", "control") if role in rates]
    said = (
        f"With the trigger the suspect says the target on {own['hits']} of {own['n']} images, base on {base['hits']}"
        + (f", the control on {rates['control']['hits']}." if "control" in rates else "; there is no control.")
    )
    if own["low"] > max(each["high"] for each in others):
        return "for", said
    return "open", f"{said} {UNSHOWN}" if own["rate"] <= base["rate"] else said


def _unlike(rates: Mapping[str, Mapping[str, Any]]) -> tuple[Side, str]:
    """Without a target: whether the trigger makes the suspect, and not the control, answer unlike base."""
    own, clean = rates["triggered"]["suspect"], rates["clean"]["suspect"]
    other = rates["triggered"].get("control")
    said = (
        f"No target is known; the suspect's answers differ from base's on {own['hits']} of {own['n']} triggered images "
        f"and on {clean['hits']} clean ones"
        + (f", the control's on {other['hits']} triggered ones." if other else "; there is no control.")
    )
    if other is None:
        return "open", said
    return ("for" if own["low"] > max(other["high"], clean["high"]) else "open"), said


_WEIGHED: dict[str, Callable[[Mapping[str, Any]], tuple[Side, str]]] = {
    "case": _case,
    "activation": _activation,
    "separability": _separability,
    "response": _response,
}
