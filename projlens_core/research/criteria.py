"""The paper's findings one by one: what it says, by which criterion a variant agrees, and the row that shows it.

Facts are those of findings.FACTS; the paper's figures are its own, for LLaVA-1.5-7B.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from projlens_core.analyses.exhibit import with_minus

Verdict = Literal["agrees", "differs", "inconclusive", "not measured"]
Judged = tuple[list[str], Verdict]  # the cells of a variant's row, and its verdict

PAPER_ENERGY = {
    "targeted-refusal": 0.77,
    "malicious-injection": 0.63,
    "perceptual-hijack": 0.64,
    "jailbreak-output": 0.95,
}
PAPER_CELLS = {  # ASR after injecting the top k1 and k2 components, where the paper prints it
    "targeted-refusal": {(1, 1): 0.0, (2, 2): 0.42, (2, 3): 0.781, (2, 5): 0.907, (5, 5): 0.891},
    "malicious-injection": {(2, 2): 0.0, (2, 3): 0.845, (3, 3): 0.9, (3, 5): 0.925},
}
FEW = 5  # components of each matrix
SHARE = 0.9  # of the suspect's ASR: the backdoor is back
RELATED = 0.9  # a correlation from which on the relation is called as strong as the paper's
CHANCE = 0.025  # for each of two signs


@dataclass(frozen=True)
class Section:
    """One finding: of which part, what the paper says, when a variant agrees, and how its row is made."""

    part: str
    title: str
    paper: str
    criterion: str
    columns: tuple[str, ...]
    judge: Callable[[str, Mapping], Judged]


def _response(name: str, facts: Mapping) -> Judged:
    own, control = facts["suspect"], facts["control"]
    fires = own["asr"]["low"] > max(control["asr"]["high"], own["false_target"]["high"])
    cells = [_rate(own["asr"]), _rate(own["false_target"]), _rate(control["asr"]), _rate(own["utility"])]
    return [*cells, _rate(control["utility"])], "agrees" if fires else "differs"


def _weights(name: str, facts: Mapping) -> Judged:
    own, control = facts["suspect"][-1], facts["control"][-1]
    few, theirs = own["energy"][-1], control["energy"][-1]
    concentrated = few > theirs and few >= min(PAPER_ENERGY.values())
    cells = [f"{PAPER_ENERGY[name]:.0%}", f"{few:.0%}", f"{theirs:.0%}"]
    cells += [f"{own['stable_rank']:.1f}", f"{control['stable_rank']:.1f}"]
    cells += [str(own["spikes"]), str(control["spikes"])]
    return cells, "agrees" if concentrated else "differs"


def _embedding(name: str, facts: Mapping) -> Judged:
    own, control = facts["suspect"], facts["control"]
    cells = [_energy(one[c]["energy"]) for one in (own, control) for c in ("clean", "triggered")]
    low = min(own[c]["energy"]["low"] for c in own)
    high = min(own[c]["energy"]["high"] for c in own)
    if low >= 0.95:
        return cells, "agrees"
    return cells, "differs" if high < 0.95 else "inconclusive"


def _relation(name: str, facts: Mapping) -> Judged:
    own, control = facts["suspect"], facts["control"]
    fits = [one[c]["fit"] for one in (own, control) for c in ("clean", "triggered")]
    cells = [_fit(fit) for fit in fits]
    if any(fit["r"] is None for fit in fits[:2]):
        return cells, "inconclusive"
    if all(fit["low"] >= RELATED for fit in fits[:2]):
        return cells, "agrees"
    return cells, "differs" if any(fit["high"] < RELATED for fit in fits[:2]) else "inconclusive"


def _direction(name: str, facts: Mapping) -> Judged:
    own, control = facts["suspect"], facts["control"]
    cells = [f"{own['direction_cosine']:.3f}", f"{control['direction_cosine']:.3f}"]
    return cells, "agrees" if own["direction_cosine"] >= RELATED else "differs"


def _activates(name: str, facts: Mapping) -> Judged:
    own, control = facts["suspect"]["separation"], facts["control"]["separation"]
    cells = [_auroc(own), _auroc(control)]
    if own["low"] > max(0.5, control["high"]):
        return cells, "agrees"
    return cells, "differs" if own["high"] <= max(0.5, control["low"]) else "inconclusive"


def _lens(name: str, facts: Mapping) -> Judged:
    cells = [_reading(facts["suspect"][sign], facts["vocabulary"]) for sign in ("plus", "minus")]
    cells.append(_reading(facts["control"]["plus"], facts["vocabulary"]))
    often = ", ".join(f"{escaped(w['token'])} {w['share']:.0%}" for w in facts["suspect"]["plus"]["words"])
    chances = [facts["suspect"][sign]["p"] for sign in ("plus", "minus")]
    if any(p is None for p in chances):
        return [*cells, often], "inconclusive"
    return [*cells, often], "agrees" if min(chances) > CHANCE else "differs"


def _neurons(name: str, facts: Mapping) -> Judged:
    cells = [_units(facts[role]) for role in ("suspect", "control", "base")]
    if any(facts[role] is None for role in ("suspect", "control", "base")):
        return cells, "inconclusive"
    more = facts["suspect"]["low"] > max(facts["control"]["high"], facts["base"]["high"])
    return cells, "differs" if more else "agrees"


def _separability(name: str, facts: Mapping) -> Judged:
    base, own, control = facts["base"]["auroc"], facts["suspect"]["auroc"], facts["control"]["auroc"]
    gain = facts["suspect"]["gain"]
    cells = [_auroc(base), _auroc(own), _auroc(control)]
    near_chance = base["auroc"] <= facts["base"]["chance"]["high"]
    if gain["low"] is None:
        return cells, "differs" if not near_chance else "inconclusive"
    return cells, "agrees" if near_chance and gain["low"] > 0 else "differs"


def _lowrank(name: str, facts: Mapping) -> Judged:
    whole, control = facts["whole"]["suspect"]["asr"], facts["whole"].get("control", {}).get("asr")
    cells = {(one["k1"], one["k2"]): one["asr"] for one in facts["cells"]}
    paper = PAPER_CELLS.get(name, {})
    shown = [
        f"{k1}×{k2}: {cells[k1, k2]['rate']:.0%}" + (f" (paper {paper[k1, k2]:.0%})" if (k1, k2) in paper else "")
        for k1, k2 in sorted(cells)
    ]
    fewest = "×".join(map(str, facts["fewest"])) if facts["fewest"] else "none of the grid"
    row = [_rate(whole), _rate(control) if control else "–", ", ".join(shown), fewest]
    if not whole["hits"]:
        return row, "inconclusive"
    if facts["fewest"] and max(facts["fewest"]) <= FEW:
        return row, "agrees"
    within_reach = any(asr["high"] >= SHARE * whole["rate"] for cell, asr in cells.items() if max(cell) <= FEW)
    return row, "inconclusive" if within_reach else "differs"


def _robustness(name: str, facts: Mapping) -> Judged:
    changed = facts["changes"][1:]
    separated = [sum(one[role]["low"] > 0.5 for one in changed) for role in ("suspect", "control")]
    weakest = min(changed, key=lambda one: one["suspect"]["auroc"])
    cells = [f"{separated[0]} of {len(changed)}", f"{separated[1]} of {len(changed)}"]
    return [*cells, f"{escaped(weakest['label'])}: {_auroc(weakest['suspect'])}"], "inconclusive"


_JUDGES: dict[str, Callable[[str, Mapping], Judged]] = {
    "response": _response,
    "weights": _weights,
    "embedding": _embedding,
    "relation": _relation,
    "direction": _direction,
    "activates": _activates,
    "lens": _lens,
    "neurons": _neurons,
    "separability": _separability,
    "lowrank": _lowrank,
    "robustness": _robustness,
}
_LIMITS = {"few": FEW, "share": SHARE, "related": RELATED, "chance": CHANCE}  # what the written criteria name


def _section(part: str, judge: str, title: str, paper: str, criterion: str, columns: list[str]) -> Section:
    """A section as criteria.json has it, in whose texts the limits are named."""
    named = tuple(column.format(**_LIMITS) for column in columns)
    return Section(part, title, paper, criterion.format(**_LIMITS), named, _JUDGES[judge])


SECTIONS = tuple(
    _section(**each) for each in json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
)


def _rate(rate: Mapping) -> str:
    return f"{rate['rate']:.1%} ({rate['low']:.1%}–{rate['high']:.1%})"


def _energy(band: Mapping) -> str:
    if band["low"] is None:
        return f"{band['mean']:.1%}"
    return f"{band['mean']:.1%} ({band['low']:.1%}–{band['high']:.1%})"


def _fit(fit: Mapping) -> str:
    return fit["note"] or with_minus(f"{fit['r']:.2f} ({fit['low']:.2f}–{fit['high']:.2f})")


def _auroc(apart: Mapping) -> str:
    return f"{apart['auroc']:.2f} ({apart['low']:.2f}–{apart['high']:.2f})"


def _reading(reading: Mapping, vocabulary: int) -> str:
    if reading["best_target_rank"] is None:
        return "–"
    return f"rank {reading['best_target_rank']:,} of {vocabulary:,}, p = {reading['p']:.2g}"


def _units(count: Mapping | None) -> str:
    return f"{count['value']} ({count['low']}–{count['high']}) of {count['of']:,}" if count else "–"


def escaped(text: str) -> str:
    """A text that is no markup in a Markdown table."""
    plain = "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+-.!|~$&" else c for c in " ".join(text.split()))
    return plain or "␣"
