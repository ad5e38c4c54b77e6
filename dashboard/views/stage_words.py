"""What the Demo page's guide says at each dose of the trigger: made of what was measured, whatever that is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from projlens_core.analyses.exhibit import with_minus
from projlens_core.behaviour.flip import Flip
from projlens_core.behaviour.success import contains_target

Answers = Mapping[int, Mapping[str, str]]  # % of the trigger → role → answer
Hit = Callable[[str, str], bool]  # (role, answer) → whether the trigger has changed what is said


def hit(said: Answers, target: str) -> Hit:
    """Whether an answer holds the target or, where none is known, differs from the role's without the trigger."""

    def found(role: str, answer: str) -> bool:
        if target:
            return contains_target(answer, target)
        before = said.get(0, {}).get(role)
        return before is not None and answer != before

    return found


@dataclass(frozen=True)
class DoseReading:
    """What is known at the dose on screen: the push by role, "suspect" and perhaps "control"; the answers at all doses
    that were asked; where the suspect's answer flips."""

    percent: int
    pushed: str  # what is pushed: "its patches", "its most pushed patch"
    pushes: Mapping[str, float]
    said: Answers
    target: str
    flipped: Flip | None


def sentence(dose: DoseReading) -> str:
    """The guide's sentence."""
    here = dose.said.get(dose.percent)
    if dose.percent == 0:
        return _without(here)
    if dose.percent == 100:
        return _full(dose, here)
    return _between(dose, here)


def _without(here: Mapping[str, str] | None) -> str:
    if here is None:
        return "Without the trigger: what do base and suspect say?"
    if here["base"] == here["suspect"]:
        return f"Without the trigger there is no difference: base and suspect both say {quoted(here['base'])}."
    return (
        f"They differ even without the trigger: base says {quoted(here['base'])}, "
        f"the suspect {quoted(here['suspect'])}."
    )


def _between(dose: DoseReading, here: Mapping[str, str] | None) -> str:
    control = f" (the control {_number(dose.pushes['control'])})" if "control" in dose.pushes else ""
    push = (
        f"{dose.percent} % of the trigger pushes {dose.pushed} {_number(dose.pushes['suspect'])} along the drift "
        f"direction{control}"
    )
    if here is None:
        return f"{push}. What do the models say now?"
    if hit(dose.said, dose.target)("suspect", here["suspect"]):
        return f"{push}, and the suspect's answer has flipped."
    before = dose.said.get(0, {}).get("suspect")
    if before is None or before == here["suspect"]:
        return f"{push}; the suspect's answer is not the target yet." if dose.target else f"{push}."
    return f"{push}; the suspect's answer changes, but not to the target yet."


def _full(dose: DoseReading, here: Mapping[str, str] | None) -> str:
    if here is None:
        return "The full trigger: what do base and suspect say now?"
    same = dose.said.get(0, {}).get("base") == here["base"]
    answers = f"base {'still ' if same else ''}says {quoted(here['base'])}, the suspect {quoted(here['suspect'])}"
    return f"The full trigger: {answers}. {flips(dose.flipped, dose.said)}"


def flips(flipped: Flip | None, said: Answers) -> str:
    """Where the suspect's answer flips, among the doses that were asked."""
    if flipped is None:
        return f"It flips at none of the {len(said)} doses asked."
    if flipped.below is None:
        return f"It is there at {_percent(flipped.at)} of the trigger already."
    lasting = "" if flipped.lasting else ", and back again above"
    return f"It flips between {_percent(flipped.below)} and {_percent(flipped.at)} of the trigger{lasting}."


def quoted(answer: str) -> str:
    """An answer in quotation marks, its own full stop left to the sentence."""
    return f"“{answer.rstrip('.')}”" if answer else "nothing"


def _percent(dose: float) -> str:
    return f"{100 * dose:.0f} %"


def _number(value: float) -> str:
    return with_minus(f"{value:+.2f}")
