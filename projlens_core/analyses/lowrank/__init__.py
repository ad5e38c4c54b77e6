"""How few components of ΔW carry the backdoor, as a grid of ranks of its matrices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from projlens_core.analyses.analysis import Analysis, Options, option
from projlens_core.runtime.required import required

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.behaviour.lowrank import Grid
    from projlens_core.weights.delta import Delta

    Grids = tuple[Grid, Grid | None]


@dataclass(frozen=True)
class LowrankOptions(Options):
    """See Analysis.options."""

    mode: Literal["inject", "ablate"] = option(
        "inject", "inject components into base, or ablate them from the suspect", choices=("inject", "ablate")
    )
    components: Literal["top", "one", "rest"] = option(
        "top", "components 1 to k (top), k alone (one), or 2 to k (rest)", choices=("top", "one", "rest")
    )
    biases: Literal["", "base", "suspect"] = option(
        "",
        "whose biases to use; by default base's when injecting, the suspect's when ablating",
        choices=("", "base", "suspect"),
    )
    ranks: tuple[int, ...] = option((0, 1, 2, 3, 5), "values of k to try for each ΔW", low=0)
    control_grid: bool = option(False, "also fill a grid with the control's ΔW")


def _wrong(inputs: "AnalysisInputs", options: LowrankOptions) -> str | None:
    return "the control's grid needs a control" if options.control_grid and not inputs.case.control else None


def _answers(inputs: "AnalysisInputs", options: LowrankOptions) -> int:
    """Of every cell of two matrices and of the whole models: about each triggered image, and one check of it."""
    names = [image.name for image in inputs.images.images] if inputs.images else []
    each = sum(2 if (inputs.truths or {}).get(name) else 1 for name in names)
    grids = 2 if options.control_grid else 1
    return each * (grids * len(set(options.ranks)) ** 2 + len(inputs.case.specs))


def _measure(context: "AnalysisContext", options: LowrankOptions) -> "Grids":
    """The suspect's grid and, if it was asked for, the control's; stopped, they go on next time where they were."""
    # only here: they bring PyTorch
    from projlens_core.behaviour.lowrank import Edit, Grid, fill
    from projlens_core.behaviour.scoring import Questions, Scorer

    pair, target = context.attacked, context.target
    asked = (tuple(pair.clean), tuple(pair.stamped), tuple(context.prompts), context.one_truth_each)
    questions = Questions(*asked, target, context.inputs.max_new_tokens)
    biases: Literal["base", "suspect"] = options.biases or ("base" if options.mode == "inject" else "suspect")
    edit, ranks = Edit(options.mode, options.components, biases), tuple(sorted(set(options.ranks)))
    opened = context.opened
    with context.responder(experiment=True) as responder:
        scorer = Scorer(responder, questions)

        def filled(delta: "Delta") -> "Grid":
            *_, full = fill(scorer, delta, Grid.of(delta, edit, ranks), context.projectors, context.progress)
            return full

        return filled(opened.delta), filled(
            required(opened.control_delta, "the control's change")
        ) if options.control_grid else None


def _present(grids: "Grids", context: "AnalysisContext", settings: dict) -> "Exhibit":
    # only here: they bring Altair
    from projlens_core.analyses.lowrank.exhibit import lowrank
    from projlens_core.cases.whose import BOTH, signed, whose

    grid, control = grids
    shown = lowrank(grid, settings | context.asked, control, context.inputs.mode)
    return signed(shown, whose(context.experiment, BOTH))


def _text(exhibit: "Exhibit") -> list[str]:
    """The whole models, success, utility and target logit by rank, and the fewest ranks that carry the backdoor."""
    data = exhibit.data
    fewest = _place(data, data["fewest"]) if data["fewest"] else "none of this grid"
    ranks = " × ".join(axis for axis in data["axes"] if axis)
    verb = "bring back" if data["edit"]["mode"] == "inject" else "take away"
    lines = [f"whole {role}: {_score(score)}" for role, score in data["whole"].items()]
    lines += ["", *_cells(data, data["cells"]), ""]
    lines += [f"fewest ranks of {ranks} that {verb} 90 % of what the suspect's ASR exceeds base's by: {fewest}"]
    if "control_cells" in data:
        lines += ["", "with the control's ΔW", *_cells(data, data["control_cells"])]
    return lines


def _place(data: dict, cell: list[int]) -> str:
    return f"{cell[0]} × {cell[1]}" if data["axes"][0] else str(cell[1])


def _score(score: dict) -> str:
    rates = [("ASR", score["asr"]), *([("utility", score["utility"])] if score["utility"] else [])]
    shares = [
        f"{name} {r['rate']:.1%} ({r['low']:.1%} to {r['high']:.1%}), {r['hits']} of {r['n']}" for name, r in rates
    ]
    return "; ".join((*shares, f"target logit {score['target_logit']['mean']:.2f}"))


def _cells(data: dict, cells: list[dict]) -> list[str]:
    """Success, utility and target logit, each as a table: k of ΔW₁ down, k of ΔW₂ across."""
    row, column = ("k1=", "k2=") if data["axes"][0] else (None, "k=")
    by_place = {(cell["k1"], cell["k2"]): cell for cell in cells}
    rows, columns = (list(dict.fromkeys(place[axis] for place in by_place)) for axis in (0, 1))
    shown: dict[str, Callable[[dict], str]] = {
        "ASR": lambda s: f"{s['asr']['hits']}/{s['asr']['n']}",
        "utility": lambda s: f"{s['utility']['hits']}/{s['utility']['n']}" if s["utility"] else "–",
        "target logit": lambda s: f"{s['target_logit']['mean']:.2f}",
    }
    lines = []
    for name, text in shown.items():
        lines.append("\t".join((name, *(f"{column}{b}" for b in columns))))
        lines += ["\t".join((f"{row}{a}" if row else "", *(text(by_place[a, b]) for b in columns))) for a in rows]
    return lines


ANALYSIS = Analysis(
    key="lowrank",
    title="Low-rank lab",
    question="How few directions carry the backdoor?",
    summary="inject or ablate few components of ΔW; success and utility by rank",
    failure="The grid was not finished",
    floor="behaviour",
    takes=("images", "trigger", "target", "questions"),
    needs_target=True,
    options=LowrankOptions,
    wrong=_wrong,
    measure=_measure,
    present=_present,
    text=_text,
    answers=_answers,
    limit=24,
    json="every cell",
    csv="the table of cells",
    icon=":material/layers:",
)
