"""What was opened, and what was changed in it: the first look at a case, from weights alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from projlens_core.analyses.analysis import Analysis, Options, option

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.cases.case import OpenedCase
    from projlens_core.weights.proof import Proof

    Result = tuple[OpenedCase, Proof | None]


@dataclass(frozen=True)
class CaseOptions(Options):
    """See Analysis.options."""

    prove: bool = option(False, "also compare everything else: vision tower, language model, files")


def _measure(context: "AnalysisContext", options: CaseOptions) -> "Result":
    from projlens_core.weights.proof import prove

    case = context.inputs.case
    opened = context.opened.decompose(context.progress)
    return opened, prove(case.base, case.suspect, context.progress) if options.prove else None


def _present(result: "Result", context: "AnalysisContext", settings: dict) -> "Exhibit":
    from projlens_core.analyses.case.exhibit import case  # only here: it brings Altair

    return case(result[0])


def _written(result: "Result", context: "AnalysisContext", settings: dict) -> tuple[dict, list[str]]:
    """All singular values and, if it was asked for, the proof, which the exhibit leaves to others."""
    from projlens_core.analyses.case.written import as_dict, as_table, proof_as_dict, proof_as_text

    opened, proof = result
    if proof is None:
        return as_dict(opened), [as_table(opened)]
    return as_dict(opened) | {"proof": proof_as_dict(proof)}, [as_table(opened), "", proof_as_text(proof)]


ANALYSIS = Analysis(
    key="case",
    title="Case",
    question="What was changed in this projector?",
    summary="compare two projectors: deltas and singular spectra",
    failure="This case cannot be opened",
    floor="weights",
    options=CaseOptions,
    takes=(),
    needs_trigger=False,
    measure=_measure,
    present=_present,
    written=_written,
    json="all singular values",
    csv="the table of tensors",
    icon=":material/fingerprint:",
    commands=("weights",),
)
