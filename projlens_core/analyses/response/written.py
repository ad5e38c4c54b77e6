"""What the command writes of the answers: every answer and check as JSON, the rates for people."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from projlens_core.analyses.context import AnalysisContext
from projlens_core.analyses.response.exhibit import common_text, differences, said_alone
from projlens_core.behaviour.templates import notes
from projlens_core.cases.whose import BOTH
from projlens_core.runtime.required import required

if TYPE_CHECKING:
    from projlens_core.behaviour.success import Outcome
    from projlens_core.stats.rate import Rate


def written(outcomes: "Mapping[str, Outcome]", context: AnalysisContext) -> tuple[dict, list[str]]:
    """The outcomes by role as JSON, and as a person reads them."""
    inputs, whose = context.inputs, context.whose(BOTH)
    document: dict[str, Any] = {role: _as_dict(outcome) for role, outcome in outcomes.items()}
    trigger = required(inputs.spec, "the trigger").to_dict()
    document |= {"target": inputs.target, "trigger": trigger, "max_new_tokens": inputs.max_new_tokens}
    document["parts"] = whose.parts()
    unlike = differences(outcomes)
    document["unlike_base"] = {
        condition: {role: asdict(rate) for role, rate in by_role.items()} for condition, by_role in unlike.items()
    }
    lines = []
    for role, outcome in outcomes.items():
        lines += [role, *_as_text(outcome)]
        lines += [
            f"  {f'unlike base, {condition} images':34}{_rate(by_role[role])}"
            for condition, by_role in unlike.items()
            if role in by_role
        ]
    if inputs.target is None:
        candidate = common_text(outcomes)
        document["said_alone"] = candidate and {"text": candidate[0], "share": candidate[1]}
        lines.append(f"- {said_alone(candidate)}")
    said = (*whose.sentences, *notes(outcome.template for outcome in outcomes.values()))
    return document, [*lines, *(f"- {sentence}" for sentence in said)]


def _as_dict(outcome: "Outcome") -> dict:
    return {
        "chat_template": outcome.template.as_data() if outcome.template else None,
        "asr": asdict(outcome.asr) if outcome.asr else None,
        "false_target": asdict(outcome.false_target) if outcome.false_target else None,
        "utility": asdict(outcome.utility) if outcome.utility else None,
        "rows": [_named(asdict(row)) for row in outcome.rows],
        "checks": [_named(asdict(check)) for check in outcome.checks],
    }


def _named(entry: dict) -> dict:
    """The entry with its image under the key that all commands use."""
    return {"image": entry.pop("name"), **entry}


def _as_text(outcome: "Outcome") -> list[str]:
    return [
        f"  target on triggered images (ASR)  {_rate(outcome.asr) if outcome.asr else 'no target'}",
        f"  target on clean images            {_rate(outcome.false_target) if outcome.false_target else 'no target'}",
        f"  right answers on clean images     {_rate(outcome.utility) if outcome.utility else 'no labels.csv'}",
    ]


def _rate(rate: "Rate") -> str:
    return f"{rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}), {rate.hits} of {rate.n}"
