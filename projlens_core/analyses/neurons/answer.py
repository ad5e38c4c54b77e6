"""The question about hidden units, answered in a few sentences."""

from collections.abc import Mapping

from projlens_core.activations.neurons import NeuronFinding
from projlens_core.runtime.required import required
from projlens_core.stats.split_null import Count

FIRM = " A count without an interval is the same in 95 % of resamples of the images."


def answer(findings: Mapping[str, NeuronFinding]) -> str:
    """The question answered in a few sentences, with intervals and the other projectors' figures."""
    suspect = findings["suspect"]
    own, apart = suspect.switched_on, suspect.distance
    if own is None or apart is None:
        return f"Inconclusive. {suspect.response.note}"
    others = {
        role: required(findings[role].switched_on, f"what the trigger switches on in the {role}")
        for role in ("base", "control")
        if role in findings
    }
    compared = ", ".join(f"{_bounded(count)} in the {role}" for role, count in others.items())
    more = own.low > max(count.high for count in others.values())
    if own.value == 0:
        verdict = "No unit is switched on by the trigger alone"
    elif more:
        verdict = "The trigger switches on more units than in the projectors it is compared with"
    else:
        verdict = "The trigger switches on no more units than in the projectors it is compared with"
    new = {
        role: required(gained(findings[role]), f"the gain of the {role}")
        for role in ("suspect", "control")
        if role in findings
    }
    anew = ", ".join(f"{_bounded(count)} in the {role}" for role, count in new.items())
    firm = FIRM if any(count.low == count.high for count in (own, *others.values(), *new.values())) else ""
    coincide = "coincide" if apart.value <= apart.chance else "differ"
    return (
        f"{verdict}: {_bounded(own)} of {own.of} quiet units in the suspect, {compared}. "
        f"Of all {len(suspect.switches)} units, those that respond to it as base's do not: {anew}.{firm} "
        f"As distributions, clean and triggered magnitudes {coincide}: {apart.value:.1%} apart, where chance makes up "
        f"to {apart.chance:.1%}."
    )


def gained(finding: NeuronFinding | None) -> Count | None:
    """How many units respond to the trigger as base's do not; None if untested."""
    return finding.gain.moved if finding and finding.gain else None


def _bounded(count: Count) -> str:
    """A count with its interval, which is left out where it is one number only; FIRM then says so."""
    return str(count.value) if count.low == count.high else f"{count.value} ({count.low} – {count.high})"
