"""How the change of a projector is built: spectra over their noise, ΔW itself, and what several changes share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from projlens_core.analyses.analysis import Analysis, Options, option

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.analyses.spectrum.tables import Overlaps, SpectraByName
    from projlens_core.weights.delta_spectra import DeltaSpectra


@dataclass(frozen=True)
class SpectrumOptions(Options):
    """See Analysis.options."""

    further: tuple[str, ...] = option((), "further suspects, each compared with the same base")
    top: int = option(5, "singular values to show in the text", low=1)
    directions: int = option(8, "leading directions to compare with each other", low=1)
    exact: bool = option(False, "full decompositions instead of fast ones with an error check")


def _measure(context: "AnalysisContext", options: SpectrumOptions) -> "tuple[SpectraByName, Overlaps]":
    # only here: they bring the library of tables
    from projlens_core.analyses.spectrum.exhibit import overlaps
    from projlens_core.analyses.spectrum.tables import labels
    from projlens_core.cases.case import read_projectors
    from projlens_core.weights.delta import compare
    from projlens_core.weights.delta_spectra import decompose_delta

    case, report = context.inputs.case, context.progress
    if options.further:
        roles = ["suspect", *(["control"] if case.control else [])]
        base, *others = read_projectors([*case.specs.values(), *options.further], report)
        names = labels(roles, [weights.source for weights in others[len(roles) :]])
        found = {
            who: decompose_delta(compare(base, weights), report) for who, weights in zip(names, others, strict=True)
        }
    else:
        found = context.opened.decompose(report).delta_spectra
    return found, overlaps(found, options.directions, exact=options.exact)


def _present(result: "tuple[SpectraByName, Overlaps]", context: "AnalysisContext", settings: dict) -> "Exhibit":
    from projlens_core.analyses.spectrum.exhibit import spectrum  # only here: it brings Altair

    return spectrum(result[0], settings | {"overlap": settings["directions"]}, result[1])


def _written(
    result: "tuple[SpectraByName, Overlaps]", context: "AnalysisContext", settings: dict
) -> tuple[dict, list[str]]:
    """The data without the charts, which take their time; in the text the `top` values of each matrix."""
    from projlens_core.analyses.spectrum import tables
    from projlens_core.analyses.spectrum.exhibit import notes

    found, overlaps = result
    specs = [*list(context.inputs.case.specs.values())[1:], *settings["further"]]
    compared = {
        "projectors": dict(zip(found, specs, strict=True)),
        "sha256": {"base": found["suspect"].delta.base.sha256}
        | {who: one.delta.suspect.sha256 for who, one in found.items()},
        "seed": 0,
    }
    lines = [line for who, one in found.items() for line in _spectra(who, one, settings["top"])]
    shared = tables.pairs(overlaps).frame
    lines += ["", shared.to_csv(sep="\t", index=False, float_format="%.3g").rstrip("\n")] if len(shared) else []
    lines += ["", *(f"- {note}" for note in notes(found))]
    return {"settings": settings | compared} | tables.as_data(found, overlaps), lines


def _spectra(who: str, one: "DeltaSpectra", top: int) -> list[str]:
    """A line of figures and a line of singular values for each matrix."""
    lines = []
    for name, spectrum in one.spectra.items():
        few = spectrum.energy[:top]
        edge = one.edges[name]
        lines.append(
            f"{who}, {name}: stable rank {spectrum.stable_rank:.1f}, effective rank {spectrum.effective_rank:.1f}, "
            f"{edge.spikes} spikes above {edge.edge:.4g}, energy in the top {len(few)}: {few[-1]:.1%}"
        )
        lines.append("  " + " ".join(f"{value:.4g}" for value in spectrum.values[:top]))
    return lines


ANALYSIS = Analysis(
    key="spectrum",
    title="Spectrum",
    question="How is the change of the projector built?",
    summary="spectra, noise edges and shared subspaces of several suspects",
    failure="This case cannot be opened",
    floor="weights",
    options=SpectrumOptions,
    reported=SpectrumOptions(directions=5),
    takes=(),
    needs_trigger=False,
    measure=_measure,
    present=_present,
    written=_written,
    json="all singular values and principal angles",
    csv="the table of tensors",
    icon=":material/table_chart:",
    parts=("weights",),
)
