"""The methods that a repair is compared with, told no trigger, at the settings that they are compared at."""

from collections.abc import Callable

from projlens_core.repair import methods
from projlens_core.repair.problem import Problem
from projlens_core.repair.removal import interpolated, without_leading
from projlens_core.weights.projector import ProjectorWeights

Make = Callable[[Problem], ProjectorWeights]


def _of_tokens(method: Callable[..., ProjectorWeights], share: float) -> Make:
    return lambda p: method(p.form, p.base, p.suspect, p.tokens((), more=True).all_clean, share)


def _consistent(problem: Problem) -> ProjectorWeights:
    known, clean = problem.known, problem.tokens(()).clean
    with problem.models("suspect") as responder:
        return methods.consistent(problem.form, responder, problem.base, problem.suspect, clean, known)


OTHERS: dict[str, tuple[str, Make]] = {  # name in records → title, how it is made
    "ablation-5": (
        "ΔW without its 5 leading components",
        lambda p: without_leading(p.form, p.base, p.suspect, 5),
    ),
    "ablation-20": (
        "ΔW without its 20 leading components",
        lambda p: without_leading(p.form, p.base, p.suspect, 20),
    ),
    "interpolation-0.5": ("Base and 50 % of ΔW", lambda p: interpolated(p.form, p.base, p.suspect, 0.5)),
    "pruning-0.4": ("Fine-pruning, 40 % of hidden units", _of_tokens(methods.fine_pruned, 0.4)),
    "i-bau": ("I-BAU-like", _of_tokens(methods.unlearned_universal, 1.0)),
    "crow": ("CROW-like", _consistent),
}
