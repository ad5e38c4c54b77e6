"""Who goes on to the next, dearer stage: thresholds and budget as data, and a random share of the rest.

The share is what tells how much the thresholds miss: its members are screened by the next stage although nothing
speaks against them. Who is drawn depends on content and seed alone, never on the order in which results came.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from projlens_core.errors import InvalidInput
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.text import printable

DEFAULT = Path(__file__).with_name("plan.json")
MAX_BYTES = 2**20
THRESHOLD, AT_RANDOM, BELOW, BEYOND, UNKNOWN = (
    "threshold", "at random", "below the threshold", "beyond the budget", "no score",
)  # fmt: skip
GOES_ON = (THRESHOLD, AT_RANDOM)
_KINDS = ("at_least", "at_most", "above_controls", "below_controls")


@dataclass(frozen=True)
class Threshold:
    """A score that lets a suspect go on. at_least, at_most: a number. above_controls, below_controls: a factor of the
    largest, or least, that a control of the same form has; without such a control it lets everybody go on.
    """

    score: str
    kind: str
    value: float

    def holds(self, value: float, controls: Sequence[float]) -> bool:
        """Whether this value lets its suspect go on, controls having those."""
        if self.kind == "at_least":
            return value >= self.value
        if self.kind == "at_most":
            return value <= self.value
        if not controls:
            return True
        return (
            value > self.value * max(controls) if self.kind == "above_controls" else value < self.value * min(controls)
        )


@dataclass(frozen=True)
class Gate:
    """Before a stage: who goes on from the stage `after`. conditions: any of them is enough; without any, everybody, or
    as many as the budget lets, drawn at random. share: of the others, who go on at random. budget: suspects at most,
    the highest by the first condition's score first; random ones are within it and go first.
    """

    after: str
    conditions: tuple[Threshold, ...] = ()
    share: float = 0.0
    budget: int | None = None


@dataclass(frozen=True)
class ScreenPlan:
    """The gates, by the stage that they stand before. A stage without one sees everybody."""

    gates: dict[str, tuple[Gate, ...]]
    seed: int = 0

    def gate(self, stage: str, before: Sequence[str]) -> Gate | None:
        """The first gate of `stage` that asks a stage which is among those done before; None if there is none."""
        return next((gate for gate in self.gates.get(stage, ()) if gate.after in before), None)

    def to_dict(self) -> dict[str, Any]:
        """As a plan's file holds it."""
        stages = {
            stage: [
                {
                    "after": gate.after,
                    "pass": [{"score": each.score, each.kind: each.value} for each in gate.conditions],
                    "share": gate.share,
                    "budget": gate.budget,
                }
                for gate in gates
            ]
            for stage, gates in self.gates.items()
        }
        return {"seed": self.seed, "stages": stages}


def read_plan(path: Path = DEFAULT) -> ScreenPlan:
    """A plan from its JSON file; NotFound if there is none, InvalidInput if it is no plan."""
    with open_regular(path, f"{printable(str(path))} does not exist; give a plan as JSON.") as file:
        if file.size > MAX_BYTES:
            raise InvalidInput(f"{printable(path.name)} has {file.size:,} bytes, more than a plan may ({MAX_BYTES:,}).")
        data = file.read()
    try:
        values = json.loads(data)
        gates = {
            str(stage): tuple(map(_gate, given if isinstance(given, list) else [given]))
            for stage, given in values["stages"].items()
        }
        return ScreenPlan(gates, int(values.get("seed", 0)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(
            f"{printable(path.name)} is no plan of a screening ({type(error).__name__}: {printable(str(error)[:80])}); "
            'expected {"stages": {STAGE: {"after": STAGE, "pass": [{"score": NAME, "at_least": X}], "share": 0.05, '
            '"budget": N}}}, or a list of such objects for a stage.'
        ) from error


def _gate(values: dict[str, Any]) -> Gate:
    if unknown := values.keys() - {"after", "pass", "share", "budget"}:
        raise ValueError(f"unknown {sorted(unknown)[0]!r}")
    share, budget = float(values.get("share", 0.0)), values.get("budget")
    if not 0 <= share <= 1 or (budget is not None and (type(budget) is not int or budget < 0)):
        raise ValueError("share is 0 to 1, budget a number of suspects")
    return Gate(str(values["after"]), tuple(map(_condition, values.get("pass", ()))), share, budget)


def _condition(values: dict[str, Any]) -> Threshold:
    (kind,) = values.keys() - {"score"}
    if kind not in _KINDS:
        raise ValueError(f"unknown {kind!r}; there are {', '.join(_KINDS)}")
    return Threshold(str(values["score"]), kind, float(values[kind]))


def chosen(
    gate: Gate, stage: str, seed: int, scores: Mapping[str, Mapping[str, Any]], controls: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """{identity: why it goes on, or does not} of suspects with these scores, by identity; controls: theirs."""
    found = {identity: _reason(gate, identity, stage, seed, each, controls) for identity, each in scores.items()}
    if gate.budget is None:
        return found
    score = gate.conditions[0].score if gate.conditions else None
    falling = -1 if gate.conditions and gate.conditions[0].kind in ("at_most", "below_controls") else 1

    def rank(identity: str) -> tuple:
        value = scores[identity].get(score) if score else None
        return found[identity] != AT_RANDOM, value is None, -falling * (value or 0.0), _drawn(identity, stage, seed)

    for identity in sorted((i for i, why in found.items() if why in GOES_ON), key=rank)[gate.budget :]:
        found[identity] = BEYOND
    return found


def _reason(
    gate: Gate, identity: str, stage: str, seed: int, own: Mapping[str, Any], controls: Sequence[Mapping[str, Any]]
) -> str:
    if not gate.conditions:
        return THRESHOLD if gate.budget is None else AT_RANDOM  # then it is a draw
    known = [each for each in gate.conditions if own.get(each.score) is not None]
    for each in known:
        alike = [
            control[each.score]
            for control in controls
            if control.get(each.score) is not None and control.get("form") == own.get("form")
        ]
        if each.holds(own[each.score], alike):
            return THRESHOLD
    if _drawn(identity, stage, seed) < gate.share:
        return AT_RANDOM
    return BELOW if known else UNKNOWN


def _drawn(identity: str, stage: str, seed: int) -> float:
    """A number from 0 to 1 that is this suspect's alone."""
    return int(content_key(identity, stage, seed)[:13], 16) / 16**13
