"""What the model says, with and without the trigger, under every projector.

With a target: attack success rate. Without one: how many answers differ from base's, and what they have in common.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from projlens_core.analyses.analysis import Analysis, Options, option

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.behaviour.success import Outcome

THUMBNAIL = 64  # px


@dataclass(frozen=True)
class ResponseOptions(Options):
    """See Analysis.options."""

    one_check: bool = option(False, "ask one question with a known answer per image, not all those in labels.csv")


def _measure(context: "AnalysisContext", options: ResponseOptions) -> "dict[str, Outcome]":
    # only here: they bring PyTorch
    from projlens_core.behaviour.success import measure
    from projlens_core.cases.whose import BOTH

    pair, prompts, truths = context.attacked, context.prompts, context.inputs.truths
    if options.one_check:
        chosen = zip(pair.names, context.one_truth_each, strict=True)
        truths = {name: (truth,) for name, truth in chosen if truth is not None}
    outcomes = {}
    for role in context.whose(BOTH).in_turn(context.projectors):
        with context.responder(role) as responder:
            outcomes[role] = measure(
                responder,
                context.projectors[role],
                pair.clean,
                pair.stamped,
                prompts,
                context.inputs.target or None,
                truths or None,
                pair.names,
                context.inputs.max_new_tokens,
                lambda stage, done, total, role=role: context.progress(f"{stage}, {role}", done, total),
            )
    return {role: outcomes[role] for role in context.projectors}


def _answers(inputs: "AnalysisInputs", options: ResponseOptions) -> int:
    """Of every projector: about each image with and without the trigger, and to what is checked of it."""
    names = [image.name for image in inputs.images.images] if inputs.images else []
    known = [len((inputs.truths or {}).get(name, ())) for name in names]
    checks = sum(min(1, each) if options.one_check else each for each in known)
    return len(inputs.case.specs) * (2 * len(names) + checks)


def _present(outcomes: "dict[str, Outcome]", context: "AnalysisContext", settings: dict) -> "Exhibit":
    # only here: they bring Altair
    from projlens_core.analyses.response.exhibit import response
    from projlens_core.charts.overlays import data_uri

    pair, target = context.attacked, context.inputs.target or None
    thumbnails = {name: data_uri(image, THUMBNAIL) for name, image in zip(pair.names, pair.stamped, strict=True)}
    return response(outcomes, target, settings | context.asked, thumbnails)


def _written(outcomes: "dict[str, Outcome]", context: "AnalysisContext", settings: dict) -> tuple[dict, list[str]]:
    from projlens_core.analyses.response.written import written

    return written(outcomes, context)


ANALYSIS = Analysis(
    key="response",
    title="Response",
    question="What does the model say, with and without the trigger?",
    summary="measure attack success rate, answers that differ from base's, and clean utility",
    failure="The model could not be asked",
    floor="behaviour",
    takes=("images", "trigger", "target", "questions"),
    options=ResponseOptions,
    reported=ResponseOptions(one_check=True),
    measure=_measure,
    present=_present,
    written=_written,
    answers=_answers,
    json="every answer",
    csv="the table of answers",
    icon=":material/forum:",
    commands=("asr",),
)
