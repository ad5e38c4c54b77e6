"""Which changes of the trigger still work, by shift, and by answers where asked for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from projlens_core.analyses.analysis import Analysis, Options, option

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.analyses.robustness.exhibit import Scores
    from projlens_core.behaviour.robustness import TriedChange
    from projlens_core.inputs.changes import Change

AXES = {  # of a change: the option that has its levels
    "position": "positions",
    "size": "sizes",
    "strength": "strengths",
    "scale": "scales",
    "quality": "qualities",
}
UNLESS = "unless the suspect is a poisoned model of the zoo"


@dataclass(frozen=True)
class RobustnessOptions(Options):
    """See Analysis.options. Without any levels, those of inputs.changes.LEVELS for all that the trigger has."""

    positions: tuple[str, ...] = option(
        (), "positions of the patch, by name; if no levels at all are given, the usual ones"
    )
    sizes: tuple[float, ...] = option((), "side of the patch, as a multiple of the original's", kind=float)
    strengths: tuple[float, ...] = option((), "weight of the stamped image against the clean one", kind=float)
    scales: tuple[float, ...] = option(
        (), "side of the whole image after stamping, as a multiple of the original's", kind=float
    )
    qualities: tuple[int, ...] = option((), "JPEG qualities to save the stamped image in", kind=int)
    cross: bool = option(False, "try every combination of the levels, not one axis at a time")
    asr: bool = option(False, "also ask the language model about every change tried")


class Sweep(NamedTuple):
    """Every change that was tried, the answers counted for some of them, and the levels by axis."""

    tried: "list[TriedChange]"
    scores: "Scores"
    levels: dict[str, tuple]


def _wrong(inputs: "AnalysisInputs", options: RobustnessOptions) -> str | None:
    if options.asr and (inputs.spec is None or inputs.target is None):
        return f"a trigger and a target are required, {UNLESS}"
    return f"a trigger is required, {UNLESS}" if inputs.spec is None else None


def _measure(context: "AnalysisContext", options: RobustnessOptions) -> Sweep:
    from projlens_core.behaviour.robustness import sweep  # only here: it brings PyTorch
    from projlens_core.inputs.changes import LEVELS, axes_of, changes

    spec, opened = context.trigger, context.opened
    given = {axis: getattr(options, name) for axis, name in AXES.items() if getattr(options, name)}
    levels = given or {axis: LEVELS[axis] for axis in axes_of(spec)}
    wanted = changes(spec, levels, crossed=options.cross)
    projectors = opened.base, opened.suspect, opened.control
    tried = list(sweep(*projectors, context.vision, context.attacked.clean, spec, wanted, context.progress))
    possible = [one.change for one in tried if one.pushes]
    return Sweep(tried, _scores(context, possible) if options.asr else {}, levels)


def _scores(context: "AnalysisContext", wanted: "list[Change]") -> "Scores":
    """The answers to every change, counted, by role."""
    from projlens_core.behaviour.robustness import attack_scores
    from projlens_core.cases.whose import BOTH

    pair, inputs = context.images, context.inputs
    found: dict = {change: {} for change in wanted}
    for role in context.whose(BOTH).in_turn(role for role in context.projectors if role != "base"):
        with context.responder(role) as responder:
            for change in wanted:
                found[change] |= attack_scores(
                    responder,
                    {role: context.projectors[role]},
                    pair.clean,
                    context.trigger,
                    change,
                    context.prompts,
                    context.target,
                    inputs.max_new_tokens,
                    lambda stage, done, total, change=change: context.progress(f"{change.label}: {stage}", done, total),
                )
    return found


def _present(sweep: Sweep, context: "AnalysisContext", settings: dict) -> "Exhibit":
    # only here: they bring Altair
    from projlens_core.analyses.robustness.exhibit import robustness
    from projlens_core.cases.whose import BOTH, signed

    levels = {axis: list(values) for axis, values in sweep.levels.items()}
    decided = settings | {"levels": levels, "crossed": settings["cross"]} | (context.asked if sweep.scores else {})
    shown = robustness(sweep.tried, decided, sweep.scores)
    return signed(shown, context.whose(BOTH)) if sweep.scores else shown


def _text(exhibit: "Exhibit") -> list[str]:
    """A line for each change that could be tried: separation, what it adds, what is left of it, answers."""
    lines = ["change\tAUROC\tgain\tkept\tcontrol's AUROC\tASR"]
    for one in exhibit.data["changes"]:
        if not one["shift"]:
            continue
        push, control, asr = one["shift"]["suspect"], one["shift"].get("control"), one["asr"].get("suspect")
        apart, gain = push["apart"], push["gain"]
        figures = (
            f"{apart['auroc']:.3f} ({apart['low']:.3f} to {apart['high']:.3f})",
            f"{gain['mean']:.4g} ({gain['low']:.4g} to {gain['high']:.4g})",
            f"{push['kept']:.0%}",
            f"{control['apart']['auroc']:.3f}" if control else "–",
            f"{asr['hits']}/{asr['n']}" if asr else "–",
        )
        lines.append("\t".join((one["label"], *figures)))
    return lines


ANALYSIS = Analysis(
    key="robustness",
    title="Robustness",
    question="Which changes of the trigger still work?",
    summary="try changes of the trigger: place, size, strength, resize, compression",
    failure="The changes were not all tried",
    floor="activations",
    section="behaviour",
    takes=("images", "trigger", "target", "questions"),
    options=RobustnessOptions,
    wrong=_wrong,
    measure=_measure,
    present=_present,
    text=_text,
    json="every figure of every change",
    csv="the table of changes",
    icon=":material/tune:",
)
