"""A set's embedding shift taken apart: how many directions, out of which weights, and which images move most."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from projlens_core.analyses.analysis import Analysis, Options, option

if TYPE_CHECKING:
    from projlens_core.activations.set_shift import SetShift
    from projlens_core.activations.towers import Tokens
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.stats.lines import NormAxis

AT_ONCE = 32  # images whose tokens are in memory together
SHOWN = 10  # ranks and images in the text; JSON and CSV have all


@dataclass(frozen=True)
class ShiftOptions(Options):
    """See Analysis.options."""

    norm: str = option(
        "output",
        "compare shifts with the norm of the projector's input or of base's output",
        choices=("input", "output"),
    )


def _measure(context: "AnalysisContext", options: ShiftOptions) -> "dict[str, SetShift]":
    """Under suspect and control, some images at a time; the second pass finds their tokens in the disk cache."""
    from projlens_core.activations.set_shift import set_shift  # only here: it brings PyTorch

    pair, opened, report = context.images, context.opened, context.progress
    by_condition = {"clean": pair.clean} | ({} if pair.triggered is None else {"triggered": pair.triggered})

    def tokens(role: str, condition: str) -> "Iterator[Tokens]":
        images = by_condition[condition]
        for start in range(0, len(images), AT_ONCE):
            yield context.vision.tokens([role], images[start : start + AT_ONCE], report)[role]

    norm: NormAxis = "input" if options.norm == "input" else "output"
    found = {}
    for role, delta in (("suspect", opened.delta), ("control", opened.control_delta)):
        if delta is not None:
            chunks: dict[str, Callable[[], Iterable[Tokens]]] = {
                condition: partial(tokens, role, condition) for condition in by_condition
            }
            found[role] = set_shift(delta, pair.names, chunks, norm, report)
    return found


def _present(by_role: "dict[str, SetShift]", context: "AnalysisContext", settings: dict) -> "Exhibit":
    from projlens_core.analyses.shift.exhibit import shift  # only here: it brings Altair

    return shift(by_role, settings)


def _text(exhibit: "Exhibit") -> list[str]:
    """The headline numbers and the first rows of the tables, as a person reads them."""
    lines = []
    for card in exhibit.metrics:
        beside = ", ".join(part for part in (f"control {card.control}" if card.control else "", card.interval) if part)
        lines.append(f"{card.label}: {card.value}" + (f" ({beside})" if beside else ""))
    ranked, fits = exhibit.tables[:2]
    means = ["picture", *(column for column in ranked.frame if column.endswith("mean"))]
    for name, frame in (("mean |ΔE·v₀|", ranked.frame[means]), (fits.name, fits.frame)):
        shown = frame.head(SHOWN)
        more = f", the first {len(shown)} of {len(frame)} images" if len(frame) > len(shown) else ""
        lines += ["", f"{name}{more}", shown.to_csv(sep="\t", index=False, float_format="%.4g").rstrip("\n")]
    return [*lines, ""]


ANALYSIS = Analysis(
    key="shift",
    title="Embedding shift",
    question="How many directions does the shift need, do the changed weights reach them, which images move most?",
    summary="rank images by shift; embedding spectrum and its agreement with ΔW",
    failure="The embedding shift cannot be analysed",
    floor="activations",
    needs_trigger=False,
    options=ShiftOptions,
    measure=_measure,
    present=_present,
    text=_text,
    json="spectra, angles, fits, outliers and every image",
    csv="the table of images",
    page="activation",
    parts=("embedding",),
)
